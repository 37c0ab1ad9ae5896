package sessions

import (
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// The direct way: a progress asks that what follows from it be offered to this gateway (OfferActivation, OfferTask), the log
// brings the offer, and the worker that has the run in memory gets it at once, without the schedulers. They leave an offer
// alone until it is over or refused, so most of it they never have to be told of: it is closed before.
//
// They do not count the place that an untold attempt takes. So the credits they know of are always free + untold, and the
// next places that the worker grants make up for the untold ones first.

// wantOffers makes a worker's progress ask for what follows, as long as the worker has many places to spare: what it cannot
// take had better wait where every worker is known. One task goes to where its run is; several are spread by the schedulers.
func (c *Core) wantOffers(w *worker, live bool, p events.ReportProgress) events.ReportProgress {
	p.OfferActivation = live && 2*w.freeActivations >= w.ActivationSlots
	p.OfferTask = false
	if !live || 2*w.freeTasks < w.TaskSlots || w.freeTasks == 0 {
		return p
	}
	var only events.ScheduleTask
	tasks := 0
	for _, intent := range p.Intents {
		switch i := intent.(type) {
		case events.ScheduleTask:
			if tasks++; tasks > 1 {
				return p
			}
			only = i
		case events.CompleteRun, events.FailRun, events.CancelRun, events.ContinueRun, events.CancelTask:
			return p
		default:
		}
	}
	p.OfferTask = tasks == 1 && (only.Queue == "" || only.Queue == w.Queue) && w.offersTask(only.Name)
	return p
}

func (w *worker) offersTask(name events.TaskName) bool {
	return slices.ContainsFunc(w.Tasks, func(o Offer) bool { return o.Name == string(name) })
}

// home returns the worker that may take an offer of a run's record, or nil: none is sure to have the run in memory, or the
// record is so old that the schedulers may have given it away.
func (c *Core) home(r *events.Record) *worker {
	held := c.runs[r.RunID]
	if held == nil || held.live == nil || c.now.Sub(r.Time) > events.OfferFor/2 {
		return nil
	}
	if w := held.live; w.conn != 0 && !w.draining && w.Namespace == r.Namespace {
		return w
	}
	return nil
}

// offeredActivation takes or refuses an activation that the log offers.
func (c *Core) offeredActivation(r *events.Record, number events.EventNumber, e events.ActivationScheduled) {
	if e.OfferTo != c.config.Session {
		return
	}
	ref := Activation{WorkflowID: r.WorkflowID, RunID: r.RunID, Activation: e.Activation, Attempt: e.Attempt}
	w := c.home(r)
	if w == nil || w.freeActivations <= 0 {
		c.refuse(Held{Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Activation: e.Activation, Attempt: e.Attempt})
		return
	}
	if a := c.activations[r.RunID]; a != nil {
		if !a.olderThan(ref) {
			return
		}
		c.forgetActivation(a)
	}
	w.freeActivations--
	w.untoldActivations++
	a := c.holdActivation(w, ref, handing)
	a.told = false
	base, nothing := baseOf(r, e, w)
	a.base = base
	c.taken++
	c.emit(Hand{Conn: w.conn, Live: true, Base: base, NothingNew: nothing, Delivery: Delivery{
		Worker: w.ID, Partition: r.Partition, From: r.Seq, Number: 1, Activation: &events.OpenActivation{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Activation: e, Number: number, At: r.Time,
		},
	}})
}

// baseOf returns the activation of a worker whose progress a record begins with, if the one that ends the record builds on it,
// and whether that is all that has happened since the code was last given something.
func baseOf(r *events.Record, e events.ActivationScheduled, w *worker) (base Activation, nothing bool) {
	made, ok := r.Events[0].(events.ProgressMade)
	if !ok || e.Base != r.First || made.Worker != w.ID {
		return Activation{}, false
	}
	base = Activation{WorkflowID: r.WorkflowID, RunID: r.RunID, Activation: made.Activation, Attempt: made.Attempt}
	// Between what the code was given and this record there is the event that scheduled its activation.
	nothing = r.First == e.BaseUpto+2 && !slices.ContainsFunc(r.Events[1:], events.LiveEvents.Has)
	return base, nothing
}

// offeredTask takes or refuses the first attempt of a task that the log offers.
func (c *Core) offeredTask(r *events.Record, number events.EventNumber, e events.TaskScheduled) {
	if e.OfferTo != c.config.Session {
		return
	}
	attempt := Attempt{WorkflowID: r.WorkflowID, Task: events.TaskID{Run: r.RunID, Step: e.Step}, Attempt: 1}
	w := c.home(r)
	if w == nil || w.freeTasks <= 0 || w.Queue != e.Queue || !w.offersTask(e.Name) {
		c.refuse(Held{Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Step: e.Step, Attempt: 1})
		return
	}
	if c.tasks[attempt.Task] != nil {
		return
	}
	w.freeTasks--
	w.untoldTasks++
	t := c.holdTask(w, attempt, handing)
	t.told = false
	c.taken++
	call := e // the argument itself need not be on the heap when nothing is offered
	c.emit(Hand{Conn: w.conn, Delivery: Delivery{
		Worker: w.ID, Partition: r.Partition, From: r.Seq, Number: 1, Task: &events.OpenTask{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, Task: attempt.Task, Attempt: 1, Name: e.Name, Queue: e.Queue,
			Scheduled: number, Call: &call,
		},
	}})
}

func (c *Core) refuse(h Held) {
	c.refused++
	c.report.Refused = append(c.report.Refused, h)
}

// tellPlaces lets the schedulers count places that untold attempts take, unless grants have made up for them.
func (c *Core) tellPlaces(w *worker, tasks, activations int) {
	tasks, activations = min(tasks, w.untoldTasks), min(activations, w.untoldActivations)
	w.untoldTasks -= tasks
	w.untoldActivations -= activations
	c.report.credit(w.ID, -tasks, -activations)
}

// free adds places that a worker has again, at first in the place of untold ones.
func (c *Core) free(w *worker, tasks, activations int) {
	w.freeTasks += tasks
	w.freeActivations += activations
	t, a := min(max(tasks, 0), w.untoldTasks), min(max(activations, 0), w.untoldActivations)
	w.untoldTasks -= t
	w.untoldActivations -= a
	c.report.credit(w.ID, tasks-t, activations-a)
}
