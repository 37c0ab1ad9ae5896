package sessions

import "github.com/continuo-dev/continuo/pkg/events"

// activation is work for workflow code that a worker of this gateway holds; a run has one at a time.
type activation struct {
	Activation
	worker *worker
	state  holding
	ends   events.Time
	// told says that the schedulers know that it is here, lasting that they were told so by a report.
	told, lasting bool
	// base is the activation whose result is acknowledged by handing this one; zero when there is none.
	base Activation

	reminder reminder
}

// deliver gives a task or an activation to its worker, or back to the schedulers.
func (c *Core) deliver(d Delivery) {
	w := c.workers[d.Worker]
	isTask := d.Task != nil
	if !isTask && d.Activation == nil {
		return
	}
	if w != nil && w.conn != 0 && !w.draining {
		w.overfull(isTask)
	}
	room := w != nil && w.conn != 0 && !w.draining && (isTask && w.freeTasks > 0 || !isTask && w.freeActivations > 0)
	if !room && c.holds(d) {
		// It was repeated on its way, or given away a second time; giving it back would give it to another worker too.
		if c.tellHolder(d) && w != nil && (w.conn == 0 || w.draining) {
			w.owe(d)
		}
		return
	}
	switch {
	case w == nil:
		c.report.Returned = append(c.report.Returned, d.held())
	case w.conn == 0 || w.draining:
		c.report.Returned = append(c.report.Returned, d.held())
		w.owe(d)
	case isTask && w.freeTasks <= 0, !isTask && w.freeActivations <= 0:
		// More than the worker granted: the schedulers count too much, and giving the place back would go on for ever.
		c.report.Returned = append(c.report.Returned, d.held())
	case isTask:
		c.deliverTask(w, d)
	default:
		c.deliverActivation(w, d)
	}
}

// overfull counts a delivery that took the place of an untold attempt.
func (w *worker) overfull(isTask bool) {
	if isTask && w.freeTasks <= 0 && w.untoldTasks > 0 {
		w.untoldTasks--
	}
	if !isTask && w.freeActivations <= 0 && w.untoldActivations > 0 {
		w.untoldActivations--
	}
}

// holds reports whether the attempt of a delivery, or a later one, is with a worker of this gateway.
func (c *Core) holds(d Delivery) bool {
	if open := d.Task; open != nil {
		t := c.tasks[open.Task]
		return t != nil && t.Attempt.Attempt >= open.Attempt
	}
	open := d.Activation
	a := c.activations[open.RunID]
	return a != nil && !a.olderThan(Activation{Activation: open.Activation.Activation, Attempt: open.Activation.Attempt})
}

// tellHolder tells the schedulers who has an attempt that they gave away because they did not know, or they would not take it
// back from who has it. It reports whether they did; else it was repeated on its way.
func (c *Core) tellHolder(d Delivery) (unknown bool) {
	if open := d.Task; open != nil {
		t := c.tasks[open.Task]
		if unknown = t.worker.ID != d.Worker || !t.told; unknown {
			c.tellTask(t)
		}
		return unknown
	}
	a := c.activations[d.Activation.RunID]
	if unknown = a.worker.ID != d.Worker || !a.told; unknown {
		c.tellActivation(a)
	}
	return unknown
}

// owe notes that a delivery took a place of a worker that is not there to grant it again.
func (w *worker) owe(d Delivery) {
	if d.Task != nil {
		w.owedTasks++
	} else {
		w.owedActivations++
	}
}

func (d *Delivery) held() Held {
	if t := d.Task; t != nil {
		return Held{Worker: d.Worker, Namespace: t.Namespace, WorkflowID: t.WorkflowID, RunID: t.Task.Run, Step: t.Task.Step, Attempt: t.Attempt}
	}
	a := d.Activation
	return Held{
		Worker: d.Worker, Namespace: a.Namespace, WorkflowID: a.WorkflowID, RunID: a.RunID, Activation: a.Activation.Activation,
		Attempt: a.Activation.Attempt,
	}
}

func (c *Core) deliverActivation(w *worker, d Delivery) {
	open := d.Activation
	ref := Activation{
		WorkflowID: open.WorkflowID, RunID: open.RunID, Activation: open.Activation.Activation, Attempt: open.Activation.Attempt,
	}
	if c.hasEnded(open.RunID) || (d.NotAfter != 0 && d.NotAfter < c.now) {
		c.report.credit(w.ID, 0, 1)
		return
	}
	if a := c.activations[open.RunID]; a != nil {
		if !a.olderThan(ref) {
			c.tellHolder(d)
			c.report.credit(w.ID, 0, 1)
			return
		}
		c.forgetActivation(a)
	}
	w.freeActivations--
	c.holdActivation(w, ref, handing)
	_, live := w.live[ref.RunID]
	c.emit(Hand{Conn: w.conn, Delivery: d, Live: live})
}

func (a *activation) olderThan(b Activation) bool {
	return a.Activation.Activation < b.Activation || (a.Activation.Activation == b.Activation && a.Attempt < b.Attempt)
}

func (c *Core) holdActivation(w *worker, ref Activation, state holding) *activation {
	a := &activation{Activation: ref, worker: w, state: state, told: true}
	c.activations[ref.RunID] = a
	w.activations[ref.RunID] = a
	c.begin(begun{activation: a})
	return a
}

func (c *Core) forgetActivation(a *activation) {
	c.deadlines.remove(&a.reminder)
	if a.lasting {
		c.report.Over = append(c.report.Over, a.held())
	}
	delete(a.worker.activations, a.RunID)
	if c.activations[a.RunID] == a {
		delete(c.activations, a.RunID)
	}
}

func (a *activation) held() Held {
	return Held{
		Worker: a.worker.ID, Namespace: a.worker.Namespace, WorkflowID: a.WorkflowID, RunID: a.RunID, Activation: a.Activation.Activation,
		Attempt: a.Attempt,
	}
}

func (c *Core) returnActivation(a *activation) {
	if a.told {
		c.report.Returned = append(c.report.Returned, a.held())
	} else {
		c.refuse(a.held())
	}
	c.forgetActivation(a)
}

// activationAt returns the activation a worker's stream speaks of, if it is held there in the given state.
func (c *Core) activationAt(conn Conn, ref Activation, state holding) *activation {
	a := c.activations[ref.RunID]
	if a == nil || a.Activation != ref || a.worker.conn != conn || a.state != state {
		return nil
	}
	return a
}

func (c *Core) activationStarted(in ActivationStarted) {
	if a := c.activationAt(in.Conn, in.Activation, handing); a != nil {
		c.startActivation(a)
	}
}

func (c *Core) startActivation(a *activation) {
	a.state, a.ends = running, c.now.Add(c.config.ActivationDeadline)
	c.deadlines.add(&a.reminder, a.ends, a)
}

func (c *Core) activationNotStarted(in ActivationNotStarted) {
	w := c.conns[in.Conn]
	if w == nil {
		return // its places are counted anew when it is back
	}
	c.free(w, 0, 1)
	if in.Base != (Activation{}) {
		c.emit(AckActivation{Conn: in.Conn, Activation: in.Base})
	}
	a := c.activationAt(in.Conn, in.Activation, handing)
	if a == nil {
		return // over on its way
	}
	if in.Void {
		c.forgetActivation(a)
		return
	}
	c.returnActivation(a)
}

func (c *Core) activationHeartbeat(in ActivationHeartbeat) {
	if a := c.activationAt(in.Conn, in.Activation, running); a != nil {
		a.ends = c.now.Add(c.config.ActivationDeadline)
	}
}

// expire times an activation out.
func (a *activation) expire(c *Core) events.Time {
	switch {
	case a.state != running || c.activations[a.RunID] != a:
		return 0
	case a.ends > c.now:
		return a.ends
	}
	c.timeOutActivation(a)
	return 0
}

func (c *Core) timeOutActivation(a *activation) {
	c.send(pending{env: events.Envelope{
		Namespace: a.worker.Namespace, WorkflowID: a.WorkflowID, RunID: a.RunID,
		Command: events.TimeoutActivation{Activation: a.Activation.Activation, Attempt: a.Attempt},
	}})
	c.forgetActivation(a)
	c.dropLive(a.RunID)
}

func (c *Core) activationDone(in ActivationDone) {
	w := c.conns[in.Conn]
	if w == nil {
		return
	}
	a := c.activations[in.Activation.RunID]
	switch {
	case a != nil && a.worker == w && a.Activation == in.Activation:
		if a.state == reporting {
			return // sent again before the acknowledgement, which is on its way
		}
		a.state = reporting
		c.deadlines.remove(&a.reminder)
	case a == nil:
		c.holdActivation(w, in.Activation, reporting)
	}
	if in.Live {
		c.nowLive(w, in.Activation.RunID)
	}
	if progress, ok := in.Command.(events.ReportProgress); ok {
		in.Command = c.wantOffers(w, in.Live, progress)
	}
	c.send(pending{
		env: events.Envelope{
			Namespace: w.Namespace, WorkflowID: in.Activation.WorkflowID, RunID: in.Activation.RunID, Command: in.Command,
		},
		worker: w.ID, activation: in.Activation,
	})
}

func (c *Core) activationAnswered(p *pending) {
	if a := c.activations[p.activation.RunID]; a != nil && a.Activation == p.activation && a.worker.ID == p.worker {
		c.forgetActivation(a)
	}
	w := c.workers[p.worker]
	if next := c.activations[p.activation.RunID]; w != nil && w.conn != 0 && (next == nil || next.base != p.activation || next.worker != w) {
		c.emit(AckActivation{Conn: w.conn, Activation: p.activation})
	}
	c.dismissIfIdle(p.worker)
}

// nowLive notes that a run is in a worker's memory; another worker that has it too is told to drop it.
func (c *Core) nowLive(w *worker, run events.RunID) {
	r := c.run(run)
	if r.live == w {
		return
	}
	if old := r.live; old != nil {
		if old.conn != 0 {
			c.emit(DropRun{Conn: old.conn, RunID: run})
		}
		c.noLongerLive(old, run)
		r = c.run(run)
	}
	r.live = w
	w.live[run] = struct{}{}
	c.report.Live = append(c.report.Live, Live{Worker: w.ID, RunID: run})
}

func (c *Core) noLongerLive(w *worker, run events.RunID) {
	delete(w.live, run)
	if r := c.runs[run]; r != nil && r.live == w {
		r.live = nil
		c.report.Live = append(c.report.Live, Live{Worker: w.ID, RunID: run, Evicted: true})
		c.tidyRun(run)
	}
}

// dropLive tells the worker that has a run in memory to forget it.
func (c *Core) dropLive(run events.RunID) {
	r := c.runs[run]
	if r == nil || r.live == nil {
		return
	}
	if r.live.conn != 0 {
		c.emit(DropRun{Conn: r.live.conn, RunID: run})
	}
	c.noLongerLive(r.live, run)
}

func (c *Core) evicted(in Evicted) {
	w := c.conns[in.Conn]
	if w == nil {
		return
	}
	for _, run := range in.Runs {
		c.noLongerLive(w, run)
	}
}

// compareActivations makes what is known of a worker's activations what it says after it came (back).
func (c *Core) compareActivations(w *worker, listed []Activation) {
	said := make(map[Activation]struct{}, len(listed))
	for _, ref := range listed {
		said[ref] = struct{}{}
	}
	for _, a := range w.sortedActivations() {
		if _, ok := said[a.Activation]; !ok && a.state != reporting {
			c.returnActivation(a)
		}
	}
	for _, ref := range listed {
		if c.activations[ref.RunID] != nil || c.hasEnded(ref.RunID) {
			continue
		}
		a := c.holdActivation(w, ref, running)
		c.startActivation(a)
		c.tellActivation(a)
	}
}
