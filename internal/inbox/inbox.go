// Package inbox is the port between the schedulers and the gateways: deliveries go one way, presence and credits the
// other.
//
// Nothing in it is durable. A delivery that is lost with a gateway is made again by the scheduler, which sees the gateway
// leave; results never pass here but through the journal.
package inbox

import (
	"context"
	"errors"

	"github.com/continuo-dev/continuo/pkg/events"
)

// ErrGone says that the gateway session is not there (any more).
var ErrGone = errors.New("the gateway session is gone")

// ErrFull says that too many deliveries wait in a gateway session; none of those handed over was kept.
var ErrFull = errors.New("the gateway session's queue is full")

// Worker is one worker process as its gateway announces it.
type Worker struct {
	Session  events.SessionID // of its gateway
	ID       events.WorkerID
	Identity string // host and pid, for people
	Build    events.BuildID
	SDK      string
	Queue    events.TaskQueue
	// Tasks and Workflows are the names it has code for.
	Tasks     []Offer
	Workflows []Offer
	// TaskSlots and ActivationSlots are how many it takes at a time.
	TaskSlots       int
	ActivationSlots int
	Since           events.Time
}

// Offer is one name a worker has code for and the signature (arity and type names) of that code.
type Offer struct {
	Name      string
	Signature string
}

// Report is one message of a gateway to the schedulers. Parts are applied in the order of the fields.
type Report struct {
	Session events.SessionID
	// Gone ends the session: everything assigned to it is given away again.
	Gone bool
	// Joined are workers that are new or changed; Left are those that are gone. For what was assigned to a worker that left
	// the gateway answers: with a command (TimeoutTask, TimeoutActivation) for what was started, with Returned for the rest.
	Joined []Worker
	Left   []events.WorkerID
	// Running are attempts and activations that a worker already holds, told when it joins and of those that last: they are not
	// offered to others.
	Running []Running
	// Credits are what workers can take more than announced before; negative takes back.
	Credits []Credit
	// Returned are deliveries the gateway could not hand to their worker; they are offered again at once. The credits they
	// used are free again only when Credits say so.
	Returned []Running
	// Refused are attempts that the log offered to the session first (OfferTo) and that it does not take. One it takes it
	// tells of in Running, once it has lasted for a while; what it hears of late is not its own any more.
	Refused []Running
	// Over are attempts that were told of in Running and that the worker no longer holds; the log says what became of them. A
	// scheduler that begins later is not told of them.
	Over []Running
	// Live tells which runs became live in a worker's cache (Evicted false) or left it, for affinity.
	Live []Live
}

// Running names an attempt of a task, or of an activation when Step is 0.
type Running struct {
	Worker     events.WorkerID
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Step       events.Step
	Activation uint64
	Attempt    events.Attempt
}

// Credit grants a worker's free places.
type Credit struct {
	Worker      events.WorkerID
	Tasks       int
	Activations int
}

// Live says whether a run is in a worker's memory.
type Live struct {
	Worker  events.WorkerID
	RunID   events.RunID
	Evicted bool
}

// Delivery is one attempt of a task or of an activation given to a worker. Exactly one of Task and Activation is set.
type Delivery struct {
	Worker     events.WorkerID
	Task       *events.OpenTask
	Activation *events.OpenActivation
	// From is the position of the record that opened it: a gateway that follows the log from later on reads from there
	// first, so that what was cancelled meanwhile is not started.
	Partition events.Partition
	From      events.Seq
	// Number counts the deliveries of this attempt from 1.
	Number uint32
	// NotAfter is when the delivery is void; 0 means never.
	NotAfter events.Time
}

// Inbox is the port. Its methods may be called from any goroutine.
type Inbox interface {
	// Deliver hands deliveries to a gateway session, in order and without blocking. It takes all or none: it fails
	// with ErrGone, and with ErrFull when the session's queue (its bound is at least twice the credits it granted) is full.
	Deliver(session events.SessionID, deliveries []Delivery) error
	// Open begins a gateway session; deliveries come to the returned mailbox until it is closed.
	Open(ctx context.Context, session events.SessionID) (Mailbox, error)
	// Report tells the schedulers what changed. It does not block; reports of one session are seen in order, none is lost
	// while the process lives.
	Report(r Report) error
	// Reports follows what gateways report. A new follower first gets the present state (every session's workers, running
	// attempts and free credits) as reports, then the changes.
	Reports(ctx context.Context) (Reports, error)
}

// Mailbox is the receiving end of one gateway session.
type Mailbox interface {
	// Take returns waiting deliveries without blocking; nil when there are none.
	Take(limit int) []Delivery
	// Ready has a value whenever Take may return something; it may be spurious.
	Ready() <-chan struct{}
	// Close ends the session as a Report with Gone does.
	Close()
}

// Reports is one following of the gateways' reports.
type Reports interface {
	// Take returns waiting reports without blocking; nil when there are none.
	Take(limit int) []Report
	// Ready has a value whenever Take may return something; it may be spurious.
	Ready() <-chan struct{}
	// Close ends the following.
	Close()
}
