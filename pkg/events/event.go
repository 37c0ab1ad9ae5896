package events

import "time"

// Event is a fact in the history of a run. Events are numbered per run from 1 ([EventNumber]) and never change.
//
//sumtype:decl
type Event interface{ event() }

// RunStarted is the first event of every run.
type RunStarted struct {
	Type       WorkflowType
	Queue      TaskQueue
	Input      Payload
	RunTimeout time.Duration
	// Trace is what the run's spans belong to; empty means that it is not traced.
	Trace Traceparent
}

// ActivationScheduled says that workflow code is to run. One activation is in flight per run; it is last in its record.
type ActivationScheduled struct {
	Activation uint64
	Attempt    Attempt
	Type       WorkflowType
	Queue      TaskQueue
	// Base is the ProgressMade that a live run must have made last to go on from memory; 0 when the code has not run since
	// the start or the last RunContinued. From attempt 2 on a live run is not used.
	Base EventNumber
	// BaseUpto is the last event that the code had been given when it made the base: a live run is given what follows it.
	// 0 when Base is 0.
	BaseUpto EventNumber
	// ReplayFrom is where a full replay begins: RunStarted or the last RunContinued.
	ReplayFrom EventNumber
	// Upto is the last event the code is given: the one before this event.
	Upto EventNumber
	// NotBefore is set after failures; 0 means at once. A worker with a build other than FailedBuild may have it earlier.
	NotBefore   Time
	FailedBuild BuildID
	// OfferTo and OfferUntil let one gateway session take the activation before the queue does. 0 means nobody.
	OfferTo    SessionID
	OfferUntil Time
}

// ProgressMade says that a worker's progress was accepted. The events of its intents follow in the same record.
type ProgressMade struct {
	Activation uint64
	Attempt    Attempt
	// At is the time shown to the code, Upto the last event it was given; replay shows it the same.
	At     Time
	Upto   EventNumber
	Reads  []SignalRead
	Wait   WaitSet
	Build  BuildID
	Worker WorkerID
}

// ProgressRefused says that the code wanted to end or continue the run while signals had come that it could not know, under a name it
// has received on. Its intents did not happen; the next activation carries the signals.
type ProgressRefused struct {
	Activation uint64
	Attempt    Attempt
	Worker     WorkerID
}

// ActivationFailed says that the code could not be run; the run waits for a later attempt. It is not replayed.
type ActivationFailed struct {
	Activation uint64
	Attempt    Attempt
	Failure    Failure
	Build      BuildID
	Worker     WorkerID
}

// ActivationTimedOut says that the worker given the activation did not answer. It is not replayed.
type ActivationTimedOut struct {
	Activation uint64
	Attempt    Attempt
}

// TaskScheduled says that the workflow called a task; attempt 1 is open.
type TaskScheduled struct {
	Step    Step
	Name    TaskName
	Queue   TaskQueue
	Input   Payload
	Options TaskOptions
	// OfferTo and OfferUntil let one gateway session take the task before the queue does. 0 means nobody.
	OfferTo    SessionID
	OfferUntil Time
}

// TaskAttemptFailed says that an attempt failed and the next one is open from NotBefore on.
type TaskAttemptFailed struct {
	Step    Step
	Attempt Attempt // the one that failed
	Failure Failure
	// NotBefore is when attempt Attempt+1 may start.
	NotBefore Time
	// Name, Queue and Scheduled (the number of TaskScheduled) let a reader open the next attempt without the past.
	Name      TaskName
	Queue     TaskQueue
	Scheduled EventNumber
	// ScheduleToStart bounds the wait of attempt Attempt+1 for a worker from NotBefore on; 0 means no bound.
	ScheduleToStart time.Duration
	// Details are the last heartbeat's, for the next attempt to go on from.
	Details Payload
	Worker  WorkerID
}

// TaskCompleted says that the task ended with a result: the first accepted one.
type TaskCompleted struct {
	Step    Step
	Attempt Attempt
	Result  Payload
	Worker  WorkerID
}

// TaskFailed says that the task ended with a failure and is not tried again.
type TaskFailed struct {
	Step    Step
	Attempt Attempt
	Failure Failure
	Worker  WorkerID
}

// TaskCancelled says that the task was given up. A result that still comes is answered and ignored.
type TaskCancelled struct {
	Step    Step
	Attempt Attempt // the one that was open
}

// HeartbeatRecorded keeps the details of a running attempt. It is not replayed.
type HeartbeatRecorded struct {
	Step    Step
	Attempt Attempt
	Details Payload
}

// TimerStarted says that the workflow armed a timer.
type TimerStarted struct {
	Step Step
	Due  Time
}

// TimerFired says that a workflow's timer ended at its time.
type TimerFired struct{ Step Step }

// TimerCancelled says that the workflow disarmed a timer, or gave up a step that was backing off.
type TimerCancelled struct{ Step Step }

// StepRecorded keeps the outcome of a step that ran in the worker; Failure is nil when it succeeded.
type StepRecorded struct {
	Step     Step
	Label    string
	Result   Payload
	Failure  *Failure
	Attempts Attempt
	// At is the time that the code is shown from this outcome on; 0 leaves it as it is.
	At Time
}

// StepBackedOff says that a step failed in the worker and is tried again there from Until on.
type StepBackedOff struct {
	Step    Step
	Label   string
	Attempt Attempt
	Failure Failure
	Until   Time
}

// StepRetryDue says that the back-off of a step is over.
type StepRetryDue struct{ Step Step }

// ViewSet says that the workflow published state.
type ViewSet struct {
	Name  ViewName
	Value Payload
}

// SignalReceived says that a signal is in the run's inbox; Index counts the signals of that name from 1.
type SignalReceived struct {
	Name      SignalName
	Index     uint64
	Input     Payload
	RequestID RequestID
}

// CancelRequested says that the run was asked to cancel; it happens at most once in a run.
type CancelRequested struct{ Reason string }

// RunContinued says that the code begins again with a new input. Replay begins here, and takes from before only the
// signals that had not been read.
type RunContinued struct {
	Input Payload
	// Reads are the counts of signals read so far, one per name that was ever read.
	Reads []SignalRead
	// OldestUnread is the first SignalReceived that was not read; 0 when all were.
	OldestUnread EventNumber
	// LastStep is the highest step used so far: the code goes on counting from there.
	LastStep Step
	// CancelRequested says that the run was asked to cancel before: the code begins with a cancelled context.
	CancelRequested bool
}

// RunCompleted ends the run with a result.
type RunCompleted struct {
	Result Payload
	Unread uint64 // signals nobody read
}

// RunFailed ends the run with a failure.
type RunFailed struct {
	Failure Failure
	Unread  uint64
}

// RunCancelled ends the run after a cancel request.
type RunCancelled struct {
	Failure Failure
	Unread  uint64
}

// RunTerminated ends the run by order, without its code.
type RunTerminated struct{ Reason string }

// RunTimedOut ends the run because its run timeout passed, without its code.
type RunTimedOut struct{}

// RunQuarantined says that a record or command of the run could not be applied. Nothing else happens to the run until it
// is released; its commands are parked within a bound.
type RunQuarantined struct{ Reason string }

// RunReleased says that an operator took the run out of quarantine.
type RunReleased struct{ Reason string }

// RunPurged says that the retention of an ended run is over: its history, results and payloads are deleted.
type RunPurged struct{}

// EpochStarted is the first record of an owner in a partition; it belongs to no run.
type EpochStarted struct {
	// Partitions is the number of partitions of the log, fixed when it was made.
	Partitions uint16
	// Cluster names the log: made once, at its creation.
	Cluster string
}

func (RunStarted) event()          {}
func (ActivationScheduled) event() {}
func (ProgressMade) event()        {}
func (ProgressRefused) event()     {}
func (ActivationFailed) event()    {}
func (ActivationTimedOut) event()  {}
func (TaskScheduled) event()       {}
func (TaskAttemptFailed) event()   {}
func (TaskCompleted) event()       {}
func (TaskFailed) event()          {}
func (TaskCancelled) event()       {}
func (HeartbeatRecorded) event()   {}
func (TimerStarted) event()        {}
func (TimerFired) event()          {}
func (TimerCancelled) event()      {}
func (StepRecorded) event()        {}
func (StepBackedOff) event()       {}
func (StepRetryDue) event()        {}
func (ViewSet) event()             {}
func (SignalReceived) event()      {}
func (CancelRequested) event()     {}
func (RunContinued) event()        {}
func (RunCompleted) event()        {}
func (RunFailed) event()           {}
func (RunCancelled) event()        {}
func (RunTerminated) event()       {}
func (RunTimedOut) event()         {}
func (RunQuarantined) event()      {}
func (RunReleased) event()         {}
func (RunPurged) event()           {}
func (EpochStarted) event()        {}

// EndsRun reports whether e is the last fact about what the run did.
func EndsRun(e Event) bool {
	switch e.(type) {
	case RunCompleted, RunFailed, RunCancelled, RunTerminated, RunTimedOut:
		return true
	default:
		return false
	}
}
