package machine

import (
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// task is an open task. Its input stays in the history, at scheduled.
type task struct {
	name      events.TaskName
	queue     events.TaskQueue
	attempt   events.Attempt // the open one
	scheduled events.EventNumber
	options   events.TaskOptions
	// called is when the workflow called it; offered is from when on the open attempt may start.
	called  events.Time
	offered events.Time
	// details are those of the last heartbeat that brought some.
	details events.Payload
}

// closes returns when schedule-to-close ends the task; 0 means never.
func (t *task) closes() events.Time {
	if t.options.ScheduleToClose <= 0 {
		return 0
	}
	return t.called.Add(t.options.ScheduleToClose)
}

// attemptOf returns the task if the given attempt of it is open, else nil.
func (r *Run) attemptOf(s events.Step, attempt events.Attempt) *task {
	if t := r.tasks[s]; t != nil && (t.attempt == attempt || mutant.On(mutant.StaleAttemptAccepted)) {
		return t
	}
	return nil
}

func (r *Run) staleAttempt(env events.Envelope, s events.Step, attempt events.Attempt) ([]events.Event, events.Answer) {
	return r.stale(env, fmt.Sprintf("attempt %d of task %d is over", attempt, s))
}

func (r *Run) decideCompleteTask(env events.Envelope, c events.CompleteTask) ([]events.Event, events.Answer) {
	if r.attemptOf(c.Step, c.Attempt) == nil {
		return r.staleAttempt(env, c.Step, c.Attempt)
	}
	return []events.Event{events.TaskCompleted(c)}, r.answer(env, events.OK, "")
}

func (r *Run) decideHeartbeat(env events.Envelope, c events.RecordHeartbeat) ([]events.Event, events.Answer) {
	if r.attemptOf(c.Step, c.Attempt) == nil {
		return r.staleAttempt(env, c.Step, c.Attempt)
	}
	return []events.Event{events.HeartbeatRecorded(c)}, r.answer(env, events.OK, "")
}

// scheduleTask returns the event of a call with its defaults filled in.
// A task that is bounded in its wait for a worker is not offered: who gets it first is the scheduler's to time.
func (r *Run) scheduleTask(c events.ScheduleTask, offerTo events.SessionID, at events.Time) (events.Event, error) {
	if err := c.Name.Validate(); err != nil {
		return nil, err
	}
	if c.Queue == "" {
		c.Queue = r.queue
	} else if err := c.Queue.Validate(); err != nil {
		return nil, err
	}
	if err := checkOptions(c.Options); err != nil {
		return nil, fmt.Errorf("task %q: %w", c.Name, err)
	}
	if c.Options.StartToClose == 0 {
		c.Options.StartToClose = events.DefaultStartToClose
	}
	e := events.TaskScheduled{Step: c.Step, Name: c.Name, Queue: c.Queue, Input: c.Input, Options: c.Options}
	if offerTo != 0 && c.Options.ScheduleToStart == 0 {
		e.OfferTo, e.OfferUntil = offerTo, at.Add(events.OfferFor)
	}
	return e, nil
}

func checkOptions(o events.TaskOptions) error {
	for _, bound := range []struct {
		name string
		d    time.Duration
	}{
		{"start-to-close", o.StartToClose},
		{"heartbeat", o.Heartbeat},
		{"schedule-to-start", o.ScheduleToStart},
		{"schedule-to-close", o.ScheduleToClose},
		{"initial retry delay", o.Retry.Initial},
		{"longest retry delay", o.Retry.Max},
	} {
		if bound.d < 0 {
			return fmt.Errorf("%s of %v is negative; 0 means the default", bound.name, bound.d)
		}
	}
	if f := o.Retry.Factor; f != 0 && !(f >= 1) {
		return fmt.Errorf("retry factor %v is below 1; 0 means the default", f)
	}
	return nil
}

func (r *Run) applyTaskScheduled(e events.TaskScheduled, n events.EventNumber, at events.Time) error {
	if err := r.steps.use(e.Step); err != nil {
		return err
	}
	if r.tasks == nil {
		r.tasks = make(map[events.Step]*task)
	}
	r.tasks[e.Step] = &task{
		name: e.Name, queue: e.Queue, attempt: 1, scheduled: n, options: e.Options, called: at, offered: at,
	}
	r.wait.stepOpened(e.Step)
	return nil
}

func (r *Run) applyTaskAttemptFailed(e events.TaskAttemptFailed, at events.Time) error {
	t := r.attemptOf(e.Step, e.Attempt)
	if t == nil {
		return errNotOpen(e.Step, e.Attempt)
	}
	if !mutant.On(mutant.AttemptReused) {
		t.attempt++
	}
	t.offered = max(at, e.NotBefore)
	if !e.Details.IsZero() {
		t.details = e.Details
	}
	return nil
}

// applyTaskEnd closes a task, however it ended.
func (r *Run) applyTaskEnd(s events.Step, attempt events.Attempt) error {
	if r.attemptOf(s, attempt) == nil {
		return errNotOpen(s, attempt)
	}
	if !mutant.On(mutant.SecondResultAccepted) {
		delete(r.tasks, s)
	}
	if len(r.tasks) == 0 {
		r.tasks = nil
	}
	r.wait.stepEnded(s)
	return nil
}

func (r *Run) applyHeartbeat(e events.HeartbeatRecorded) error {
	t := r.attemptOf(e.Step, e.Attempt)
	if t == nil {
		return errNotOpen(e.Step, e.Attempt)
	}
	t.details = e.Details
	return nil
}

func errNotOpen(s events.Step, attempt events.Attempt) error {
	return fmt.Errorf("attempt %d of task %d is not open", attempt, s)
}

var errStepUsed = errors.New("the step was used before")
