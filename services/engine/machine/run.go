// Package machine decides what happens to one run of a workflow and remembers what is open in it.
//
// It is two functions around the state of a run: [Run.Decide] turns a command into events and an answer and changes
// nothing; [Run.Apply] is the only place that changes the state. After the commands of a batch are decided and applied
// one by one, [Run.Settle] says whether the run's code is to be activated. Live processing, recovery and tests share
// these functions.
//
//	for each command: events, answer = Decide(command, at); Apply each event
//	events = Settle(at); Apply each event
//	-> one record
//
// A Run holds open things and counters only: results of finished steps are never part of it, so the cost of the next
// event does not grow with the history. The package has no clock, no randomness and no I/O.
package machine

import (
	"github.com/continuo-dev/continuo/pkg/events"
)

// Run is the state of one run. It is not safe for concurrent use. Make one with [NewRun] or [Decode].
type Run struct {
	namespace  events.Namespace
	workflowID events.WorkflowID
	id         events.RunID

	kind  events.WorkflowType
	queue events.TaskQueue

	next events.EventNumber
	// time is that of the newest event.
	time    events.Time
	status  events.Status
	ended   events.EventNumber
	endedAt events.Time
	purged  bool
	// due is when the run times out; 0 means never.
	due events.Time
	// cancel is the number of CancelRequested; 0 means not requested.
	cancel events.EventNumber

	quarantined bool
	reason      string

	code   code
	flight activation
	steps  steps
	tasks  map[events.Step]*task
	timers map[events.Step]events.Time
	inbox  inbox
	views  views
	wait   waits
}

// code is what is known of the workflow's code: where it began and how far it has come.
type code struct {
	// replayFrom is the number of RunStarted or of the last RunContinued.
	replayFrom events.EventNumber
	// base is the last accepted ProgressMade since replayFrom; 0 when there is none.
	base events.EventNumber
	// upto is the last event given to code whose progress was accepted.
	upto events.EventNumber
	// shown is the time of the last accepted progress.
	shown events.Time
	// refusals counts ends of the run refused in a row because of signals the code could not know.
	refusals uint32
}

// NewRun returns the state before a run's first event. Of the header it takes namespace, workflow id and run id.
func NewRun(h events.Header) *Run {
	return &Run{namespace: h.Namespace, workflowID: h.WorkflowID, id: h.RunID, next: 1}
}

// ID returns the run's id.
func (r *Run) ID() events.RunID { return r.id }

// WorkflowID returns the id of the workflow that this is a run of.
func (r *Run) WorkflowID() events.WorkflowID { return r.workflowID }

// Namespace returns the run's namespace.
func (r *Run) Namespace() events.Namespace { return r.namespace }

// Next returns the number that the next event will have.
func (r *Run) Next() events.EventNumber { return r.next }

// Status returns the run's status; unknown before its first event.
func (r *Run) Status() events.Status { return r.status }

// Ended returns the number of the event that ended the run, 0 while it is open.
func (r *Run) Ended() events.EventNumber { return r.ended }

// EndedAt returns when the run ended, 0 while it is open.
func (r *Run) EndedAt() events.Time { return r.endedAt }

// Time returns the time of the newest event.
func (r *Run) Time() events.Time { return r.time }

// Purged reports whether the retention of the ended run is over.
func (r *Run) Purged() bool { return r.purged }

// Idle reports whether the run has no open work: no activation in flight and no open task. Such a run may wait for
// timers and signals for months; its encoding is small, and it may leave memory.
func (r *Run) Idle() bool {
	return !r.flight.open && !r.flight.retry && len(r.tasks) == 0
}

// answer returns an answer to env about this run.
func (r *Run) answer(env events.Envelope, c events.Code, message string) events.Answer {
	return events.Answer{
		RequestID: env.RequestID, Session: env.Session, N: env.N, Code: c, Message: message, RunID: r.id,
	}
}

// end clears what was open: nothing of it matters after the end.
func (r *Run) end(s events.Status, n events.EventNumber, at events.Time) {
	r.status, r.ended, r.endedAt = s, n, at
	r.due = 0
	r.code = code{replayFrom: r.code.replayFrom}
	r.flight = activation{number: r.flight.number}
	r.steps = steps{high: r.steps.high}
	r.tasks, r.timers = nil, nil
	r.inbox, r.views = inbox{}, views{}
	r.wait = waits{}
}
