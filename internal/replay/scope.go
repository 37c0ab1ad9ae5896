package replay

import (
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Scope is a part of workflow code that is cancelled together: its open calls and timers are given up, and what waits in
// it gets the cause.
type Scope struct {
	run    *Run
	parent *Scope
	timer  *Future
	cause  error
}

// Err returns why the scope was cancelled, nil while it is not.
func (s *Scope) Err() error {
	for ; s != nil; s = s.parent {
		if s.cause != nil {
			return s.cause
		}
	}
	return nil
}

// WithTimeout returns a scope inside parent that is cancelled with [ErrTimeout] after d, and a function that cancels it
// at once with [ErrCancelled].
func (r *Run) WithTimeout(parent *Scope, d time.Duration) (*Scope, func()) {
	s := &Scope{run: r, parent: parent}
	f, err := r.enter("WithTimeout")
	switch {
	case err != nil:
		s.cause = err
		return s, func() {}
	case parent.Err() != nil:
		return s, func() {}
	case d <= 0:
		s.cause = ErrTimeout
		return s, func() {}
	}
	s.timer = r.startTimer(f, parent, r.at.Add(d))
	s.timer.expires = s
	return s, func() {
		if f, err := r.enter("CancelFunc"); err == nil {
			r.cancel(f, s, ErrCancelled)
		}
	}
}

// Shield returns a scope that is not cancelled when others are.
func (r *Run) Shield() *Scope { return &Scope{run: r} }

// cancel cancels a scope and all inside it: open calls and timers end with the cause, then waiting fibers are woken.
func (r *Run) cancel(f *fiber, s *Scope, cause error) {
	if s.Err() != nil {
		return
	}
	if s.timer != nil && !s.timer.ended {
		r.intend(f, events.CancelTimer{Step: s.timer.step})
		s.timer.err = ErrCancelled
		r.end(s.timer)
	}
	s.cause = cause
	for _, future := range r.steps.all() {
		if future.ended || future.scope.Err() == nil {
			continue
		}
		r.giveUp(f, future)
		future.err = future.scope.Err()
		r.end(future)
	}
	for _, w := range r.fibers {
		if w.waiting && w.scope.Err() != nil {
			r.ready(w)
		}
	}
}

// giveUp tells the engine, or the worker, that an open call is not needed any more.
func (r *Run) giveUp(f *fiber, future *Future) {
	switch future.kind {
	case kindTask:
		r.intend(f, events.CancelTask{Step: future.step})
	case kindTimer:
		r.intend(f, events.CancelTimer{Step: future.step})
	case kindStep:
		r.dropStep(f, future)
	case kindSignal, kindFiber, kindFailed:
	}
}
