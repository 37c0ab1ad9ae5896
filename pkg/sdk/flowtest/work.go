package flowtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

var errClosed = errors.New("flowtest: the test is over")

// work is something to do now: an activation or an attempt of a task. It is called with the lock, gives it away while
// user code runs, and has it again when it returns.
type work func()

// liveRun is the code of a run in memory.
type liveRun struct{ *replay.Run }

func (l *liveRun) close() { l.Close() }

// record makes events happen: they are applied, kept, and their effects are carried out.
func (e *Env) record(r *run, evs []events.Event) {
	if len(evs) == 0 {
		return
	}
	e.seq++
	rec := &events.Record{Header: events.Header{
		Epoch: 1, Owner: 1, Seq: e.seq, Confirmed: e.seq - 1, Time: e.now, Schema: events.Schema,
		Namespace: r.state.Namespace(), WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, First: r.state.Next(),
	}}
	apply := func(evs []events.Event) {
		for _, ev := range evs {
			if err := r.state.Apply(ev, r.state.Next(), e.now); err != nil {
				e.t.Errorf("flowtest: the engine refuses its own event %T: %v", ev, err)
			}
			e.observe(r, ev)
		}
		rec.Events = append(rec.Events, evs...)
	}
	apply(evs)
	apply(r.state.Settle(e.now))
	r.records = append(r.records, rec)
	for _, effect := range events.Effects(nil, rec) {
		e.effect(r, effect)
	}
	e.signalChange()
	if !r.status.Open() && r.broken == nil && !r.checking {
		r.checking = true
		e.ready = append(e.ready, func() { e.check(r) })
	}
}

// observe keeps what readers ask for.
func (e *Env) observe(r *run, ev events.Event) {
	r.status = events.StatusAfter(r.status, ev)
	switch ev := ev.(type) {
	case events.ViewSet:
		r.views[ev.Name] = ev.Value
	case events.RunCompleted:
		r.outcome.Result = ev.Result
	case events.RunFailed:
		r.outcome.Failure = &ev.Failure
	case events.RunCancelled:
		r.outcome.Failure = &ev.Failure
	default: // nobody asks for others
	}
	r.outcome.RunID, r.outcome.Status = r.ref.RunID, r.status
}

func (e *Env) effect(r *run, effect events.Effect) {
	switch f := effect.(type) {
	case events.OpenActivation:
		e.when(f.Activation.NotBefore, func() { e.activate(r, f) })
	case events.OpenTask:
		e.open[f.Task] = f.Attempt
		e.when(f.NotBefore, func() { e.runTask(r, f) })
	case events.CloseTask:
		delete(e.open, f.Task)
		e.stopTask(f.Task)
	case events.ArmTimer:
		id := f.Timer
		r.timers[id] = e.timeline.add(max(f.Due, e.now), func() {
			delete(r.timers, id)
			e.inside(r, events.FireTimer{Timer: id})
		})
	case events.DisarmTimer:
		e.timeline.remove(r.timers[f.Timer])
		delete(r.timers, f.Timer)
	case events.EndRun:
		for _, id := range slices.Collect(maps.Keys(r.timers)) { // all are removed, in any order
			e.timeline.remove(r.timers[id])
		}
		clear(r.timers)
		for _, task := range slices.Collect(maps.Keys(e.open)) { // all are stopped, in any order
			if task.Run == r.ref.RunID {
				delete(e.open, task)
				e.stopTask(task)
			}
		}
	case events.CloseActivation:
		// One activation is in flight, and whoever runs it knows its end.
	}
}

// when does w at a time, at once when that is not set or past.
func (e *Env) when(t events.Time, w work) {
	if t <= e.now {
		e.ready = append(e.ready, w)
		return
	}
	e.timeline.add(t, func() { e.ready = append(e.ready, w) })
}

// inside gives the engine a command from inside the suite. It reports whether the command was accepted.
func (e *Env) inside(r *run, c events.Command) bool {
	evs, answer := r.state.Decide(events.Envelope{
		Namespace: r.state.Namespace(), WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, Command: c,
	}, e.now)
	e.record(r, evs)
	return answer.Code == events.OK
}

// work does what is to be done now. Somebody else who does it already goes on to what was added.
func (e *Env) work() {
	if e.working {
		return
	}
	e.working = true
	defer func() {
		e.working = false
		e.signalChange()
	}()
	for len(e.ready) > 0 && !e.closed {
		w := e.ready[0]
		e.ready = e.ready[1:]
		w()
	}
}

// unlocked runs user code without the lock.
func (e *Env) unlocked(code func()) {
	e.mu.Unlock()
	defer e.mu.Lock()
	code()
}

// activate lets workflow code go on, from memory when it can.
func (e *Env) activate(r *run, f events.OpenActivation) {
	if !r.status.Open() {
		return
	}
	a := replay.Activation{
		Number: f.Activation.Activation, Attempt: f.Activation.Attempt, At: f.At, Base: f.Activation.Base,
		ReplayFrom: f.Activation.ReplayFrom, Upto: f.Activation.Upto, Records: slices.Clone(r.records),
	}
	var turn replay.Turn
	var err error
	e.unlocked(func() { turn, err = e.runCode(r, a) })
	if err != nil {
		failure := replay.Failure(err)
		if r.live != nil {
			r.live.close()
			r.live = nil
		}
		r.broken = fmt.Errorf("flowtest: the code of workflow %q cannot go on [%s]: %w", r.ref.WorkflowID, failure.Code, err)
		e.t.Errorf("%v", r.broken)
		e.inside(r, events.FailActivation{Activation: a.Number, Attempt: a.Attempt, Failure: failure})
		return
	}
	if turn.Ended {
		r.live.close()
		r.live = nil
	}
	e.inside(r, *turn.Progress)
	if fail := r.lastActivationFailure(); fail != nil {
		r.broken = fmt.Errorf("flowtest: the engine refuses what the code of workflow %q did: %w", r.ref.WorkflowID, fail)
		e.t.Errorf("%v", r.broken)
	}
}

// lastActivationFailure returns why the newest activation failed, nil when it did not.
func (r *run) lastActivationFailure() error {
	for _, ev := range r.records[len(r.records)-1].Events {
		if f, ok := ev.(events.ActivationFailed); ok {
			return &f.Failure
		}
	}
	return nil
}

// runCode runs the code of a run and the steps that it asks for, until there is progress.
func (e *Env) runCode(r *run, a replay.Activation) (replay.Turn, error) {
	var turn replay.Turn
	err := replay.ErrNotLive
	if r.live != nil {
		turn, err = r.live.Activate(a)
		if errors.Is(err, replay.ErrNotLive) {
			r.live.close()
		}
	}
	if errors.Is(err, replay.ErrNotLive) {
		run, newErr := e.newRun(r)
		if newErr != nil {
			return replay.Turn{}, newErr
		}
		r.live = &liveRun{run}
		turn, err = r.live.Activate(a)
	}
	for err == nil && turn.Progress == nil {
		outcomes := make([]replay.StepOutcome, len(turn.Start))
		for i, call := range turn.Start {
			outcomes[i] = runStep(call, a.At)
		}
		turn, err = r.live.StepsDone(outcomes...)
	}
	return turn, err
}

func (e *Env) newRun(r *run) (*replay.Run, error) {
	return e.registry.NewRun(flow.RunConfig{
		Type: r.typ, WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, Payloads: e.options.Payloads, Logger: e.options.Logger,
	})
}

// runStep executes a step. The retries that a worker would make by itself follow at once.
func runStep(call replay.StepCall, now events.Time) replay.StepOutcome {
	spent := now
	for attempt := call.Attempt; ; attempt++ {
		result, failure, retryAfter := flow.TryStep(context.Background(), call, attempt)
		if failure == nil {
			return replay.StepOutcome{Step: call.Task.Step, Result: result, Attempts: attempt}
		}
		outcome, delay, again := replay.NextTry(call, attempt, failure, retryAfter, spent.Sub(now), now)
		if !again {
			return outcome
		}
		spent = spent.Add(delay)
	}
}

// check replays a run and compares.
func (e *Env) check(r *run) {
	records := slices.Clone(r.records)
	var err error
	e.unlocked(func() { err = check(records, func() (*replay.Run, error) { return e.newRun(r) }) })
	if err != nil {
		e.t.Errorf("flowtest: the run of workflow %q cannot be replayed: %v", r.ref.WorkflowID, err)
	}
}

func check(records []*events.Record, newRun func() (*replay.Run, error)) error {
	if _, err := newRun(); err != nil {
		return err
	}
	return replay.Check(records, func() *replay.Run {
		run, _ := newRun()
		return run
	})
}

// waitsFor says what a run waits for.
func (e *Env) waitsFor(r *run) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.unbound)) {
		parts = append(parts, fmt.Sprintf("task %q has no binding", name))
	}
	last := events.WaitSet{}
	for _, rec := range r.records {
		for _, ev := range rec.Events {
			if made, ok := ev.(events.ProgressMade); ok {
				last = made.Wait
			}
		}
	}
	for _, g := range last.Any {
		for _, s := range g.Signals {
			parts = append(parts, fmt.Sprintf("it waits for signal %d of %q", s.Index, s.Name))
		}
		for _, s := range g.Steps {
			parts = append(parts, fmt.Sprintf("it waits for step %d", s))
		}
	}
	if len(parts) == 0 {
		return "its code waits for nothing that can happen"
	}
	return strings.Join(parts, ", ")
}
