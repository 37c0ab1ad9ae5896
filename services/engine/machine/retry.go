package machine

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

func (r *Run) decideFailTask(env events.Envelope, c events.FailTask, at events.Time) ([]events.Event, events.Answer) {
	t := r.attemptOf(c.Step, c.Attempt)
	if t == nil {
		return r.staleAttempt(env, c.Step, c.Attempt)
	}
	delay := c.RetryAfter
	if delay < 0 {
		delay = t.options.Retry.Delay(events.TaskID{Run: r.id, Step: c.Step}, c.Attempt)
	}
	return []events.Event{r.attemptFailed(t, lost{c.Step, c.Failure, c.Worker, t.details}, delay, at)}, r.answer(env, events.OK, "")
}

func (r *Run) decideTimeoutTask(env events.Envelope, c events.TimeoutTask, at events.Time) ([]events.Event, events.Answer) {
	message := timeoutMessage(c.Code)
	if message == "" {
		return nil, r.answer(env, events.InvalidArgument, fmt.Sprintf("code %q is not one of an attempt's timeouts", c.Code))
	}
	t := r.attemptOf(c.Step, c.Attempt)
	if t == nil {
		return r.staleAttempt(env, c.Step, c.Attempt)
	}
	l := lost{c.Step, events.Failure{Code: c.Code, Message: message}, c.Worker, c.Details}
	if l.details.IsZero() {
		l.details = t.details
	}
	delay := time.Duration(0)
	if c.Code != events.CodeWorkerLost {
		delay = t.options.Retry.Delay(events.TaskID{Run: r.id, Step: c.Step}, c.Attempt)
	} else if t.options.Retry.MaxAttempts == 1 {
		cause := l.failure
		l.failure = events.Failure{
			Code: events.CodeOutcomeUnknown, Message: "the only attempt lost its worker: it may or may not have happened", Cause: &cause,
		}
	}
	return []events.Event{r.attemptFailed(t, l, delay, at)}, r.answer(env, events.OK, "")
}

// timeoutMessage says to people what a timeout of an attempt means; "" for any other code.
func timeoutMessage(code string) string {
	switch code {
	case events.CodeStartToClose:
		return "the attempt did not end in time"
	case events.CodeHeartbeatTimeout:
		return "the attempt gave no sign of life in time"
	case events.CodeWorkerLost:
		return "the attempt's worker is gone"
	}
	return ""
}

// lost is an attempt that ended without a result.
type lost struct {
	step    events.Step
	failure events.Failure
	worker  events.WorkerID
	details events.Payload
}

// attemptFailed returns the event that opens the next attempt after the delay, or the one that ends the task: when the
// policy allows no more attempts, or when the next would start after schedule-to-close.
func (r *Run) attemptFailed(t *task, l lost, delay time.Duration, at events.Time) events.Event {
	notBefore := at.Add(delay)
	closes := t.closes()
	if !t.options.Retry.Allows(t.attempt, &l.failure) || (closes != 0 && notBefore >= closes) {
		return events.TaskFailed{Step: l.step, Attempt: t.attempt, Failure: l.failure, Worker: l.worker}
	}
	if delay <= 0 {
		notBefore = 0
	}
	return events.TaskAttemptFailed{
		Step: l.step, Attempt: t.attempt, Failure: l.failure, NotBefore: notBefore, Name: t.name, Queue: t.queue,
		Scheduled: t.scheduled, ScheduleToStart: t.options.ScheduleToStart, Details: l.details, Worker: l.worker,
	}
}
