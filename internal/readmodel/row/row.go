// Package row has the rows of the read models: what the projection makes and what readers get.
package row

import "github.com/continuo-dev/continuo/pkg/events"

// Run is the row of one run. Version is the number of the last event it includes: it never goes back.
type Run struct {
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Version    events.EventNumber
	Partition  events.Partition
	Type       events.WorkflowType
	Queue      events.TaskQueue
	Status     events.Status
	Started    events.Time
	Ended      events.Time // 0 while open
	// Result and Failure are set by the end.
	Result  events.Payload
	Failure *events.Failure
	// CancelRequested is when; 0 means it was not.
	CancelRequested events.Time
	// Quarantine is why the run is quarantined; empty when it is not.
	Quarantine string
	// Unread is the number of signals nobody has read.
	Unread uint64
	// Waiting lists what the run waits for, at most 1,000 of each; all empty after the end.
	Tasks      []Task
	Timers     []Timer
	Signals    []SignalWait
	Activation *Activation
	// Inbox counts the signals of an open run, in the order in which their names first came, at most 1,000 names.
	Inbox []Inbox
	// Counts since the start.
	TasksScheduled uint64
	Continued      uint64
	Views          []View
}

// Task is an open task of a run.
type Task struct {
	Step      events.Step
	Name      events.TaskName
	Queue     events.TaskQueue
	Attempt   events.Attempt
	Scheduled events.Time
	// NextAttempt is when the open attempt may start; 0 means at once.
	NextAttempt events.Time
	LastFailure *events.Failure
}

// Timer is an armed timer or a step that backs off (Label then names it).
type Timer struct {
	Step        events.Step
	Due         events.Time
	Label       string
	LastFailure *events.Failure
}

// SignalWait is a signal the run's code waits for.
type SignalWait struct {
	Name  events.SignalName
	Index uint64
}

// Inbox counts the signals of one name: how many came, and how many of those the code has taken.
type Inbox struct {
	Name           events.SignalName
	Received, Read uint64
}

// Activation is workflow code that is to run or runs.
type Activation struct {
	Activation  uint64
	Attempt     events.Attempt
	Since       events.Time
	NotBefore   events.Time
	LastFailure *events.Failure // of the attempt before, such as a replay mismatch
}

// View is the last value a run published under a name.
type View struct {
	Name    events.ViewName
	Value   events.Payload
	Version events.EventNumber
	Updated events.Time
}
