package replay

import (
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

type kind uint8

const (
	kindFailed kind = iota // ended when it was made
	kindTask
	kindTimer
	kindStep
	kindSignal
	kindFiber
)

// Future is the outcome of something that workflow code began.
type Future struct {
	run    *Run
	kind   kind
	state  stepState
	ended  bool
	handed bool // the code has the value
	tries  events.Attempt
	step   events.Step
	name   string // of the task, step or signal
	scope  *Scope

	index   uint64 // position of the end among all ends of the run
	waiters []*fiber
	waiter  [1]*fiber // room for the first of waiters

	result  events.Payload
	failure *events.Failure
	err     error

	expires *Scope // the scope whose time this timer is
	owner   *fiber // of a claim to a signal

	local *StepCall // of a step
}

// Failed returns a future that has ended with err.
func (r *Run) Failed(err error) *Future {
	return &Future{run: r, kind: kindFailed, ended: true, err: err}
}

// Step returns the number of the call; 0 when it has none.
func (f *Future) Step() events.Step { return f.step }

// Ready reports whether waiting for the future returns at once.
func (f *Future) Ready() bool {
	_, ready := f.endIndex()
	return ready
}

// Outcome returns how the future ended: with a value, a failure, or an error of the runtime ([ErrCancelled],
// [ErrTimeout], [ErrDead], [*Misuse]).
func (f *Future) Outcome() (events.Payload, *events.Failure, error) {
	if !f.handed && f.kind != kindSignal {
		f.handed = true
		f.run.bytes -= len(f.result.Data)
	}
	return f.result, f.failure, f.err
}

// endIndex tells when the future ended, if it has.
func (f *Future) endIndex() (uint64, bool) {
	if f.kind == kindSignal && !f.ended {
		return f.run.claimIndex(f)
	}
	return f.index, f.ended
}

// what names the future in messages.
func (f *Future) what() string {
	switch f.kind {
	case kindTask:
		return fmt.Sprintf("task %q", f.name)
	case kindTimer:
		return "a timer"
	case kindStep:
		return fmt.Sprintf("step %q", f.name)
	case kindSignal:
		return fmt.Sprintf("signal %q", f.name)
	case kindFiber:
		return "a fiber"
	case kindFailed:
	}
	return "a call"
}

// end ends a future and wakes who waits for it.
func (r *Run) end(f *Future) {
	if f.ended {
		return
	}
	r.index++
	f.ended, f.index = true, r.index
	if f.step != 0 {
		r.steps.forget()
	}
	r.wake(f)
}

// wake queues the fibers that wait for a future, in the order in which they began to.
func (r *Run) wake(f *Future) {
	waiters := f.waiters
	if len(waiters) > 1 {
		waiters = slices.Clone(waiters) // ready takes those that it queues out
	}
	for _, w := range waiters {
		for w.all && w.passed < len(w.futures) && w.futures[w.passed].Ready() {
			w.passed++
		}
		if !w.all || w.passed == len(w.futures) {
			r.ready(w)
		}
	}
}

// ready queues a waiting fiber.
func (r *Run) ready(f *fiber) {
	f.waiting = false
	for _, future := range f.futures {
		future.waiters = slices.DeleteFunc(future.waiters, func(w *fiber) bool { return w == f })
	}
	r.queue = append(r.queue, f)
}

// wait parks a fiber until one of the futures (with all: every one) has ended or the scope is cancelled.
func (f *fiber) wait(scope *Scope, all bool, futures []*Future) {
	f.waiting, f.futures, f.all, f.passed, f.scope = true, futures, all, 0, scope
	for _, future := range futures {
		if future.waiters == nil {
			future.waiters = future.waiter[:0]
		}
		future.waiters = append(future.waiters, f)
	}
	f.park()
	f.futures = nil
}

// Await waits for a future. It returns nil when it has ended, and otherwise why it cannot be waited for: the scope is
// cancelled or the run is closed. A signal is taken.
func (r *Run) Await(scope *Scope, future *Future) error {
	f, err := r.enter("Await")
	if err != nil {
		return err
	}
	if err := r.check([]*Future{future}); err != nil {
		return err
	}
	return r.await(f, scope, future)
}

func (r *Run) await(f *fiber, scope *Scope, future *Future) error {
	f.one[0] = future
	_, err := r.first(f, scope, f.one[:])
	f.one[0] = nil
	return err
}

// First waits until any of the futures has ended and returns the position of the one that did first: in the order of the
// log, then of the arguments. A signal that wins is taken. When the scope is cancelled before, the error says why.
func (r *Run) First(scope *Scope, futures ...*Future) (int, error) {
	f, err := r.enter("First")
	if err != nil {
		return -1, err
	}
	if err := r.check(futures); err != nil {
		return -1, err
	}
	return r.first(f, scope, futures)
}

// AwaitNew is [Run.Await] for the future of a task or step that the same code has begun just now, with no other call in
// between: who calls is known from then.
func (r *Run) AwaitNew(scope *Scope, future *Future) error {
	if future.ended {
		return nil
	}
	return r.await(r.current, scope, future)
}

func (r *Run) first(f *fiber, scope *Scope, futures []*Future) (int, error) {
	for {
		best, at := -1, uint64(0)
		for i, future := range futures {
			if index, ended := future.endIndex(); ended && (best < 0 || index < at) {
				best, at = i, index
			}
		}
		if best >= 0 {
			r.take(futures[best])
			return best, nil
		}
		if err := scope.Err(); err != nil {
			return -1, err
		}
		r.claimAgain(f, futures)
		f.wait(scope, false, futures)
	}
}

// All waits until every future has ended. Signals are taken.
func (r *Run) All(scope *Scope, futures ...*Future) error {
	f, err := r.enter("All")
	if err != nil {
		return err
	}
	if err := r.check(futures); err != nil {
		return err
	}
	for slices.ContainsFunc(futures, func(f *Future) bool { return !f.Ready() }) {
		if err := scope.Err(); err != nil {
			return err
		}
		r.claimAgain(f, futures)
		f.wait(scope, true, futures)
	}
	for _, future := range futures {
		r.take(future)
	}
	return nil
}

// check refuses futures of other runs.
func (r *Run) check(futures []*Future) error {
	for _, f := range futures {
		if f == nil || f.run != r {
			return &Misuse{Reason: "a future of another run, or none, was waited for", Lines: r.current.lines()}
		}
	}
	return nil
}

// waitSet says when the code wants to be activated again.
func (r *Run) waitSet() events.WaitSet {
	set := events.WaitSet{Now: len(r.wanted) > 0 || r.executing > 0 || r.paged}
	b := groups{set: &set, seen: make(map[events.Step]bool)}
	for _, f := range r.fibers {
		if !f.waiting {
			continue
		}
		if f.all {
			b.join(f.futures)
		} else {
			for _, future := range f.futures {
				b.join([]*Future{future})
			}
		}
		for _, future := range f.futures {
			b.timers(future.scope)
		}
		b.timers(f.scope)
	}
	return set
}

// groups builds a wait set.
type groups struct {
	set  *events.WaitSet
	seen map[events.Step]bool // groups of one step that are there already
}

// join adds the group of all futures that have not ended. Futures that end by code running on (fibers, steps in the worker)
// are waited for by what that code waits for: with one among them the group is not needed.
func (b *groups) join(futures []*Future) {
	var g events.WaitGroup
	for _, f := range futures {
		switch {
		case f.Ready():
		case f.kind == kindFiber, f.kind == kindStep && f.state != stepBackingOff:
			return
		case f.kind == kindSignal:
			g.Signals = append(g.Signals, events.SignalWait{Name: events.SignalName(f.name), Index: f.run.signalIndex(f)})
		default:
			g.Steps = append(g.Steps, f.step)
		}
	}
	switch {
	case len(g.Steps) == 1 && len(g.Signals) == 0:
		b.step(g.Steps[0])
	case len(g.Steps)+len(g.Signals) > 0:
		slices.Sort(g.Steps)
		b.set.Any = append(b.set.Any, g)
	}
}

func (b *groups) step(s events.Step) {
	if !b.seen[s] {
		b.seen[s] = true
		b.set.Any = append(b.set.Any, events.WaitGroup{Steps: []events.Step{s}})
	}
}

// timers adds the timers that would cancel the scope.
func (b *groups) timers(s *Scope) {
	for ; s != nil; s = s.parent {
		if s.timer != nil && !s.timer.ended {
			b.step(s.timer.step)
		}
	}
}
