package machine

import (
	"errors"

	"github.com/continuo-dev/continuo/pkg/events"
)

func (r *Run) decideCancel(env events.Envelope, c events.CancelWorkflow) ([]events.Event, events.Answer) {
	a := r.answer(env, events.OK, "")
	if r.cancel != 0 {
		return nil, a // another request, which is remembered as this one is
	}
	return []events.Event{events.CancelRequested(c)}, a
}

func (r *Run) decideTerminate(env events.Envelope, c events.TerminateWorkflow) ([]events.Event, events.Answer) {
	return []events.Event{events.RunTerminated(c)}, r.answer(env, events.OK, "")
}

func (r *Run) applyCancelRequested(n events.EventNumber) error {
	if r.cancel != 0 {
		return errors.New("the run was asked to cancel before")
	}
	r.cancel = n
	return nil
}
