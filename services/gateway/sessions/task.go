package sessions

import (
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// holding is how far an attempt is with its worker.
type holding uint8

const (
	handing   holding = iota + 1 // on its way to the worker's stream
	running                      // with the worker
	reporting                    // its result is on the way to the log
)

// task is an attempt that a worker of this gateway holds.
type task struct {
	Attempt
	worker *worker
	state  holding
	// ends is when the attempt runs out of time, silent when the next heartbeat is overdue; 0 means never.
	ends      events.Time
	silent    events.Time
	heartbeat time.Duration
	// told says that the schedulers know that it is here, lasting that they were told so by a report.
	told, lasting bool

	reminder reminder
	// details are the last heartbeat's; unsaved says that the log does not have them, saved when it got some last.
	details events.Payload
	unsaved bool
	saved   events.Time
}

// run returns the entry of a run, made if need be.
func (c *Core) run(id events.RunID) *heldRun {
	r := c.runs[id]
	if r == nil {
		r = &heldRun{}
		c.runs[id] = r
	}
	return r
}

// tidyRun forgets the entry of a run that has nothing in it.
func (c *Core) tidyRun(id events.RunID) {
	if r := c.runs[id]; r != nil && len(r.steps) == 0 && r.live == nil {
		delete(c.runs, id)
	}
}

func (c *Core) holdTask(w *worker, a Attempt, state holding) *task {
	t := &task{Attempt: a, worker: w, state: state, told: true}
	c.tasks[a.Task] = t
	w.tasks[a.Task] = t
	c.begin(begun{task: t})
	r := c.run(a.Task.Run)
	if i, there := slices.BinarySearch(r.steps, a.Task.Step); !there {
		r.steps = slices.Insert(r.steps, i, a.Task.Step)
	}
	return t
}

func (c *Core) forgetTask(t *task) {
	c.deadlines.remove(&t.reminder)
	if t.lasting {
		c.report.Over = append(c.report.Over, t.held())
	}
	delete(t.worker.tasks, t.Task)
	if c.tasks[t.Task] != t {
		return
	}
	delete(c.tasks, t.Task)
	if r := c.runs[t.Task.Run]; r != nil {
		if i, there := slices.BinarySearch(r.steps, t.Task.Step); there {
			r.steps = slices.Delete(r.steps, i, i+1)
		}
	}
	c.tidyRun(t.Task.Run)
}

func (t *task) held() Held {
	return Held{
		Worker: t.worker.ID, Namespace: t.worker.Namespace, WorkflowID: t.WorkflowID, RunID: t.Task.Run, Step: t.Task.Step, Attempt: t.Attempt.Attempt,
	}
}

// returnTask gives an attempt back that the worker has not begun.
func (c *Core) returnTask(t *task) {
	if t.told {
		c.report.Returned = append(c.report.Returned, t.held())
	} else {
		c.refuse(t.held())
	}
	c.forgetTask(t)
}

// deliverTask gives a task to its worker.
func (c *Core) deliverTask(w *worker, d Delivery) {
	open := d.Task
	if c.cancelled.has(open.Task) && !mutant.On(mutant.CancelledTaskHanded) || c.hasEnded(open.Task.Run) || (d.NotAfter != 0 && d.NotAfter < c.now) {
		c.report.credit(w.ID, 1, 0)
		return
	}
	if t := c.tasks[open.Task]; t != nil {
		if t.Attempt.Attempt >= open.Attempt {
			c.tellHolder(d)
			c.report.credit(w.ID, 1, 0) // a second delivery of what is here already
			return
		}
		c.stopTask(t)
	}
	w.freeTasks--
	c.holdTask(w, Attempt{WorkflowID: open.WorkflowID, Task: open.Task, Attempt: open.Attempt}, handing)
	c.emit(Hand{Conn: w.conn, Delivery: d})
}

func (c *Core) taskStarted(in Started) {
	t := c.tasks[in.Attempt.Task]
	if t == nil || t.Attempt != in.Attempt || t.state != handing || t.worker.conn != in.Conn {
		return
	}
	c.startTask(t, in.StartToClose, in.Heartbeat)
}

func (c *Core) startTask(t *task, startToClose, heartbeat time.Duration) {
	if startToClose <= 0 {
		startToClose = events.DefaultStartToClose
	}
	if mutant.On(mutant.EarlyStartToClose) {
		startToClose -= startToClose / 10
	}
	t.state = running
	t.ends, t.heartbeat = c.now.Add(startToClose), heartbeat
	if heartbeat > 0 {
		t.silent = c.now.Add(heartbeat)
	}
	c.deadlines.add(&t.reminder, t.nextDeadline(), t)
}

func (t *task) nextDeadline() events.Time {
	if t.silent != 0 {
		return min(t.ends, t.silent)
	}
	return t.ends
}

func (c *Core) taskNotStarted(in NotStarted) {
	w := c.conns[in.Conn]
	if w == nil {
		return // its places are counted anew when it is back
	}
	c.free(w, 1, 0)
	t := c.tasks[in.Attempt.Task]
	if t == nil || t.Attempt != in.Attempt || t.state != handing || t.worker != w {
		return // stopped on its way
	}
	if in.Void {
		c.forgetTask(t)
		return
	}
	c.returnTask(t)
}

func (c *Core) heartbeat(in Heartbeat) {
	t := c.tasks[in.Attempt.Task]
	if t == nil || t.Attempt != in.Attempt || t.state != running || t.worker.conn != in.Conn {
		// The worker has not heard yet that the attempt is over, or its notice was lost: tell it (again).
		if w := c.conns[in.Conn]; w != nil && (t == nil || t.Attempt != in.Attempt) {
			c.emit(StopTask{Conn: in.Conn, Attempt: in.Attempt})
		}
		return
	}
	if t.heartbeat > 0 {
		t.silent = c.now.Add(t.heartbeat)
	}
	if in.Details.IsZero() {
		return
	}
	t.details, t.unsaved = in.Details, true
	if t.saved == 0 || t.saved.Add(c.config.SaveHeartbeats) <= c.now {
		c.saveDetails(t)
	}
}

func (c *Core) saveDetails(t *task) {
	t.unsaved, t.saved = false, c.now
	c.send(pending{env: t.envelope(events.RecordHeartbeat{Step: t.Task.Step, Attempt: t.Attempt.Attempt, Details: t.details})})
}

func (t *task) envelope(command events.Command) events.Envelope {
	return events.Envelope{Namespace: t.worker.Namespace, WorkflowID: t.WorkflowID, RunID: t.Task.Run, Command: command}
}

// expire times an attempt out.
func (t *task) expire(c *Core) events.Time {
	switch {
	case t.state != running || c.tasks[t.Task] != t:
		return 0
	case t.ends <= c.now:
		c.timeOutTask(t, events.CodeStartToClose)
		return 0
	case t.silent != 0 && t.silent <= c.now:
		c.timeOutTask(t, events.CodeHeartbeatTimeout)
		return 0
	}
	return t.nextDeadline()
}

func (c *Core) timeOutTask(t *task, code string) {
	c.send(pending{env: t.envelope(events.TimeoutTask{
		Step: t.Task.Step, Attempt: t.Attempt.Attempt, Code: code, Details: t.details, Worker: t.worker.ID,
	})})
	c.stopTask(t)
}

// stopTask forgets an attempt that is over and tells the worker. Its result, should it come, is the engine's to judge.
func (c *Core) stopTask(t *task) {
	if t.worker.conn != 0 {
		c.emit(StopTask{Conn: t.worker.conn, Attempt: t.Attempt})
	}
	c.forgetTask(t)
}

func (c *Core) taskDone(in TaskDone) {
	w := c.conns[in.Conn]
	if w == nil {
		return
	}
	t := c.tasks[in.Attempt.Task]
	switch {
	case t != nil && t.worker == w && t.Attempt == in.Attempt:
		if t.state == reporting {
			return // sent again before the acknowledgement, which is on its way
		}
		if _, failed := in.Command.(events.FailTask); failed && t.unsaved {
			c.saveDetails(t)
		}
		t.state = reporting
		c.deadlines.remove(&t.reminder)
	case t == nil:
		c.holdTask(w, in.Attempt, reporting) // of a time before this gateway, or over: the engine knows
	}
	c.send(pending{
		env: events.Envelope{
			Namespace: w.Namespace, WorkflowID: in.Attempt.WorkflowID, RunID: in.Attempt.Task.Run, Command: in.Command,
		},
		worker: w.ID, task: in.Attempt,
	})
}

// taskAnswered acknowledges a result: whatever the engine said, it need not be sent again.
func (c *Core) taskAnswered(p *pending) {
	if t := c.tasks[p.task.Task]; t != nil && t.Attempt == p.task && t.worker.ID == p.worker {
		c.forgetTask(t)
	}
	if w := c.workers[p.worker]; w != nil && w.conn != 0 {
		c.emit(AckTask{Conn: w.conn, Attempt: p.task})
	}
	c.dismissIfIdle(p.worker)
}

// dismissIfIdle gives up a worker that is away and has nothing left here.
func (c *Core) dismissIfIdle(id events.WorkerID) {
	if w := c.workers[id]; w != nil && w.conn == 0 && len(w.tasks)+len(w.activations) == 0 {
		c.giveUp(w)
	}
}

// compareTasks makes what is known of a worker's tasks what it says after it came (back).
func (c *Core) compareTasks(w *worker, listed []HeldTask) {
	said := make(map[Attempt]struct{}, len(listed))
	for _, h := range listed {
		said[h.Attempt] = struct{}{}
	}
	for _, t := range w.sortedTasks() {
		// A result on its way to the log needs no worker. Anything else that the worker does not know never reached it.
		if _, ok := said[t.Attempt]; !ok && t.state != reporting {
			c.returnTask(t)
		}
	}
	for _, h := range listed {
		t := c.tasks[h.Task]
		switch {
		case h.Over || c.cancelled.has(h.Task) || c.hasEnded(h.Task.Run):
			if t != nil && t.worker == w && t.state != reporting {
				c.forgetTask(t)
			}
			c.emit(StopTask{Conn: w.conn, Attempt: h.Attempt})
		case t != nil && t.worker == w:
		case t != nil && (t.state == reporting || t.Attempt.Attempt >= h.Attempt.Attempt):
			c.emit(StopTask{Conn: w.conn, Attempt: h.Attempt}) // it runs elsewhere by now
		default:
			if t != nil {
				c.stopTask(t)
			}
			t = c.holdTask(w, h.Attempt, running)
			c.startTask(t, h.StartToClose, h.Heartbeat)
			c.tellTask(t)
		}
	}
}
