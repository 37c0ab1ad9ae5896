package replay

import (
	"slices"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// LocalRetryTime is how long a step is tried again in the worker, from its first attempt there, before the engine is asked
// to wake it.
const LocalRetryTime = 10 * time.Second

// StepOptions are the limits of a step that runs in the worker.
type StepOptions struct {
	Retry events.RetryPolicy
	// Timeout bounds one attempt; 0 means no bound.
	Timeout time.Duration
}

// StepCall is a step to be executed by the driver.
type StepCall struct {
	Task    events.TaskID
	Label   string
	Attempt events.Attempt // of the first try to make now
	StepOptions
	// Work is what the workflow's code wants done.
	Work any
}

// StepOutcome is the outcome of executing a step: a result, a failure that ends it, or, with Until, a failure after which
// it is to be tried again at that time.
type StepOutcome struct {
	Step     events.Step
	Result   events.Payload
	Failure  *events.Failure
	Attempts events.Attempt // made so far
	Until    events.Time
	// At is the time that the code is shown from this outcome on, 0 to leave it: time passes while a step runs.
	At events.Time
}

type stepState uint8

const (
	stepWanted stepState = iota
	stepExecuting
	stepBackingOff
)

// Step asks for a step to be executed in the worker.
func (r *Run) Step(scope *Scope, label string, opts StepOptions, work any) *Future {
	_, err := r.enter("Step")
	if err == nil {
		err = scope.Err()
	}
	if err != nil {
		return r.Failed(err)
	}
	f := r.newStep(kindStep, scope, label)
	f.local, f.state = &StepCall{Task: events.TaskID{Run: r.opts.RunID, Step: f.step}, Label: label, StepOptions: opts, Work: work}, stepWanted
	r.wanted = append(r.wanted, f)
	return f
}

func (f *Future) stepCall() StepCall {
	call := *f.local
	call.Attempt = f.tries + 1
	return call
}

// intent is what reports the outcome.
func (o StepOutcome) intent(label string) events.Intent {
	if o.Until != 0 {
		failure := events.Failure{}
		if o.Failure != nil {
			failure = *o.Failure
		}
		return events.BackOffStep{Step: o.Step, Label: label, Attempt: o.Attempts, Failure: failure, Until: o.Until}
	}
	return events.RecordStep{Step: o.Step, Label: label, Result: o.Result, Failure: o.Failure, Attempts: o.Attempts, At: o.At}
}

// recorded is an outcome with the label that it had.
type recorded struct {
	StepOutcome
	label string
}

// recordedOutcome reads the outcome of a step from the history.
func recordedOutcome(e events.Event) (recorded, bool) {
	switch e := e.(type) {
	case events.StepRecorded:
		return recorded{StepOutcome{Step: e.Step, Result: e.Result, Failure: e.Failure, Attempts: e.Attempts, At: e.At}, e.Label}, true
	case events.StepBackedOff:
		return recorded{StepOutcome{Step: e.Step, Failure: &e.Failure, Attempts: e.Attempt, Until: e.Until}, e.Label}, true
	default:
		return recorded{}, false
	}
}

// stepOutcome gives the outcome of a step to the code.
func (r *Run) stepOutcome(f *Future, o StepOutcome) {
	f.tries = o.Attempts
	if o.Until != 0 {
		f.state = stepBackingOff
		return
	}
	r.at = max(r.at, o.At)
	f.result, f.failure = o.Result, o.Failure
	r.bytes += len(o.Result.Data)
	r.end(f)
}

// dropStep forgets a step nobody waits for any more.
func (r *Run) dropStep(f *fiber, s *Future) {
	switch s.state {
	case stepWanted:
		r.wanted = slices.DeleteFunc(r.wanted, func(w *Future) bool { return w == s })
	case stepExecuting:
		r.executing--
		r.stop = append(r.stop, s.step)
	case stepBackingOff:
		r.intend(f, events.CancelTimer{Step: s.step})
	}
}

// NextTry says what follows a failed try of a step: another one in the worker after a delay, or (again false) the returned
// outcome, which ends the step or backs it off. Spent is the time since the first try in this worker, and retryAfter the
// delay that the step asked for, negative if it did not.
func NextTry(c StepCall, attempt events.Attempt, failure *events.Failure, retryAfter, spent time.Duration, now events.Time) (o StepOutcome, delay time.Duration, again bool) {
	o = StepOutcome{Step: c.Task.Step, Failure: failure, Attempts: attempt}
	if !c.Retry.Allows(attempt, failure) {
		return o, 0, false
	}
	if delay = retryAfter; delay < 0 {
		delay = c.Retry.Delay(c.Task, attempt)
	}
	if spent+delay < LocalRetryTime {
		return o, delay, true
	}
	o.Until = now.Add(delay)
	return o, 0, false
}
