package machine

import (
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Back-off of activations whose code fails again and again, and how many lost workers in a row are forgiven at once.
const (
	activationBackoffInitial = time.Second
	activationBackoffMax     = 10 * time.Minute
	activationFreeTimeouts   = 3
)

// activation is the newest activation of a run: in flight, to be tried again, or over.
type activation struct {
	number  uint64
	attempt events.Attempt
	open    bool
	// retry says that the last attempt failed and the next one is not scheduled yet.
	retry     bool
	notBefore events.Time
	upto      events.EventNumber
	// failures and timeouts count in a row; failedBuild is the build of the last failure.
	failures    uint32
	timeouts    uint32
	failedBuild events.BuildID
}

// is reports whether the given attempt is the one in flight.
func (a *activation) is(number uint64, attempt events.Attempt) bool {
	return a.open && a.number == number && a.attempt == attempt
}

// Settle returns the activation that the run needs now, or nothing. It is asked once after the events of a batch are
// applied, and what it returns is applied like them and is last in their record. It does not change the run.
func (r *Run) Settle(at events.Time) []events.Event {
	if !r.status.Open() || r.quarantined || r.flight.open {
		return nil
	}
	e := events.ActivationScheduled{
		Activation: r.flight.number + 1, Attempt: 1, Type: r.kind, Queue: r.queue,
		Base: r.code.base, ReplayFrom: r.code.replayFrom, Upto: r.next - 1,
	}
	if e.Base > 0 {
		e.BaseUpto = r.code.upto
	}
	switch {
	case r.flight.retry:
		e.Activation, e.Attempt, e.FailedBuild = r.flight.number, r.flight.attempt+1, r.flight.failedBuild
		if r.flight.notBefore > at {
			e.NotBefore = r.flight.notBefore
		}
	case r.wait.holds() || r.cancel > r.code.upto:
	default:
		return nil
	}
	return []events.Event{e}
}

func (r *Run) decideFailActivation(env events.Envelope, c events.FailActivation) ([]events.Event, events.Answer) {
	if !r.flight.is(c.Activation, c.Attempt) {
		return r.staleActivation(env, c.Activation, c.Attempt)
	}
	return []events.Event{events.ActivationFailed(c)}, r.answer(env, events.OK, "")
}

func (r *Run) decideTimeoutActivation(env events.Envelope, c events.TimeoutActivation) ([]events.Event, events.Answer) {
	if !r.flight.is(c.Activation, c.Attempt) {
		return r.staleActivation(env, c.Activation, c.Attempt)
	}
	return []events.Event{events.ActivationTimedOut(c)}, r.answer(env, events.OK, "")
}

func (r *Run) staleActivation(env events.Envelope, number uint64, attempt events.Attempt) ([]events.Event, events.Answer) {
	return r.stale(env, fmt.Sprintf("attempt %d of activation %d is over", attempt, number))
}

func (r *Run) applyActivation(e events.ActivationScheduled, n events.EventNumber, _ events.Time) error {
	f := &r.flight
	number, attempt := f.number+1, events.Attempt(1)
	if f.retry {
		number, attempt = f.number, f.attempt+1
	}
	switch {
	case f.open:
		return fmt.Errorf("activation %d is in flight", f.number)
	case e.Activation != number || e.Attempt != attempt:
		return fmt.Errorf("activation %d attempt %d would be next", number, attempt)
	case e.Upto != n-1 || e.Base != r.code.base || e.ReplayFrom != r.code.replayFrom:
		return fmt.Errorf("it shows events %d and %d up to %d, not %d and %d up to %d",
			e.ReplayFrom, e.Base, e.Upto, r.code.replayFrom, r.code.base, n-1)
	}
	f.number, f.attempt, f.open, f.retry, f.notBefore, f.upto = number, attempt, true, false, 0, e.Upto
	return nil
}

// checkFlight returns an error unless the given attempt is in flight.
func (r *Run) checkFlight(number uint64, attempt events.Attempt) error {
	if !r.flight.is(number, attempt) {
		return fmt.Errorf("attempt %d of activation %d is not in flight", attempt, number)
	}
	return nil
}

// checkReporting returns an error unless the events of intents fit: they follow accepted progress and come before the next
// activation.
func (r *Run) checkReporting() error {
	if r.flight.open || r.flight.retry || r.code.upto == 0 {
		return errors.New("no progress was made that it could be part of")
	}
	return nil
}

func (r *Run) applyActivationFailed(e events.ActivationFailed, at events.Time) error {
	if err := r.checkFlight(e.Activation, e.Attempt); err != nil {
		return err
	}
	f := &r.flight
	if e.Build != f.failedBuild {
		f.failures = 0
	}
	f.failures++
	f.timeouts, f.failedBuild = 0, e.Build
	f.open, f.retry, f.notBefore = false, true, at.Add(activationBackoff(f.failures))
	return nil
}

func (r *Run) applyActivationTimedOut(e events.ActivationTimedOut, at events.Time) error {
	if err := r.checkFlight(e.Activation, e.Attempt); err != nil {
		return err
	}
	f := &r.flight
	f.timeouts++
	f.open, f.retry, f.notBefore = false, true, 0
	if f.timeouts > activationFreeTimeouts {
		f.notBefore = at.Add(activationBackoff(f.timeouts - activationFreeTimeouts))
	}
	return nil
}

// landed ends the activation in flight after its code has run.
func (r *Run) landed() { r.flight = activation{number: r.flight.number} }

// activationBackoff is the delay after the n-th failure in a row, from 1.
func activationBackoff(n uint32) time.Duration {
	if n > 10 {
		return activationBackoffMax
	}
	return min(activationBackoffInitial<<(n-1), activationBackoffMax)
}
