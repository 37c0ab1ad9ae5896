package machine

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// decideFireTimer ends what the timer bounds. A timer that is not armed or not due is stale: whoever fires it either
// learns of its end from an event that is on the way, or asks again.
func (r *Run) decideFireTimer(env events.Envelope, c events.FireTimer, at events.Time) ([]events.Event, events.Answer) {
	due, fired := r.armed(c.Timer)
	if mutant.On(mutant.TimerEarly) {
		due = due.Add(-time.Millisecond)
	}
	switch {
	case due == 0:
		return r.stale(env, "the timer is not armed")
	case at < due:
		return r.stale(env, fmt.Sprintf("the timer is due at %s", due.Std().Format("2006-01-02T15:04:05.000000Z07:00")))
	}
	return []events.Event{fired}, r.answer(env, events.OK, "")
}

// armed returns when a timer is due and the event of its firing; 0 when it is not armed.
func (r *Run) armed(id events.TimerID) (due events.Time, fired events.Event) {
	switch id.Kind {
	case events.TimerSleep:
		return r.timers[id.Step], events.TimerFired{Step: id.Step}
	case events.TimerStepRetry:
		return r.steps.backoffs[id.Step], events.StepRetryDue{Step: id.Step}
	case events.TimerScheduleToStart:
		if t := r.attemptOf(id.Step, id.Attempt); t != nil && t.options.ScheduleToStart > 0 {
			return t.offered.Add(t.options.ScheduleToStart), events.TaskFailed{
				Step: id.Step, Attempt: t.attempt,
				Failure: events.Failure{Code: events.CodeScheduleToStart, Message: "no worker began the attempt in time"},
			}
		}
	case events.TimerScheduleToClose:
		if t := r.tasks[id.Step]; t != nil && t.closes() != 0 {
			return t.closes(), events.TaskFailed{
				Step: id.Step, Attempt: t.attempt,
				Failure: events.Failure{Code: events.CodeScheduleToClose, Message: "the task was not done in time"},
			}
		}
	case events.TimerRunTimeout:
		return r.due, events.RunTimedOut{}
	}
	return 0, nil
}

func (r *Run) applyTimerStarted(e events.TimerStarted) error {
	if e.Due <= 0 {
		return fmt.Errorf("timer %d is due at %d", e.Step, e.Due)
	}
	if err := r.steps.use(e.Step); err != nil {
		return err
	}
	if r.timers == nil {
		r.timers = make(map[events.Step]events.Time)
	}
	r.timers[e.Step] = e.Due
	r.wait.stepOpened(e.Step)
	return nil
}

func (r *Run) applyTimerFired(e events.TimerFired) error {
	if _, ok := r.timers[e.Step]; !ok {
		return fmt.Errorf("timer %d is not armed", e.Step)
	}
	r.disarm(e.Step)
	return nil
}

// applyTimerCancelled disarms a timer of the workflow or the back-off of a step.
func (r *Run) applyTimerCancelled(e events.TimerCancelled) error {
	if r.steps.backoffs[e.Step] != 0 {
		r.steps.forget(e.Step)
		r.wait.stepEnded(e.Step)
		return nil
	}
	return r.applyTimerFired(events.TimerFired(e))
}

func (r *Run) disarm(s events.Step) {
	delete(r.timers, s)
	if len(r.timers) == 0 {
		r.timers = nil
	}
	r.wait.stepEnded(s)
}
