package sessions

import (
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Conn numbers the streams of workers, from 1, never reused.
type Conn uint64

// Call numbers the calls of clients, from 1, never reused.
type Call uint64

// Worker is what a worker tells of itself.
type Worker struct {
	Namespace       events.Namespace
	ID              events.WorkerID
	Identity        string
	Build           events.BuildID
	SDK             string
	Queue           events.TaskQueue
	Tasks           []Offer
	Workflows       []Offer
	TaskSlots       int
	ActivationSlots int
	Since           events.Time
}

// Offer is a name a worker has code for, and the signature of that code; an empty one is not compared.
type Offer struct {
	Name      string
	Signature string
}

// Attempt names an attempt of a task.
type Attempt struct {
	WorkflowID events.WorkflowID
	Task       events.TaskID
	Attempt    events.Attempt
}

// Activation names an attempt of an activation.
type Activation struct {
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Activation uint64
	Attempt    events.Attempt
}

// HeldTask is an attempt that a worker holds when it joins.
type HeldTask struct {
	Attempt
	// StartToClose and Heartbeat are the attempt's limits; 0 means the default and none.
	StartToClose time.Duration
	Heartbeat    time.Duration
	// Over says that the history already has the end of the attempt.
	Over bool
}

// Input is something that happened to the gateway.
//
//sumtype:decl
type Input interface{ input() }

// Join is the hello of a worker on a new stream.
type Join struct {
	Conn        Conn
	Worker      Worker
	Tasks       []HeldTask
	Activations []Activation
}

// Grant adds free places of a worker.
type Grant struct {
	Conn        Conn
	Tasks       int
	Activations int
}

// Drain says that a worker takes nothing more.
type Drain struct{ Conn Conn }

// Leave says that a worker's stream is over. Nothing of that stream follows.
type Leave struct{ Conn Conn }

// Delivery is what the scheduler gives to a worker of this gateway. Exactly one of Task and Activation is set.
type Delivery struct {
	Worker     events.WorkerID
	Task       *events.OpenTask
	Activation *events.OpenActivation
	Partition  events.Partition
	// From is the position of the record that opened it.
	From events.Seq
	// Number counts the deliveries of this attempt from 1.
	Number uint32
	// NotAfter is when the delivery is void; 0 means never.
	NotAfter events.Time
}

// Started says that an attempt was put on the worker's stream: its time runs.
type Started struct {
	Conn         Conn
	Attempt      Attempt
	StartToClose time.Duration // 0 means the default
	Heartbeat    time.Duration // 0 means none is expected
}

// NotStarted says that an attempt could not be put on the worker's stream. Void says that it is over; otherwise it is
// given back.
type NotStarted struct {
	Conn    Conn
	Attempt Attempt
	Void    bool
}

// ActivationStarted says that an activation was put on the worker's stream.
type ActivationStarted struct {
	Conn       Conn
	Activation Activation
}

// ActivationNotStarted says that an activation could not be put on the worker's stream. Void says that it is over;
// otherwise it is given back. Base is that of its [Hand].
type ActivationNotStarted struct {
	Conn       Conn
	Activation Activation
	Base       Activation
	Void       bool
}

// Heartbeat is a sign of life of an attempt, with details or without.
type Heartbeat struct {
	Conn    Conn
	Attempt Attempt
	Details events.Payload
}

// ActivationHeartbeat is a sign of life of an activation whose step takes long.
type ActivationHeartbeat struct {
	Conn       Conn
	Activation Activation
}

// TaskDone is a worker's result: Command is a CompleteTask or a FailTask.
type TaskDone struct {
	Conn    Conn
	Attempt Attempt
	Command events.Command
}

// ActivationDone is a worker's answer to an activation: Command is a ReportProgress or a FailActivation.
type ActivationDone struct {
	Conn       Conn
	Activation Activation
	Command    events.Command
	// Live says that the run stays in the worker's memory.
	Live bool
}

// Evicted says that runs left a worker's memory.
type Evicted struct {
	Conn Conn
	Runs []events.RunID
}

// Recorded is the next record of a partition's log.
type Recorded struct{ Record *events.Record }

// TailFrom says that the log is read from the given position of a partition on: at the beginning, and again after a gap.
// What could have been seen before is unknown from then on.
type TailFrom struct {
	Partition events.Partition
	Next      events.Seq
}

// Ask is a client's command. The Core stamps it.
type Ask struct {
	Call     Call
	Envelope events.Envelope
}

// Await waits for the end of a run. It is answered by a [Waiting] at once, or by a [RunOver].
type Await struct {
	Call       Call
	Partition  events.Partition
	WorkflowID events.WorkflowID
	RunID      events.RunID
}

// Forget gives up a call. Its command, once sent, still counts.
type Forget struct{ Call Call }

// Inspect asks what workers hold.
type Inspect struct{ Call Call }

// SendResult is what became of a [Send].
type SendResult struct {
	Partition events.Partition
	N         uint64
	Fate      Fate
	// Err is set with Refused.
	Err *events.Error
}

// Fate is what became of a command given to the journal.
type Fate uint8

// The fates of a command.
const (
	Kept    Fate = iota + 1 // durable; its answer is in the log, or will be
	Lost                    // unknown: it is sent again with the same stamp
	Refused                 // nothing was kept
)

func (Join) input()                 {}
func (Grant) input()                {}
func (Drain) input()                {}
func (Leave) input()                {}
func (Delivery) input()             {}
func (Started) input()              {}
func (NotStarted) input()           {}
func (ActivationStarted) input()    {}
func (ActivationNotStarted) input() {}
func (Heartbeat) input()            {}
func (ActivationHeartbeat) input()  {}
func (TaskDone) input()             {}
func (ActivationDone) input()       {}
func (Evicted) input()              {}
func (Recorded) input()             {}
func (TailFrom) input()             {}
func (Ask) input()                  {}
func (Await) input()                {}
func (Forget) input()               {}
func (SendResult) input()           {}
func (Inspect) input()              {}
