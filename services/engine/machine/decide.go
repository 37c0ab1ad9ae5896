package machine

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Decide returns the events that a command leads to at the given time, and its answer. It does not change the run, and
// the same run, command and time give the same outcome. The caller applies the events before it decides the next
// command. At is not before the run's newest event.
//
// On a quarantined run every command but GetRun and ReleaseRun is answered Quarantined and leads to nothing; whoever holds
// the run parks those that must not be lost.
func (r *Run) Decide(env events.Envelope, at events.Time) ([]events.Event, events.Answer) {
	if evs, answer, done := r.decideClosed(env); done {
		return evs, answer
	}
	switch c := env.Command.(type) {
	case events.StartWorkflow:
		return nil, r.decideRepeatedStart(env)
	case events.SignalWorkflow:
		return r.decideSignal(env, c)
	case events.CancelWorkflow:
		return r.decideCancel(env, c)
	case events.TerminateWorkflow:
		return r.decideTerminate(env, c)
	case events.GetRun:
		return r.decideGet(env)
	case events.ReleaseRun:
		return r.decideRelease(env, c)
	case events.ReportProgress:
		return r.decideProgress(env, c, at)
	case events.FailActivation:
		return r.decideFailActivation(env, c)
	case events.TimeoutActivation:
		return r.decideTimeoutActivation(env, c)
	case events.CompleteTask:
		return r.decideCompleteTask(env, c)
	case events.FailTask:
		return r.decideFailTask(env, c, at)
	case events.TimeoutTask:
		return r.decideTimeoutTask(env, c, at)
	case events.RecordHeartbeat:
		return r.decideHeartbeat(env, c)
	case events.FireTimer:
		return r.decideFireTimer(env, c, at)
	}
	return nil, r.answer(env, events.InvalidArgument, fmt.Sprintf("the engine does not know the command %T", env.Command))
}

// decideClosed handles runs that have not begun, are quarantined or have ended.
func (r *Run) decideClosed(env events.Envelope) ([]events.Event, events.Answer, bool) {
	switch {
	case r.status == events.StatusUnknown:
		if c, ok := env.Command.(events.StartWorkflow); ok {
			evs, answer := r.decideStart(env, c)
			return evs, answer, true
		}
		a := r.answer(env, events.NotFound, fmt.Sprintf("no run of workflow %q is known", env.WorkflowID))
		return nil, a, true
	case r.quarantined:
		switch env.Command.(type) {
		case events.GetRun, events.ReleaseRun, events.StartWorkflow:
			return nil, events.Answer{}, false
		default:
			return nil, r.answer(env, events.Quarantined, "the run is quarantined: "+r.reason), true
		}
	case !r.status.Open():
		switch env.Command.(type) {
		case events.GetRun, events.ReleaseRun, events.StartWorkflow:
			return nil, events.Answer{}, false
		case events.SignalWorkflow, events.CancelWorkflow, events.TerminateWorkflow:
			a := r.answer(env, events.RunEnded, fmt.Sprintf("the run has ended (%s)", r.status))
			a.Status, a.Ended = r.status, r.ended
			return nil, a, true
		default:
			return nil, r.answer(env, events.Stale, "the run has ended"), true
		}
	}
	return nil, events.Answer{}, false
}

func (r *Run) decideGet(env events.Envelope) ([]events.Event, events.Answer) {
	a := r.answer(env, events.OK, "")
	a.Status, a.Ended = r.status, r.ended
	return nil, a
}

func (r *Run) stale(env events.Envelope, what string) ([]events.Event, events.Answer) {
	return nil, r.answer(env, events.Stale, what)
}
