package sim

import (
	"errors"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// all is more than a history has.
const all = 1 << 40

// history reads records of a run, as the gateway's shell does to make deliveries.
func (w *world) history(p events.Partition, run events.RunID, from, to events.EventNumber) []*events.Record {
	records, _, err := w.store.Archive().History(w.ctx, p, run, from, to, all)
	if err != nil && !errors.Is(err, archive.ErrNotFound) {
		w.violate("archive", "the history of run %s: %v", run, err)
	}
	return records
}

// taskDelivery is a task on its way to a worker.
type taskDelivery struct {
	conn      *conn
	ref       sessions.Attempt
	name      events.TaskName
	input     events.Payload
	limits    events.TaskOptions
	details   events.Payload
	workflow  events.WorkflowID
	delivered uint32
}

func (d *taskDelivery) happen() {
	if d.conn.open {
		d.conn.worker.startTask(d)
	}
}

// handTask puts a task on the stream, unless the history has its end.
func (c *conn) handTask(d sessions.Delivery) {
	w, open := c.gateway.w, d.Task
	ref := sessions.Attempt{WorkflowID: open.WorkflowID, Task: open.Task, Attempt: open.Attempt}
	m := &taskDelivery{conn: c, ref: ref, name: open.Name, workflow: open.WorkflowID, delivered: d.Number}
	scheduled := open.Call
	if open.Attempt > 1 || d.Number > 1 || open.Call == nil || !c.gateway.covers(d.Partition, d.From) {
		past := w.taskPast(d.Partition, open.Task, open.Attempt, open.Scheduled)
		scheduled, m.details = past.Scheduled, past.Details
		if past.Over || scheduled == nil {
			if !past.Over {
				w.violate("archive", "task %s is open and not in the history of its run", open.Task)
			}
			c.gateway.post(sessions.NotStarted{Conn: c.id, Attempt: ref, Void: true})
			return
		}
	}
	m.input, m.limits = scheduled.Input, scheduled.Options
	w.audit.handed(c, ref)
	if m.limits.StartToClose <= 0 {
		m.limits.StartToClose = events.DefaultStartToClose
	}
	c.down(m)
	c.gateway.post(sessions.Started{Conn: c.id, Attempt: ref, StartToClose: m.limits.StartToClose, Heartbeat: m.limits.Heartbeat})
}

// covers reports whether the gateway's tail has a position.
func (g *gateway) covers(p events.Partition, at events.Seq) bool { return at >= g.from[p] }

func (w *world) taskPast(p events.Partition, task events.TaskID, attempt events.Attempt, from events.EventNumber) (past sessions.TaskPast) {
	records := w.history(p, task.Run, max(from, 1), 0)
	past.Over = records == nil // forgotten
	for _, r := range records {
		for _, e := range r.Events {
			past.Add(e, r.Time, task.Step, attempt)
		}
	}
	return past
}

// activationDelivery is an activation on its way to a worker.
type activationDelivery struct {
	conn     *conn
	ref      sessions.Activation
	open     *events.OpenActivation
	full     bool
	records  []*events.Record
	deadline time.Duration
	// base made what it builds on; nothing says that there is nothing else that code looks at.
	base    sessions.Activation
	nothing bool
}

func (d *activationDelivery) happen() {
	if d.conn.open {
		d.conn.worker.startActivation(d)
	}
}

func (c *conn) handActivation(h sessions.Hand) {
	w, d, open := c.gateway.w, h.Delivery, h.Delivery.Activation
	a := open.Activation
	ref := sessions.Activation{WorkflowID: open.WorkflowID, RunID: open.RunID, Activation: a.Activation, Attempt: a.Attempt}
	if (d.Number > 1 || !c.gateway.covers(d.Partition, d.From)) && w.activationOver(d.Partition, open) {
		c.gateway.post(sessions.ActivationNotStarted{Conn: c.id, Activation: ref, Base: h.Base, Void: true})
		return
	}
	m := &activationDelivery{conn: c, ref: ref, open: open, full: a.Attempt > 1 || a.Base == 0 || !h.Live, deadline: activationDeadline, base: h.Base}
	m.nothing = h.NothingNew && !m.full
	switch {
	case m.full:
		m.records = w.replayRecords(d.Partition, open)
	case !m.nothing:
		m.records = w.history(d.Partition, open.RunID, a.BaseUpto+1, a.Upto)
	}
	if len(m.records) == 0 && !m.nothing { // the run was forgotten since: what cannot be read is given back
		c.gateway.post(sessions.ActivationNotStarted{Conn: c.id, Activation: ref, Base: h.Base})
		return
	}
	c.down(m)
	c.gateway.post(sessions.ActivationStarted{Conn: c.id, Activation: ref})
}

// activationDeadline is the sessions' default.
const activationDeadline = 10 * time.Second

func (w *world) activationOver(p events.Partition, open *events.OpenActivation) bool {
	for _, r := range w.history(p, open.RunID, open.Number+1, 0) {
		for i, e := range r.Events {
			after := r.First+events.EventNumber(i) > open.Number
			if after && sessions.EndsActivation(e, open.Activation.Activation, open.Activation.Attempt) {
				return true
			}
		}
	}
	return false
}

// replayRecords are those that a full replay of an activation needs: from its beginning on, after the signals that had not
// been read then.
func (w *world) replayRecords(p events.Partition, open *events.OpenActivation) []*events.Record {
	begin := open.Activation.ReplayFrom
	records := w.history(p, open.RunID, begin, open.Activation.Upto)
	if begin <= 1 || len(records) == 0 {
		return records
	}
	continued, ok := records[0].Events[begin-records[0].First].(events.RunContinued)
	if !ok {
		w.violate("archive", "run %s: a replay begins with %T", open.RunID, records[0].Events[begin-records[0].First])
		return records
	}
	if continued.OldestUnread == 0 {
		return clipped(records, begin)
	}
	before := w.history(p, open.RunID, continued.OldestUnread, begin-1)
	var unread []*events.Record
	for _, r := range events.UnreadSignals(continued, before) {
		if r.First < begin {
			unread = append(unread, r)
		}
	}
	return append(unread, clipped(records, begin)...)
}

// clipped leaves out what the first record has before an event.
func clipped(records []*events.Record, begin events.EventNumber) []*events.Record {
	if first := records[0]; first.First < begin {
		part := *first
		part.Events, part.First = first.Events[begin-first.First:], begin
		records = append([]*events.Record{&part}, records[1:]...)
	}
	return records
}
