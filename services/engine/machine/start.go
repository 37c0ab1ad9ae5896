package machine

import (
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// KnownRun is the newest run of a workflow id as far as a start needs to know it.
type KnownRun struct {
	RunID  events.RunID
	Status events.Status
}

// StartDecision is the outcome of a start. Terminate are events of the open run, and come first; Begin are the first
// events of the new run, whose id is the envelope's.
type StartDecision struct {
	Terminate []events.Event
	Begin     []events.Event
	Answer    events.Answer
}

// Start decides a StartWorkflow. Newest is the newest run known of the workflow id, nil if there is none; open is that
// run's state while it is open, else nil. The caller has made sure that no other run has the envelope's run id.
func Start(env events.Envelope, _ events.Time, open *Run, newest *KnownRun) StartDecision {
	begin := NewRun(events.Header{Namespace: env.Namespace, WorkflowID: env.WorkflowID, RunID: env.RunID})
	c, ok := env.Command.(events.StartWorkflow)
	if !ok {
		return StartDecision{Answer: begin.answer(env, events.InvalidArgument, fmt.Sprintf("%T is not a start", env.Command))}
	}
	if newest != nil && newest.RunID == env.RunID && !mutant.On(mutant.SkipStartDedup) {
		a := begin.answer(env, events.OK, "")
		a.Status, a.Duplicate, a.Started = newest.Status, true, true
		if open != nil {
			a.Status, a.Ended = open.status, open.ended
		}
		return StartDecision{Answer: a}
	}
	if err := checkStart(env, c); err != nil {
		return StartDecision{Answer: begin.answer(env, startCode(err), err.Error())}
	}
	var d StartDecision
	if open != nil && open.status.Open() {
		var taken bool
		if d, taken = startWhileOpen(env, c, open); taken {
			return d
		}
	} else if newest != nil && c.IDPolicy == events.IDRejectAny {
		a := begin.answer(env, events.IDTaken, fmt.Sprintf(
			"workflow id %q has the run %s (%s), and the start allows no other", env.WorkflowID, newest.RunID, newest.Status))
		a.RunID, a.Status = newest.RunID, newest.Status
		return StartDecision{Answer: a}
	}
	d.Begin, d.Answer = begin.decideStart(env, c)
	return d
}

// startWhileOpen says what becomes of the open run; taken means that nothing new begins.
func startWhileOpen(env events.Envelope, c events.StartWorkflow, open *Run) (d StartDecision, taken bool) {
	switch c.IDPolicy {
	case events.IDTerminateOpen:
		if open.quarantined {
			return StartDecision{Answer: open.answer(env, events.Quarantined,
				fmt.Sprintf("the open run %s is quarantined and cannot be terminated: release it first", open.id))}, true
		}
		return StartDecision{Terminate: []events.Event{
			events.RunTerminated{Reason: "a new run " + env.RunID.String() + " takes its place"},
		}}, false
	case events.IDAttachOpen:
		a := open.answer(env, events.OK, "")
		a.Status = open.status
		return StartDecision{Answer: a}, true
	case events.IDRejectOpen, events.IDRejectAny:
	}
	a := open.answer(env, events.AlreadyOpen, fmt.Sprintf("run %s of workflow %q is open", open.id, env.WorkflowID))
	a.Status = open.status
	return StartDecision{Answer: a}, true
}

func checkStart(env events.Envelope, c events.StartWorkflow) error {
	if err := errors.Join(env.WorkflowID.Validate(), env.Namespace.Validate(), c.Type.Validate()); err != nil {
		return err
	}
	if c.Queue != "" {
		if err := c.Queue.Validate(); err != nil {
			return err
		}
	}
	switch {
	case env.RunID.IsZero():
		return errors.New("a start needs the id of the run to be made")
	case c.RunTimeout < 0:
		return fmt.Errorf("the run timeout %v is negative; 0 means no bound", c.RunTimeout)
	case c.IDPolicy > events.IDRejectAny:
		return fmt.Errorf("id policy %d is not known", c.IDPolicy)
	}
	return nil
}

func startCode(err error) events.Code {
	if errors.Is(err, events.ErrBadID) {
		return events.BadIDCode
	}
	return events.InvalidArgument
}

// decideStart begins a run that has no event yet.
func (r *Run) decideStart(env events.Envelope, c events.StartWorkflow) ([]events.Event, events.Answer) {
	if err := checkStart(env, c); err != nil {
		return nil, r.answer(env, startCode(err), err.Error())
	}
	if c.Queue == "" {
		c.Queue = events.DefaultTaskQueue
	}
	a := r.answer(env, events.OK, "")
	a.Status, a.Started = events.StatusRunning, true
	return []events.Event{
		events.RunStarted{Type: c.Type, Queue: c.Queue, Input: c.Input, RunTimeout: c.RunTimeout, Trace: c.Trace},
	}, a
}

// decideRepeatedStart answers a start with the id of a run that exists.
func (r *Run) decideRepeatedStart(env events.Envelope) events.Answer {
	if env.RunID != r.id || env.WorkflowID != r.workflowID || env.Namespace != r.namespace {
		return r.answer(env, events.IDTaken, fmt.Sprintf("run id %s is taken by another workflow", r.id))
	}
	a := r.answer(env, events.OK, "")
	a.Status, a.Ended, a.Duplicate, a.Started = r.status, r.ended, true, true
	return a
}

func (r *Run) applyStarted(e events.RunStarted, n events.EventNumber, at events.Time) error {
	r.kind, r.queue, r.status = e.Type, e.Queue, events.StatusRunning
	if e.RunTimeout > 0 {
		r.due = at.Add(e.RunTimeout)
	}
	r.code.replayFrom = n
	r.wait = waits{now: true}
	return nil
}
