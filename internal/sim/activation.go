package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// runningActivation is workflow code that is being run, with its steps.
type runningActivation struct {
	worker   *worker
	delivery *activationDelivery
	live     *liveRun
	began    int64
	gone     bool
	drop     bool // do not keep the run live afterwards
}

// liveRun is the code of a run in a worker's memory. Its steps go on between activations; what they come to waits for the
// next one.
type liveRun struct {
	id     events.RunID
	run    *replay.Run
	steps  map[events.Step]*runningStep
	done   []replay.StepOutcome
	driver *runningActivation // that waits for a step
	closed bool
}

type runningStep struct{ stopped bool }

func (l *liveRun) close() {
	if !l.closed {
		l.closed = true
		l.run.Close()
	}
}

// startActivation runs a delivered activation. A repeated delivery joins the one that runs, or gets its kept result again.
// One of the same run that came before is over.
func (k *worker) startActivation(d *activationDelivery) {
	w := k.w
	k.granted.activations = max(k.granted.activations-1, 0)
	running := slices.ContainsFunc(k.activates, func(a *runningActivation) bool { return a.delivery.ref == d.ref })
	kept := slices.IndexFunc(k.progresses, func(r activationResult) bool { return r.ref == d.ref })
	if kept >= 0 {
		k.sendProgress(k.progresses[kept])
	}
	if running || kept >= 0 {
		k.regrant()
		return
	}
	if d.base.Activation != 0 {
		k.ackActivation(d.base)
	}
	for _, before := range slices.Clone(k.activates) {
		if before.delivery.ref.RunID == d.ref.RunID {
			before.giveUp()
		}
	}
	a := &runningActivation{worker: k, delivery: d, began: w.now}
	k.activates = append(k.activates, a)
	took := w.rng.Int64N(millisecond)
	if k.stalls() {
		took = d.deadline.Microseconds() + w.rng.Int64N(5*second)
	}
	w.later(took, kindWork, a)
}

// happen is the beginning of an activation.
func (a *runningActivation) happen() {
	if !a.gone {
		a.run()
	}
}

// run lets the code go on from memory if it can, and else from a full replay.
func (a *runningActivation) run() {
	k, d := a.worker, a.delivery
	open := d.open.Activation
	a.pulse()
	activation := replay.Activation{
		Number: open.Activation, Attempt: open.Attempt, At: d.open.At, Base: open.Base, ReplayFrom: open.ReplayFrom, Upto: open.Upto,
		Records: d.records,
	}
	if d.nothing {
		activation.BaseActivation, activation.BaseAttempt = d.base.Activation, d.base.Attempt
	}
	live := k.take(d.ref.RunID)
	delta := !d.full
	if live != nil && (!delta || live.run.Generation() != open.ReplayFrom) {
		k.forget(live)
		live = nil
	}
	if live != nil {
		if d.nothing || k.madeBase(activation) {
			turn, err := live.run.Activate(activation)
			if !errors.Is(err, replay.ErrNotLive) {
				a.live = live
				a.goOn(turn, err)
				return
			}
		}
		k.forget(live)
	}
	if delta {
		activation.Records = k.w.replayRecords(k.w.partitionOf(d.ref.WorkflowID), d.open)
		if len(activation.Records) == 0 { // the run has ended and was forgotten: whoever asks for its history is told that it is over
			a.giveUp()
			return
		}
	}
	live, err := k.newRun(d.open)
	if err != nil {
		panic(err) // every worker has the code
	}
	a.live = live
	turn, err := live.run.Activate(activation)
	a.goOn(turn, err)
}

// madeBase reports whether the progress that the activation builds on is this worker's own.
func (k *worker) madeBase(a replay.Activation) bool {
	for _, r := range a.Records {
		if a.Base < r.First || a.Base > r.Last() {
			continue
		}
		made, ok := r.Events[a.Base-r.First].(events.ProgressMade)
		return ok && made.Worker == k.id
	}
	return false
}

// goOn starts steps, or reports.
func (a *runningActivation) goOn(turn replay.Turn, err error) {
	k, w := a.worker, a.worker.w
	if err != nil {
		failure := replay.Failure(err)
		w.violate("deterministic", "workflow code of %s could not be run: %s: %s", a.delivery.ref.WorkflowID, failure.Code, failure.Message)
		a.end(activationResult{ref: a.delivery.ref, command: events.FailActivation{
			Activation: a.delivery.ref.Activation, Attempt: a.delivery.ref.Attempt, Failure: failure, Build: "b1", Worker: k.id,
		}}, true)
		return
	}
	l := a.live
	for _, step := range turn.Stop {
		if s := l.steps[step]; s != nil {
			s.stopped = true
			delete(l.steps, step)
		}
	}
	for _, call := range turn.Start {
		k.startStep(l, call)
	}
	if turn.Progress == nil {
		l.driver = a
		a.takeStep()
		return
	}
	progress := *turn.Progress
	progress.Worker, progress.Build = k.id, "b1"
	if w.tracing() {
		w.tracef("%s reports progress of %s activation %d attempt %d: %d intents", k.id, a.delivery.ref.WorkflowID, progress.Activation, progress.Attempt, len(progress.Intents))
	}
	a.end(activationResult{ref: a.delivery.ref, command: progress}, turn.Ended || a.drop)
}

// end keeps and sends the answer. A run that is not over stays in memory, if there is room.
func (a *runningActivation) end(r activationResult, over bool) {
	k := a.worker
	a.gone = true
	k.activates = slices.DeleteFunc(k.activates, func(o *runningActivation) bool { return o == a })
	r.live = !over && k.maxLive > 0
	if r.live {
		k.live = append(k.live, a.live)
		if len(k.live) > k.maxLive {
			old := k.live[0]
			k.live = slices.Delete(k.live, 0, 1)
			k.forget(old)
		}
	} else {
		k.forget(a.live)
	}
	k.progresses = append(k.progresses, r)
	k.sendProgress(r)
	if k.w.fault(RepeatDelivery, 30) {
		k.sendProgress(r)
	}
	k.regrant()
}

// giveUp ends an activation that nobody wants the answer of.
func (a *runningActivation) giveUp() {
	if a.gone {
		return
	}
	a.gone = true
	a.worker.activates = slices.DeleteFunc(a.worker.activates, func(o *runningActivation) bool { return o == a })
	a.close()
	a.worker.regrant()
}

func (a *runningActivation) close() {
	if a.live != nil {
		a.live.close()
	}
}

// takeStep gives the code the outcome of a step, if there is one.
func (a *runningActivation) takeStep() {
	l := a.live
	if len(l.done) == 0 {
		return
	}
	outcome := l.done[0]
	l.done, l.driver = l.done[1:], nil
	delete(l.steps, outcome.Step)
	outcome.At = a.delivery.open.At + events.Time(a.worker.w.now-a.began)
	turn, err := l.run.StepsDone(outcome)
	a.goOn(turn, err)
}

// startStep runs a step in the worker: it is tried until it succeeds, fails for good or is to be waited for by the engine.
func (k *worker) startStep(l *liveRun, call replay.StepCall) {
	s := &runningStep{}
	l.steps[call.Task.Step] = s
	k.tryStep(l, s, call, call.Attempt, k.w.now)
}

func (k *worker) tryStep(l *liveRun, s *runningStep, call replay.StepCall, attempt events.Attempt, began int64) {
	w := k.w
	took := w.rng.Int64N(5 * millisecond)
	if k.stalls() {
		took = w.rng.Int64N(15 * second)
	}
	w.after(took, kindWork, func() {
		if l.closed || s.stopped {
			return
		}
		result, failure, retryAfter := flow.TryStep(context.Background(), call, attempt)
		outcome := replay.StepOutcome{Step: call.Task.Step, Result: result, Attempts: attempt}
		if failure != nil {
			spent := time.Duration(w.now-began) * time.Microsecond
			next, delay, again := replay.NextTry(call, attempt, failure, retryAfter, spent, w.rightTime())
			if again {
				w.after(delay.Microseconds(), kindWork, func() {
					if !l.closed && !s.stopped {
						k.tryStep(l, s, call, attempt+1, began)
					}
				})
				return
			}
			outcome = next
		}
		l.done = append(l.done, outcome)
		if l.driver != nil {
			l.driver.takeStep()
		}
	})
}

// pulse says that an activation goes on, while it does.
func (a *runningActivation) pulse() {
	a.worker.w.later(a.delivery.deadline.Microseconds()/3, kindWork, (*pulsing)(a))
}

// pulsing is an activation that says that it goes on.
type pulsing runningActivation

func (p *pulsing) happen() {
	a := (*runningActivation)(p)
	if a.gone {
		return
	}
	a.worker.say(func(c sessions.Conn) sessions.Input {
		return sessions.ActivationHeartbeat{Conn: c, Activation: a.delivery.ref}
	})
	a.pulse()
}
