package sessions

import "github.com/continuo-dev/continuo/pkg/events"

// TaskPast is what the history of a run tells of a task when one of its attempts is to be handed out: a fold of the run's
// events from the TaskScheduled on.
type TaskPast struct {
	Scheduled *events.TaskScheduled // nil until its event was there
	At        events.Time           // when the task was called; 0 when unknown
	Details   events.Payload        // of the last heartbeat kept
	// Over says that the attempt has ended, by itself or with its run.
	Over bool
}

// Add takes the next event, of a record with the given time. What it says of other tasks changes nothing.
func (p *TaskPast) Add(e events.Event, at events.Time, step events.Step, attempt events.Attempt) {
	switch e := e.(type) {
	case events.TaskScheduled:
		if e.Step == step {
			scheduled := e
			p.Scheduled, p.At = &scheduled, at
		}
	case events.HeartbeatRecorded:
		if e.Step == step {
			p.Details = e.Details
		}
	case events.TaskAttemptFailed:
		if e.Step != step {
			return
		}
		if !e.Details.IsZero() {
			p.Details = e.Details
		}
		p.Over = p.Over || e.Attempt >= attempt
	case events.TaskCompleted:
		p.Over = p.Over || e.Step == step
	case events.TaskFailed:
		p.Over = p.Over || e.Step == step
	case events.TaskCancelled:
		p.Over = p.Over || e.Step == step
	default:
		p.Over = p.Over || events.EndsRun(e)
	}
}

// EndsActivation reports whether an event that comes after an activation was scheduled ends the given attempt of it.
func EndsActivation(e events.Event, activation uint64, attempt events.Attempt) bool {
	ends := func(a uint64, n events.Attempt) bool { return a > activation || (a == activation && n >= attempt) }
	switch e := e.(type) {
	case events.ProgressMade:
		return ends(e.Activation, e.Attempt)
	case events.ProgressRefused:
		return ends(e.Activation, e.Attempt)
	case events.ActivationFailed:
		return ends(e.Activation, e.Attempt)
	case events.ActivationTimedOut:
		return ends(e.Activation, e.Attempt)
	default:
		return events.EndsRun(e)
	}
}
