package sim

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/engine/machine"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// auditor reads every record as it is accepted and keeps its own account of what it means. Its checks:
//
//	shadow        the live state of a run is the fold of its records, after every record
//	rebuilt       so is the state made from the checkpoint and the records after it
//	sequence      records are numbered without gaps, epochs never fall, events of a run are numbered without gaps
//	time          the time of records never falls in a partition
//	attempts      one attempt of a task is open, the next one is the next number, one end is accepted
//	activations   one activation is open; only its attempt has an outcome
//	timers        a timer fires when it is armed and due, once
//	ending        nothing happens in a run that has ended
//	signals       an acknowledged signal is in the log once; a run that ends has been given those of the names it asked for
//	requests      an acknowledged command is in the log once, an unanswered one at most once; answers repeat themselves
//	handed        an attempt is not with two connected workers, nor handed out after its result
//	index         the due index is the fold of the log up to its position
//	model         the rows of the read model are the fold of the log
//	archive       the history of a run is that of the log
//	results       clients are told the end that the log has, and it is one that the program can have
//	calm          in the calm every run ends
//	deterministic workflow code that is replayed does the same
type auditor struct {
	w          *world
	steps      int
	commits    int
	batches    Batches
	open       int
	ended      int
	violations []string
	parts      []partAudit
	runs       map[events.RunID]*runAudit
	order      []*runAudit // by their first record
	again      map[events.RunID]bool
	starts     map[stamp]events.RunID
	touched    [][]*runAudit
	rowBytes   []byte
	stateBytes []byte
}

// partAudit is the account of a partition.
type partAudit struct {
	seq   events.Seq
	epoch uint64
	time  events.Time
}

// runAudit is the account of a run.
type runAudit struct {
	id        events.RunID
	partition events.Partition
	workflow  events.WorkflowID
	state     *machine.Run
	row       row.Run
	touched   bool
	settled   bool // it has ended, and was the same after a recovery
	next      events.EventNumber
	status    events.Status
	end       events.Event
	isPurged  bool
	deadline  events.Time // of the run timeout; 0 for none

	tasks      map[events.Step]*taskAudit
	timers     map[events.TimerID]events.Time
	activation openActivation
	signals    map[events.SignalName][]signalAudit
	requests   map[events.RequestID]events.Time // signals by their request
	cancelled  int
	waits      map[events.SignalName]bool // asked for, ever
	upto       events.EventNumber         // of the last progress
	records    []*events.Record
}

// openActivation is the activation that is to be run; number 0 for none.
type openActivation struct {
	number  uint64
	attempt events.Attempt
}

type signalAudit struct {
	number events.EventNumber
	input  string
}

type taskAudit struct {
	attempt events.Attempt
	closed  string // how it ended; "" while it is open
	holder  *conn  // with whom the open attempt is
	heldAt  events.Attempt
}

func newAuditor(w *world) *auditor {
	return &auditor{
		w: w, parts: make([]partAudit, w.tuning.partitions), runs: map[events.RunID]*runAudit{}, again: map[events.RunID]bool{}, starts: map[stamp]events.RunID{}, touched: make([][]*runAudit, w.tuning.partitions),
	}
}

// accept takes in the records of a commit that is durable.
func (a *auditor) accept(p events.Partition, records []*events.Record) {
	w := a.w
	if len(records) == 0 {
		return
	}
	a.commits++
	a.batches[min(bits.Len(uint(len(records))), len(a.batches))-1] += len(records)
	for _, r := range records {
		a.steps++
		if w.options.Hash {
			w.scratch = events.AppendRecord(w.scratch[:0], r)
			w.mixBytes(w.scratch)
		}
		if w.tracing() {
			a.trace(r)
		}
		a.startsAgain(r)
		a.header(p, r)
		if r.RunID.IsZero() || len(r.Events) == 0 {
			continue
		}
		a.run(r)
	}
}

// stamp names a command as the transport knows it.
type stamp struct {
	partition events.Partition
	session   events.SessionID
	n         uint64
}

// startsAgain looks at the answers to starts of runs that exist. A start that was refused, because a run was in the way, is not
// remembered, and a copy of it is looked at anew; one that began its run is.
func (a *auditor) startsAgain(r *events.Record) {
	for _, answer := range r.Answers {
		if answer.Code == events.OK || answer.Code == events.Accepted {
			continue
		}
		id, ok := a.starts[stamp{r.Partition, answer.Session, answer.N}]
		if run := a.runs[id]; ok && run != nil && !run.isPurged {
			a.w.violate("requests", "%s: the start of run %s, which has begun, is repeated and answered %s", run.workflow, id, answer.Code)
		}
	}
}

func (a *auditor) trace(r *events.Record) {
	var names []string
	for _, e := range r.Events {
		names = append(names, events.EventName(e))
	}
	for _, answer := range r.Answers {
		names = append(names, fmt.Sprintf("[%d/%d %s %s]", answer.Session, answer.N, answer.RequestID, answer.Code))
	}
	a.w.tracef("record %d/%d %s %d: %s", r.Partition, r.Seq, r.WorkflowID, r.First, strings.Join(names, " "))
}

func (a *auditor) header(p events.Partition, r *events.Record) {
	at := &a.parts[p]
	if r.Partition != p || r.Seq != at.seq+1 {
		a.w.violate("sequence", "record %d/%d follows %d/%d", r.Partition, r.Seq, p, at.seq)
	}
	if r.Epoch < at.epoch {
		a.w.violate("sequence", "record %d/%d has epoch %d after %d", r.Partition, r.Seq, r.Epoch, at.epoch)
	}
	if r.Time < at.time {
		a.w.violate("time", "record %d/%d is of %d, the one before of %d", r.Partition, r.Seq, r.Time, at.time)
	}
	at.seq, at.epoch, at.time = r.Seq, r.Epoch, r.Time
}

func (a *auditor) run(r *events.Record) {
	run := a.runs[r.RunID]
	if run != nil && run.isPurged && r.First == 1 {
		// A start that is repeated after the run was forgotten starts it anew, and a gateway may remember the first end.
		a.again[r.RunID] = true
		a.order = slices.DeleteFunc(a.order, func(old *runAudit) bool { return old == run })
		a.touched[r.Partition] = slices.DeleteFunc(a.touched[r.Partition], func(old *runAudit) bool { return old == run })
		run = nil
	}
	if run == nil {
		run = &runAudit{
			id: r.RunID, partition: r.Partition, workflow: r.WorkflowID, state: machine.NewRun(r.Header), next: 1, status: events.StatusRunning,
			tasks: map[events.Step]*taskAudit{}, timers: map[events.TimerID]events.Time{}, signals: map[events.SignalName][]signalAudit{},
			requests: map[events.RequestID]events.Time{}, waits: map[events.SignalName]bool{},
		}
		a.runs[r.RunID] = run
		a.order = append(a.order, run)
		a.open++
		a.w.starters[r.RunID].began()
	}
	if r.First != run.next {
		a.w.violate("sequence", "run %s: event %d follows %d", r.RunID, r.First, run.next-1)
	}
	for i, e := range r.Events {
		n := r.First + events.EventNumber(i)
		if err := run.state.Apply(e, n, r.Time); err != nil {
			a.w.violate("shadow", "run %s: event %d (%s) does not apply: %v", r.RunID, n, events.EventName(e), err)
		}
		a.event(run, r, n, e)
	}
	run.next = r.Last() + 1
	projection.Fold(&run.row, r)
	run.records = append(run.records, r)
	if !run.touched {
		run.touched = true
		a.touched[r.Partition] = append(a.touched[r.Partition], run)
	}
}

func (a *auditor) event(run *runAudit, r *events.Record, n events.EventNumber, e events.Event) {
	if !run.status.Open() {
		if _, purged := e.(events.RunPurged); !purged || run.isPurged {
			a.w.violate("ending", "run %s has ended, and event %d is %s", run.id, n, events.EventName(e))
		}
		run.isPurged = true
		return
	}
	switch e := e.(type) {
	case events.RunStarted:
		if n != 1 {
			a.w.violate("requests", "run %s starts again in event %d", run.id, n)
		}
		if e.RunTimeout > 0 {
			run.deadline = r.Time.Add(e.RunTimeout)
		}
	case events.ActivationScheduled:
		if run.activation.number != 0 || e.Activation == 0 {
			a.w.violate("activations", "run %s: activation %d is scheduled while %d is open", run.id, e.Activation, run.activation.number)
		}
		run.activation = openActivation{e.Activation, e.Attempt}
	case events.ProgressMade:
		a.activated(run, n, e.Activation, e.Attempt)
		run.upto = e.Upto
		for _, read := range e.Reads {
			run.waits[read.Name] = true
			if int(read.Count) > len(run.signals[read.Name]) {
				a.w.violate("signals", "run %s has read %d signals %s of %d", run.id, read.Count, read.Name, len(run.signals[read.Name]))
			}
		}
		for _, group := range e.Wait.Any {
			for _, wait := range group.Signals {
				run.waits[wait.Name] = true
			}
		}
	case events.ProgressRefused:
		a.activated(run, n, e.Activation, e.Attempt)
	case events.ActivationFailed:
		a.activated(run, n, e.Activation, e.Attempt)
	case events.ActivationTimedOut:
		a.activated(run, n, e.Activation, e.Attempt)
	case events.SignalReceived:
		box := run.signals[e.Name]
		if int(e.Index) != len(box)+1 {
			a.w.violate("signals", "run %s: signal %s has index %d after %d", run.id, e.Name, e.Index, len(box))
		}
		run.signals[e.Name] = append(box, signalAudit{n, string(e.Input.Data)})
		// A request is remembered for a day.
		if at, twice := run.requests[e.RequestID]; twice && r.Time.Sub(at) < 24*time.Hour {
			a.w.violate("requests", "run %s: request %s of a signal was done again after %v", run.id, e.RequestID, r.Time.Sub(at))
		}
		run.requests[e.RequestID] = r.Time
	case events.CancelRequested:
		if run.cancelled++; run.cancelled > 1 {
			a.w.violate("requests", "run %s: cancel was requested twice", run.id)
		}
	case events.RunQuarantined:
		a.w.violate("quarantine", "run %s: %s", run.id, e.Reason)
	default:
		a.work(run, r, n, e)
	}
}

func (a *auditor) activated(run *runAudit, n events.EventNumber, activation uint64, attempt events.Attempt) {
	if at := run.activation; at.number == 0 || at != (openActivation{activation, attempt}) {
		a.w.violate("activations", "run %s: event %d is about activation %d attempt %d, open is %+v", run.id, n, activation, attempt, at)
	}
	run.activation = openActivation{}
}

// work takes in what happens to tasks and timers, and ends.
func (a *auditor) work(run *runAudit, r *events.Record, n events.EventNumber, e events.Event) {
	switch e := e.(type) {
	case events.TaskScheduled:
		if run.tasks[e.Step] != nil {
			a.w.violate("attempts", "run %s: step %d is used twice", run.id, e.Step)
		}
		run.tasks[e.Step] = &taskAudit{attempt: 1}
	case events.TaskAttemptFailed:
		if t := a.task(run, e.Step, e.Attempt, "failed attempt"); t != nil {
			t.attempt, t.holder = e.Attempt+1, nil
		}
		if e.NotBefore != 0 && e.NotBefore < r.Time {
			a.w.violate("attempts", "run %s: attempt %d of step %d may start at %d, before it is scheduled", run.id, e.Attempt+1, e.Step, e.NotBefore)
		}
	case events.TaskCompleted:
		a.closeTask(run, e.Step, e.Attempt, "completed")
	case events.TaskFailed:
		a.closeTask(run, e.Step, e.Attempt, "failed")
	case events.TaskCancelled:
		a.closeTask(run, e.Step, e.Attempt, "cancelled")
	case events.TimerStarted:
		run.timers[events.TimerID{Kind: events.TimerSleep, Step: e.Step}] = e.Due
	case events.TimerFired:
		a.fired(run, r, n, events.TimerID{Kind: events.TimerSleep, Step: e.Step})
	case events.StepBackedOff:
		run.timers[events.TimerID{Kind: events.TimerStepRetry, Step: e.Step}] = e.Until
	case events.StepRetryDue:
		a.fired(run, r, n, events.TimerID{Kind: events.TimerStepRetry, Step: e.Step})
	case events.TimerCancelled:
		delete(run.timers, events.TimerID{Kind: events.TimerSleep, Step: e.Step})
		delete(run.timers, events.TimerID{Kind: events.TimerStepRetry, Step: e.Step})
	case events.RunTimedOut:
		if run.deadline == 0 || r.Time < run.deadline {
			a.w.violate("timers", "run %s timed out at %d and has until %d", run.id, r.Time, run.deadline)
		}
	default:
	}
	if events.EndsRun(e) {
		a.end(run, n, e)
	}
}

func (a *auditor) task(run *runAudit, step events.Step, attempt events.Attempt, what string) *taskAudit {
	t := run.tasks[step]
	switch {
	case t == nil:
		a.w.violate("attempts", "run %s: %s of step %d, which was not scheduled", run.id, what, step)
	case t.closed != "" || t.attempt != attempt:
		a.w.violate("attempts", "run %s: %s of step %d attempt %d; it is at attempt %d %s", run.id, what, step, attempt, t.attempt, t.closed)
	}
	return t
}

func (a *auditor) closeTask(run *runAudit, step events.Step, attempt events.Attempt, how string) {
	if t := a.task(run, step, attempt, how); t != nil {
		t.closed, t.holder = how, nil
	}
}

func (a *auditor) fired(run *runAudit, r *events.Record, n events.EventNumber, id events.TimerID) {
	due, armed := run.timers[id]
	switch {
	case !armed:
		a.w.violate("timers", "run %s: timer %d of step %d fires in event %d and is not armed", run.id, id.Kind, id.Step, n)
	case r.Time < due:
		a.w.violate("timers", "run %s: timer of step %d fires at %d and is due at %d", run.id, id.Step, r.Time, due)
	}
	delete(run.timers, id)
}

func (a *auditor) end(run *runAudit, n events.EventNumber, e events.Event) {
	run.status, run.end = events.StatusAfter(events.StatusRunning, e), e
	a.open--
	a.ended++
	switch e.(type) {
	case events.RunTerminated, events.RunTimedOut:
		return // its code was not asked
	default:
	}
	for _, name := range [2]events.SignalName{"sim.A", "sim.B"} {
		box := run.signals[name]
		if len(box) > 0 && run.waits[name] && box[len(box)-1].number > run.upto {
			a.w.violate("signals", "run %s ends in event %d without having been given signal %s of event %d", run.id, n, name, box[len(box)-1].number)
		}
	}
}

// compare holds the live state of what changed in a turn against the account.
func (a *auditor) compare(step *engine.Stepper) {
	p := step.Partition()
	for _, run := range a.touched[p] {
		run.touched = false
		a.same("shadow", run, step)
	}
	a.touched[p] = a.touched[p][:0]
}

func (a *auditor) same(check string, run *runAudit, step *engine.Stepper) {
	state, quarantined, err := step.State(a.w.ctx, run.id, a.stateBytes[:0])
	a.stateBytes = state
	switch {
	case err != nil:
		a.w.violate(check, "run %s: its state cannot be read: %v", run.id, err)
	case quarantined, run.isPurged && state == nil:
	default:
		a.rowBytes = run.state.AppendTo(a.rowBytes[:0])
		if !bytes.Equal(state, a.rowBytes) {
			a.w.violate(check, "run %s of %s (%s) differs from the fold of its %d events: %d bytes, %d by the fold", run.id, run.workflow, run.status, run.next-1, len(state), len(a.rowBytes))
		}
	}
}

// recovered holds the state of a partition that was just recovered against the account: of all its runs but those that had
// ended by a recovery before. What became of these is looked at now and then, and at the end.
func (a *auditor) recovered(p events.Partition, step *engine.Stepper) {
	if got, want := step.Seq(), a.parts[p].seq; got != want {
		a.w.violate("rebuilt", "partition %d is recovered up to record %d and has %d", p, got, want)
	}
	for _, run := range a.order {
		if run.partition == p && !run.settled {
			run.settled = !run.status.Open()
			a.same("rebuilt", run, step)
		}
	}
}

// rewound is told of a crash: nobody holds anything any more.
func (a *auditor) rewound() {
	for p := range a.touched {
		for _, run := range a.touched[p] {
			run.touched = false
		}
		a.touched[p] = a.touched[p][:0]
	}
}

func (a *auditor) purged(id events.RunID) bool {
	run := a.runs[id]
	return run != nil && run.isPurged
}

// handed is told of an attempt that goes to a worker.
func (a *auditor) handed(c *conn, ref sessions.Attempt) {
	run := a.runs[ref.Task.Run]
	if run == nil || run.tasks[ref.Task.Step] == nil {
		a.w.violate("handed", "task %s is handed out and not in the log", ref.Task)
		return
	}
	t := run.tasks[ref.Task.Step]
	switch {
	case t.closed == "completed" || t.closed == "failed" && t.attempt == ref.Attempt && t.heldAt == ref.Attempt:
		a.w.violate("handed", "task %s attempt %d is handed out after it %s", ref.Task, ref.Attempt, t.closed)
	case t.attempt == ref.Attempt && t.heldAt == ref.Attempt && t.holder != nil && t.holder != c && t.holder.open && !t.holder.gateway.dead:
		a.w.violate("handed", "task %s attempt %d is handed to %s and is with %s", ref.Task, ref.Attempt, c.worker.id, t.holder.worker.id)
	}
	if t.closed == "" && t.attempt == ref.Attempt {
		t.holder, t.heldAt = c, ref.Attempt
	}
}
