package events

import "time"

// Command is something somebody wants to happen to one run. Commands are orders: the engine may refuse them, and its
// answer says so.
//
//sumtype:decl
type Command interface{ command() }

// Envelope carries a command to the partition of its workflow id.
type Envelope struct {
	Namespace  Namespace
	WorkflowID WorkflowID
	// RunID is the run meant; zero means the newest run of the workflow id. A start carries the id of the run to be made.
	RunID RunID
	// RequestID makes the command repeatable by its sender, across reconnects; empty means it is not. A start needs none:
	// its run id serves.
	RequestID RequestID
	// Session and N are the sending gateway's stamp: N counts that session's commands to this partition from 1. A command
	// whose N is not above the highest seen of its session is a duplicate of the transport. Session 0 means unstamped
	// (commands made by the suite next to the engine).
	Session SessionID
	N       uint64
	Command Command
	// Unknown is what a newer version wrote into the envelope and this one keeps; nil nearly always.
	Unknown *Unknown
}

// IDPolicy says what a start does when its workflow id is taken.
type IDPolicy uint8

// The policies of a start whose workflow id is taken.
const (
	// IDRejectOpen refuses the start while a run is open and allows it after the end: the default.
	IDRejectOpen IDPolicy = iota
	// IDTerminateOpen terminates the open run and starts a new one, in one record each, old run first.
	IDTerminateOpen
	// IDAttachOpen answers with the open run and starts nothing; it starts a run if none is open.
	IDAttachOpen
	// IDRejectAny refuses the start while any run of the id is known, open or retained.
	IDRejectAny
)

// StartWorkflow asks for a new run. The envelope's run id becomes the run's.
type StartWorkflow struct {
	Type     WorkflowType
	Queue    TaskQueue
	Input    Payload
	IDPolicy IDPolicy
	// RunTimeout bounds the run from start to end, Continue included; 0 means no bound.
	RunTimeout time.Duration
	// Trace is what the run's spans belong to; empty means that it is not traced.
	Trace Traceparent
}

// SignalWorkflow adds a signal to the inbox of an open run.
type SignalWorkflow struct {
	Name  SignalName
	Input Payload
}

// CancelWorkflow asks an open run to cancel: its code sees it and may clean up. Repeating it changes nothing.
type CancelWorkflow struct{ Reason string }

// TerminateWorkflow ends an open run at once; its code is not asked.
type TerminateWorkflow struct{ Reason string }

// GetRun changes nothing; its answer tells the run's status through the log. With the id of a request that was done it is the
// answer to that request again, which names the run that did it.
type GetRun struct{}

// ReleaseRun takes a run out of quarantine; it is applied again from its last good state.
type ReleaseRun struct{ Reason string }

// ReportProgress is a worker's answer to an activation: what the workflow's code did until it had to wait.
type ReportProgress struct {
	Activation uint64
	Attempt    Attempt
	// At is the time that the code was shown (the time of the activation).
	At Time
	// Upto is the last event that the code had been given.
	Upto EventNumber
	// Reads says how many signals of each name that it asked for the code has taken since the run began.
	Reads []SignalRead
	// Wait says when the run wants to be activated again; ignored when an intent ends the run or continues it.
	Wait WaitSet
	// Intents are in the order in which the code made them; one that ends or continues the run is last.
	Intents []Intent
	Build   BuildID
	Worker  WorkerID
	// OfferActivation asks that the run's next activations be offered to the session that sends the progress, where a worker
	// keeps the run in memory; without it they no longer are. OfferTask asks the same for the tasks of this progress. The
	// gateway sets both, never the worker.
	OfferActivation bool
	OfferTask       bool
}

// OfferFor is how long a session has the first choice of what is offered to it, from the time of the record on. A session
// takes it in the first half of that time, or says at once that it does not.
const OfferFor = time.Second

// FailActivation says that a worker could not run the workflow's code: it does not fit the history, it panicked or it
// blocked. The run waits and is tried again.
type FailActivation struct {
	Activation uint64
	Attempt    Attempt
	Failure    Failure
	Build      BuildID
	Worker     WorkerID
}

// TimeoutActivation says that the worker given an activation has not answered in time or is gone.
type TimeoutActivation struct {
	Activation uint64
	Attempt    Attempt
}

// CompleteTask reports the result of an attempt.
type CompleteTask struct {
	Step    Step
	Attempt Attempt
	Result  Payload
	Worker  WorkerID
}

// FailTask reports the failure of an attempt.
type FailTask struct {
	Step    Step
	Attempt Attempt
	Failure Failure
	// RetryAfter is the delay before the next attempt as chosen by the task; negative means the policy chooses.
	RetryAfter time.Duration
	Worker     WorkerID
}

// TimeoutTask says that an attempt ran out of time (code timeout_start_to_close or timeout_heartbeat) or lost its worker
// (worker_lost).
type TimeoutTask struct {
	Step    Step
	Attempt Attempt
	Code    string
	// Details are those of the attempt's last heartbeat; zero when there was none.
	Details Payload
	Worker  WorkerID
}

// RecordHeartbeat keeps the details of a running attempt's heartbeat, so that the next attempt can go on from there.
type RecordHeartbeat struct {
	Step    Step
	Attempt Attempt
	Details Payload
}

// FireTimer says that an armed timer is due. It is refused as stale when the timer is not armed, and when it is not due
// by the record's time.
type FireTimer struct{ Timer TimerID }

// TimerKind tells what a timer is for.
type TimerKind uint8

// The kinds of timers.
const (
	TimerSleep           TimerKind = iota + 1 // the workflow's own timer (TimerStarted)
	TimerStepRetry                            // the next try of a step that backed off (StepBackedOff)
	TimerScheduleToStart                      // a task nobody has begun; the attempt is part of the id
	TimerScheduleToClose                      // a task that is not done
	TimerRunTimeout                           // the run itself; step 0
)

// TimerID names an armed timer of a run.
type TimerID struct {
	Kind    TimerKind
	Step    Step
	Attempt Attempt
}

// SignalRead says that the code has taken the first Count signals of a name; 0 means that it asked for one and there was
// none.
type SignalRead struct {
	Name  SignalName
	Count uint64
}

// WaitSet says when a waiting run is to be activated again: when every part of any one group has come. A cancel request
// always activates. An empty set without Now waits for a cancel request alone.
type WaitSet struct {
	// Now asks for the next activation at once: the code has a step to execute that may start only after this progress is
	// durable.
	Now bool
	Any []WaitGroup
}

// WaitGroup is fulfilled when all its steps have ended and all its signals have come.
type WaitGroup struct {
	Steps   []Step
	Signals []SignalWait
}

// SignalWait is fulfilled when the Index-th signal of the name (from 1) has come.
type SignalWait struct {
	Name  SignalName
	Index uint64
}

// Intent is one thing that workflow code did in an activation.
//
//sumtype:decl
type Intent interface{ intent() }

// ScheduleTask calls a task.
type ScheduleTask struct {
	Step    Step
	Name    TaskName
	Queue   TaskQueue // empty means the run's queue
	Input   Payload
	Options TaskOptions
}

// TaskOptions are the limits and the retry policy of a task.
type TaskOptions struct {
	Retry RetryPolicy
	// StartToClose bounds one attempt from its delivery to a worker; 0 means 5 minutes.
	StartToClose time.Duration
	// Heartbeat bounds the time between two signs of life of an attempt; 0 means none is expected.
	Heartbeat time.Duration
	// ScheduleToStart bounds the wait for a worker of each attempt; 0 means no bound.
	ScheduleToStart time.Duration
	// ScheduleToClose bounds the task from its call, all attempts included; 0 means no bound.
	ScheduleToClose time.Duration
}

// DefaultStartToClose is the bound of an attempt when none is given.
const DefaultStartToClose = 5 * time.Minute

// CancelTask gives up a task: it counts as cancelled at once, and a worker that runs it is told to stop.
type CancelTask struct{ Step Step }

// StartTimer arms a timer.
type StartTimer struct {
	Step Step
	Due  Time
}

// CancelTimer disarms a timer.
type CancelTimer struct{ Step Step }

// RecordStep keeps the outcome of a step that ran in the worker: a result, or a failure that ends it.
type RecordStep struct {
	Step     Step
	Label    string
	Result   Payload
	Failure  *Failure
	Attempts Attempt
	// At is the time that the code is shown from this outcome on; 0 leaves it as it is.
	At Time
}

// BackOffStep says that a step failed and is to be tried again in the worker at the given time.
type BackOffStep struct {
	Step    Step
	Label   string
	Attempt Attempt
	Failure Failure
	Until   Time
}

// SetView publishes state to readers.
type SetView struct {
	Name  ViewName
	Value Payload
}

// CompleteRun ends the run with a result.
type CompleteRun struct{ Result Payload }

// FailRun ends the run with a failure.
type FailRun struct{ Failure Failure }

// CancelRun ends the run as cancelled, after it was asked to.
type CancelRun struct{ Failure Failure }

// ContinueRun begins the code again with a new input: same run, same step count, unread signals kept. It is refused
// while tasks are open.
type ContinueRun struct{ Input Payload }

func (StartWorkflow) command()     {}
func (SignalWorkflow) command()    {}
func (CancelWorkflow) command()    {}
func (TerminateWorkflow) command() {}
func (GetRun) command()            {}
func (ReleaseRun) command()        {}
func (ReportProgress) command()    {}
func (FailActivation) command()    {}
func (TimeoutActivation) command() {}
func (CompleteTask) command()      {}
func (FailTask) command()          {}
func (TimeoutTask) command()       {}
func (RecordHeartbeat) command()   {}
func (FireTimer) command()         {}

func (ScheduleTask) intent() {}
func (CancelTask) intent()   {}
func (StartTimer) intent()   {}
func (CancelTimer) intent()  {}
func (RecordStep) intent()   {}
func (BackOffStep) intent()  {}
func (SetView) intent()      {}
func (CompleteRun) intent()  {}
func (FailRun) intent()      {}
func (CancelRun) intent()    {}
func (ContinueRun) intent()  {}

// FromClient reports whether c is sent by clients, who may be refused for load. Everything else comes from inside (results,
// timers, operators) and is never refused for load.
func FromClient(c Command) bool {
	switch c.(type) {
	case StartWorkflow, SignalWorkflow, CancelWorkflow, TerminateWorkflow, GetRun:
		return true
	case ReleaseRun, ReportProgress, FailActivation, TimeoutActivation, CompleteTask, FailTask, TimeoutTask, RecordHeartbeat, FireTimer:
		return false
	}
	return false
}
