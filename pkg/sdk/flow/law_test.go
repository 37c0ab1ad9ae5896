package flow_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// TestReplayIsLive runs random programs against the engine with random interleavings of results, timers, signals,
// cancels, evictions and lost workers. At every activation, code that goes on from memory and code that is replayed do the
// same; after every progress the whole history replays; and while the engine does not activate the run its code could not
// have gone on, so that wait sets lose no wake-up.
func TestReplayIsLive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, drawProgram(t, 3))
		for range rapid.IntRange(20, 80).Draw(t, "actions") {
			if !w.m.Status().Open() || w.stuck {
				break
			}
			w.act()
		}
		w.close()
	})
}

// program is what a random workflow does, in order.
type program []op

type op struct {
	kind  string
	n     int
	inner program
}

func (p program) String() string {
	var parts []string
	for _, o := range p {
		s := fmt.Sprint(o.kind, o.n)
		if o.inner != nil {
			s += "{" + o.inner.String() + "}"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

var (
	leaves   = []string{"call", "sleep", "next", "try", "step", "steps", "view", "join", "race", "signalrace", "await", "ready", "rand"}
	branches = []string{"go", "timeout", "cancel", "shield", "defer"}
)

func drawProgram(t *rapid.T, depth int) program {
	kinds := leaves
	if depth > 0 {
		kinds = append(slices.Clone(leaves), branches...)
	}
	var p program
	for range rapid.IntRange(1, 4).Draw(t, "ops") {
		o := op{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), n: rapid.IntRange(0, 2).Draw(t, "n")}
		if slices.Contains(branches, o.kind) {
			o.inner = drawProgram(t, depth-1)
		}
		p = append(p, o)
	}
	return p
}

var (
	lawTask   = flow.NewTask[int, int]("law.Task")
	lawFlow   = flow.NewWorkflow[int, string]("law.Flow")
	lawSignal = []flow.Signal[int]{flow.NewSignal[int]("law.A"), flow.NewSignal[int]("law.B")}
	lawView   = flow.NewView[string]("law.View")
)

// player runs a program and writes down what it sees.
type player struct {
	seen    []string
	futures []*flow.Future[int]
}

func (p *player) see(what string, v any, err error) {
	if err != nil {
		p.seen = append(p.seen, fmt.Sprintf("%s: %v", what, err))
		return
	}
	p.seen = append(p.seen, fmt.Sprintf("%s=%v", what, v))
}

func (p *player) play(ctx flow.Context, prog program) error {
	for i, o := range prog {
		if err := p.op(ctx, i, o); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil && i%2 == 0 {
			return err
		}
	}
	return nil
}

func (p *player) op(ctx flow.Context, i int, o op) error {
	signal := lawSignal[o.n%2]
	switch o.kind {
	case "call":
		v, err := lawTask.Call(ctx, i)
		p.see("call", v, err)
	case "sleep":
		p.see("sleep", flow.Now(ctx).Unix(), flow.Sleep(ctx, time.Duration(o.n)*time.Second))
	case "next":
		v, err := signal.Next(ctx).Await(ctx)
		p.see("next", v, err)
	case "try":
		v, ok, err := signal.TryNext(ctx)
		p.see("try", fmt.Sprint(v, ok), err)
	case "step":
		v, err := flow.Step(ctx, "step", func(context.Context) (int, error) { return i, nil })
		p.see("step", v, err)
	case "steps":
		var fs []*flow.Future[int]
		for k := range o.n + 1 {
			fs = append(fs, flow.Go(ctx, func(ctx flow.Context, k int) (int, error) {
				return flow.Step(ctx, fmt.Sprint("step", k), func(context.Context) (int, error) { return k, nil })
			}, k))
		}
		vs, err := flow.All(ctx, fs...)
		p.see("steps", vs, err)
	case "view":
		lawView.Set(ctx, strings.Join(p.seen, ";"))
	case "join":
		var fs []*flow.Future[int]
		for k := range o.n + 1 {
			fs = append(fs, flow.Go(ctx, lawTask.Call, k))
		}
		vs, err := flow.All(ctx, fs...)
		p.see("join", vs, err)
	case "race":
		task, late := flow.Go(ctx, lawTask.Call, i), flow.After(ctx, time.Duration(o.n)*time.Second)
		won := flow.First(ctx, task, late)
		p.see("race", fmt.Sprint(won == task, won == late), nil)
		p.futures = append(p.futures, task)
	case "signalrace":
		s, late := signal.Next(ctx), flow.After(ctx, time.Duration(o.n+1)*time.Second)
		won := flow.First(ctx, s, late)
		p.see("signalrace", won == s, nil)
	case "await":
		if len(p.futures) > 0 {
			v, err := p.futures[o.n%len(p.futures)].Await(ctx)
			p.see("await", v, err)
		}
	case "ready":
		for _, f := range p.futures {
			p.see("ready", f.Ready(ctx), nil)
		}
	case "rand":
		p.see("rand", fmt.Sprint(flow.Rand(ctx).IntN(1000), flow.NewID(ctx)), nil)
	case "go":
		p.futures = append(p.futures, flow.Go(ctx, func(ctx flow.Context, n int) (int, error) { return n, p.play(ctx, o.inner) }, o.n))
	case "timeout":
		ctx, cancel := flow.WithTimeout(ctx, time.Duration(o.n)*1500*time.Millisecond)
		defer cancel()
		p.see("timeout", nil, p.play(ctx, o.inner))
	case "cancel":
		inner, cancel := flow.WithTimeout(ctx, time.Hour)
		f := flow.Go(inner, func(ctx flow.Context, n int) (int, error) { return n, p.play(ctx, o.inner) }, o.n)
		p.see("sleep", nil, flow.Sleep(ctx, time.Second))
		cancel()
		v, err := f.Await(ctx)
		p.see("cancelled", v, err)
	case "shield":
		p.see("shield", nil, p.play(flow.WithoutCancel(ctx), o.inner))
	case "defer":
		defer func() { p.see("deferred", nil, p.play(flow.WithoutCancel(ctx), o.inner)) }()
		v, err := lawTask.Call(ctx, i)
		p.see("call", v, err)
		return err
	}
	return nil
}

// world is the engine's machine with one run, and a worker that goes on from memory when it can.
type world struct {
	t        *rapid.T
	registry *flow.Registry
	m        *machine.Run
	id       events.RunID
	now      events.Time
	records  []*events.Record
	live     *replay.Run
	pending  *events.OpenActivation
	running  map[events.Step]replay.StepCall // steps that the live run's worker executes
	tasks    map[events.Step]events.Attempt
	timers   map[events.TimerID]events.Time
	signals  int
	stuck    bool
}

func newWorld(t *rapid.T, prog program) *world {
	limit := rapid.IntRange(0, 2).Draw(t, "continuations")
	code := func(ctx flow.Context, generation int) (string, error) {
		p := &player{}
		err := p.play(ctx, prog)
		if errors.Is(err, flow.ErrCancelled) || errors.Is(err, flow.ErrTimeout) && generation%2 == 0 {
			return "", err
		}
		if generation < limit {
			for i := 0; i < len(p.futures); i++ { // they grow meanwhile
				_, _ = p.futures[i].Await(flow.WithoutCancel(ctx))
			}
			return lawFlow.Continue(ctx, generation+1)
		}
		return strings.Join(p.seen, ";"), nil
	}
	registry, err := flow.NewRegistry(lawFlow.With(code))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, registry: registry, id: events.MakeRunID(1, [10]byte{9: 7}), now: events.TimeOf(time.Unix(1_700_000_000, 0)),
		tasks: map[events.Step]events.Attempt{}, timers: map[events.TimerID]events.Time{},
	}
	t.Log(prog)
	w.m = machine.NewRun(events.Header{Namespace: "default", WorkflowID: "w", RunID: w.id})
	w.send(events.StartWorkflow{Type: "law.Flow", Input: events.Payload{Encoding: "json", Data: []byte("0")}})
	return w
}

func (w *world) newRun() *replay.Run {
	r, err := w.registry.NewRun(flow.RunConfig{Type: "law.Flow", WorkflowID: "w", RunID: w.id})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// send gives the machine a command and returns its answer.
func (w *world) send(c events.Command) events.Answer {
	evs, answer := w.m.Decide(events.Envelope{Namespace: "default", WorkflowID: "w", RunID: w.id, Command: c}, w.now)
	if len(evs) == 0 {
		return answer
	}
	rec := &events.Record{Header: events.Header{Time: w.now, Namespace: "default", WorkflowID: "w", RunID: w.id, First: w.m.Next()}}
	for _, more := range [][]events.Event{evs, nil} {
		if more == nil {
			more = w.m.Settle(w.now)
		}
		for _, e := range more {
			if err := w.m.Apply(e, w.m.Next(), w.now); err != nil {
				w.t.Fatalf("apply %T: %v", e, err)
			}
			if f, ok := e.(events.ActivationFailed); ok {
				w.t.Fatalf("the engine refuses the progress: %v", f.Failure.Message)
			}
		}
		rec.Events = append(rec.Events, more...)
	}
	w.records = append(w.records, rec)
	for _, effect := range events.Effects(nil, rec) {
		switch f := effect.(type) {
		case events.OpenTask:
			w.tasks[f.Task.Step] = f.Attempt
		case events.CloseTask:
			delete(w.tasks, f.Task.Step)
		case events.ArmTimer:
			w.timers[f.Timer] = f.Due
		case events.DisarmTimer:
			delete(w.timers, f.Timer)
		case events.OpenActivation:
			w.pending = &f
		}
	}
	if w.pending == nil && w.m.Status().Open() && !w.stuck {
		w.couldNotGoOn(rec)
	}
	return answer
}

// couldNotGoOn activates the code although the engine did not.
func (w *world) couldNotGoOn(last *events.Record) {
	a := replay.Activation{Number: 1 << 40, Attempt: 1, At: w.now, ReplayFrom: 1, Upto: last.Last(), Records: slices.Clone(w.records)}
	reads := []events.SignalRead(nil)
	for _, rec := range w.records {
		for i, e := range rec.Events {
			switch e := e.(type) {
			case events.RunContinued:
				a.ReplayFrom, reads = rec.First+events.EventNumber(i), e.Reads
			case events.ProgressMade:
				reads = e.Reads
			}
		}
	}
	r := w.newRun()
	defer r.Close()
	turn, err := r.Activate(a)
	switch {
	case err != nil:
		w.t.Fatalf("activated without need: %v", err)
	case len(turn.Start) > 0 || turn.Ended || slices.ContainsFunc(turn.Progress.Intents, matters):
		w.t.Fatalf("the engine waits, but the code can go on: %+v", turn)
	case !cmp.Equal(turn.Progress.Reads, reads):
		w.t.Fatalf("the engine waits, but the code reads signals: %v after %v", turn.Progress.Reads, reads)
	}
}

// matters reports whether an intent is worth an activation. Disarming the timer of a scope inside one whose time is over is
// not, when nothing waits in either: it is done when the code runs next.
func matters(i events.Intent) bool {
	_, disarms := i.(events.CancelTimer)
	return !disarms
}

// act does one random thing.
func (w *world) act() {
	var can []string
	if w.pending != nil {
		can = append(can, "activate", "activate", "activate", "activate", "lose")
	}
	if len(w.tasks) > 0 {
		can = append(can, "complete", "complete", "fail")
	}
	if len(w.timers) > 0 {
		can = append(can, "fire", "fire")
	}
	if w.signals < 20 {
		can = append(can, "signal")
	}
	can = append(can, "cancel", "evict", "wait")
	switch what := rapid.SampledFrom(can).Draw(w.t, "act"); what {
	case "activate":
		w.activate()
	case "lose":
		w.now += 1000
		a := *w.pending
		w.pending = nil
		w.send(events.TimeoutActivation{Activation: a.Activation.Activation, Attempt: a.Activation.Attempt})
	case "complete", "fail":
		step := rapid.SampledFrom(slices.Sorted(maps.Keys(w.tasks))).Draw(w.t, "task")
		attempt := w.tasks[step]
		if what == "complete" {
			w.send(events.CompleteTask{Step: step, Attempt: attempt, Result: events.Payload{Encoding: "json", Data: fmt.Append(nil, step)}})
		} else {
			w.send(events.FailTask{Step: step, Attempt: attempt, RetryAfter: -1, Failure: events.Failure{
				Code: "no", Message: "no", NonRetryable: rapid.Bool().Draw(w.t, "permanent"),
			}})
		}
	case "fire":
		var first events.TimerID
		for _, id := range slices.SortedFunc(maps.Keys(w.timers), func(a, b events.TimerID) int { return int(a.Step) - int(b.Step) }) {
			if first.Kind == 0 || w.timers[id] < w.timers[first] {
				first = id
			}
		}
		w.now = max(w.now, w.timers[first])
		w.send(events.FireTimer{Timer: first})
	case "signal":
		w.signals++
		name := rapid.SampledFrom([]events.SignalName{"law.A", "law.B"}).Draw(w.t, "signal")
		w.send(events.SignalWorkflow{Name: name, Input: events.Payload{Encoding: "json", Data: fmt.Append(nil, w.signals)}})
	case "cancel":
		if rapid.IntRange(0, 9).Draw(w.t, "really") == 0 {
			w.send(events.CancelWorkflow{Reason: "because"})
		}
	case "evict":
		w.evict()
	case "wait":
		w.now = w.now.Add(300 * time.Millisecond)
	}
}

func (w *world) evict() {
	if w.live != nil {
		w.live.Close()
		w.live, w.running = nil, nil
	}
}

func (w *world) activate() {
	a := *w.pending
	w.pending = nil
	activation := replay.Activation{
		Number: a.Activation.Activation, Attempt: a.Activation.Attempt, At: a.At, Base: a.Activation.Base,
		ReplayFrom: a.Activation.ReplayFrom, Upto: a.Activation.Upto, Records: slices.Clone(w.records),
	}
	fresh := w.newRun()
	defer fresh.Close()
	replayed, err := fresh.Activate(activation)
	if errors.As(err, new(*replay.ContinuePending)) {
		w.stuck = true // a program may leave calls open where it continues
		return
	}
	if err != nil {
		w.t.Fatalf("full replay: %v", err)
	}
	var turn replay.Turn
	if w.live != nil {
		if turn, err = w.live.Activate(activation); errors.Is(err, replay.ErrNotLive) {
			w.evict()
		} else if err != nil {
			w.t.Fatalf("live: %v", err)
		} else if diff := cmp.Diff(replayed.Progress, turn.Progress); diff != "" {
			w.t.Fatalf("replay and live differ (-replay +live):\n%s", diff)
		}
	}
	if w.live == nil {
		w.live, w.running = w.newRun(), map[events.Step]replay.StepCall{}
		if turn, err = w.live.Activate(activation); err != nil {
			w.t.Fatalf("full: %v", err)
		}
	}
	for {
		for _, s := range turn.Stop {
			delete(w.running, s)
		}
		for _, c := range turn.Start {
			w.running[c.Task.Step] = c
		}
		if turn.Progress != nil {
			break
		}
		turn, err = w.live.StepsDone(w.outcomes()...)
		if errors.As(err, new(*replay.ContinuePending)) {
			w.stuck = true
			return
		}
		if err != nil {
			w.t.Fatalf("steps: %v", err)
		}
	}
	w.send(*turn.Progress)
	if turn.Ended {
		w.evict()
	}
	if err := replay.Check(w.records, w.newRun); err != nil {
		w.t.Fatalf("check: %v", err)
	}
}

// outcomes ends at least one of the running steps.
func (w *world) outcomes() []replay.StepOutcome {
	var done []replay.StepOutcome
	steps := rapid.Permutation(slices.Sorted(maps.Keys(w.running))).Draw(w.t, "order")
	for _, s := range steps[:rapid.IntRange(1, len(steps)).Draw(w.t, "ended")] {
		call := w.running[s]
		delete(w.running, s)
		o := replay.StepOutcome{Step: s, Attempts: call.Attempt}
		o.At = w.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(w.t, "took")) * time.Second) // time passes while it runs
		switch rapid.IntRange(0, 3).Draw(w.t, "outcome") {
		case 0:
			o.Failure = &events.Failure{Code: "no", Message: "no"}
		case 1:
			o.Failure, o.Until = &events.Failure{Code: "no", Message: "no"}, w.now.Add(time.Second)
		default:
			o.Result = events.Payload{Encoding: "json", Data: fmt.Append(nil, s)}
		}
		done = append(done, o)
	}
	return done
}

func (w *world) close() {
	w.evict()
	if err := replay.Check(w.records, w.newRun); err != nil {
		w.t.Fatalf("check at the end: %v", err)
	}
}
