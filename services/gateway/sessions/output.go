package sessions

import "github.com/continuo-dev/continuo/pkg/events"

// Output is something the shell is to do.
//
//sumtype:decl
type Output interface{ output() }

// Send gives a stamped command to the journal; what becomes of it comes back as a [SendResult].
type Send struct {
	// Call is the client's call that waits for the answer; 0 when none does.
	Call      Call
	Partition events.Partition
	Envelope  events.Envelope
}

// Reply answers a client's command: with the engine's answer and its position, or with Err.
type Reply struct {
	Call      Call
	Answer    events.Answer
	Partition events.Partition
	Seq       events.Seq
	Err       *events.Error
}

// Waiting says that an [Await] is registered and that the end of the run is not among those seen lately.
type Waiting struct {
	Call Call
	// Open says that the run was seen to start under the workflow id and not to end: it is open.
	Open bool
	// From is the position since which every end in the partition is known: a reader that has everything below it and
	// shows the run open is right.
	From events.Seq
}

// RunOver tells a waiting call that its run has ended, or, with Err, that waiting no longer makes sense.
type RunOver struct {
	Call Call
	Run  Ended
	Err  *events.Error
}

// Ended is how a run ended.
type Ended struct {
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Partition  events.Partition
	Seq        events.Seq
	// Event is the event that ended the run; nil when it was too large to be kept, it is number Number then.
	Event  events.Event
	Number events.EventNumber
	Status events.Status
}

// Welcome accepts a worker.
type Welcome struct{ Conn Conn }

// Refuse turns a worker's stream away, or cuts it because the worker came back on another one.
type Refuse struct {
	Conn Conn
	Err  *events.Error
}

// Hand puts a task or an activation on a worker's stream. The shell answers with Started or NotStarted.
type Hand struct {
	Conn     Conn
	Delivery Delivery
	// Live says that the worker has the run of an activation in memory, as far as is known.
	Live bool
	// Base is the activation whose progress the activation builds on, when it came with it: its result is acknowledged by
	// this. NothingNew says that nothing else has happened that code looks at.
	Base       Activation
	NothingNew bool
}

// Inspection answers an [Inspect], sorted by worker id.
type Inspection struct {
	Call    Call
	Workers []WorkerState
}

// WorkerState is a worker and what it holds.
type WorkerState struct {
	ID          events.WorkerID
	Tasks       []Attempt
	Activations []Activation
}

// StopTask tells a worker to stop an attempt.
type StopTask struct {
	Conn    Conn
	Attempt Attempt
}

// AckTask tells a worker that a result need not be kept.
type AckTask struct {
	Conn    Conn
	Attempt Attempt
}

// AckActivation tells a worker that an activation's answer need not be kept.
type AckActivation struct {
	Conn       Conn
	Activation Activation
}

// DropRun tells a worker to forget a run.
type DropRun struct {
	Conn  Conn
	RunID events.RunID
}

// Report tells the schedulers what changed; parts apply in the order of the fields.
type Report struct {
	Joined   []Worker
	Left     []events.WorkerID
	Running  []Held
	Credits  []Credit
	Returned []Held
	Refused  []Held
	Over     []Held
	Live     []Live
}

// Held names an attempt a worker holds or could not be given: of a task, or of an activation when Step is 0.
type Held struct {
	Worker     events.WorkerID
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Step       events.Step
	Activation uint64
	Attempt    events.Attempt
}

// Credit changes the free places of a worker that the schedulers count with.
type Credit struct {
	Worker      events.WorkerID
	Tasks       int
	Activations int
}

// Live says that a run is in a worker's memory, or has left it.
type Live struct {
	Worker  events.WorkerID
	RunID   events.RunID
	Evicted bool
}

func (r *Report) empty() bool {
	return len(r.Joined)+len(r.Left)+len(r.Running)+len(r.Credits)+len(r.Returned)+len(r.Refused)+len(r.Over)+len(r.Live) == 0
}

func (r *Report) credit(w events.WorkerID, tasks, activations int) {
	if tasks == 0 && activations == 0 {
		return
	}
	for i := range r.Credits {
		if r.Credits[i].Worker == w {
			r.Credits[i].Tasks += tasks
			r.Credits[i].Activations += activations
			return
		}
	}
	r.Credits = append(r.Credits, Credit{Worker: w, Tasks: tasks, Activations: activations})
}

func (Send) output()          {}
func (Reply) output()         {}
func (Waiting) output()       {}
func (RunOver) output()       {}
func (Welcome) output()       {}
func (Refuse) output()        {}
func (Hand) output()          {}
func (StopTask) output()      {}
func (AckTask) output()       {}
func (AckActivation) output() {}
func (DropRun) output()       {}
func (Report) output()        {}
func (Inspection) output()    {}
