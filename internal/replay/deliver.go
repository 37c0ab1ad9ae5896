package replay

import "github.com/continuo-dev/continuo/pkg/events"

// pendingCancel is a scope to be cancelled when the events of a phase are delivered.
type pendingCancel struct {
	scope *Scope
	cause error
}

// deliver gives events to the futures that wait for them, in the order of the log. Scopes are cancelled after that, so
// that what has ended counts as ended, however close the cancel was.
func (r *Run) deliver(inputs []numbered, from events.EventNumber) {
	for _, n := range inputs {
		switch e := n.event.(type) {
		case events.TaskCompleted:
			r.endStep(e.Step, kindTask, e.Result, nil)
		case events.TaskFailed:
			r.endStep(e.Step, kindTask, events.Payload{}, &e.Failure)
		case events.TimerFired:
			r.endStep(e.Step, kindTimer, events.Payload{}, nil)
		case events.StepRetryDue:
			if f := r.steps.get(e.Step); f != nil && f.kind == kindStep && f.state == stepBackingOff {
				f.state = stepWanted
				r.wanted = append(r.wanted, f)
			}
		case events.SignalReceived:
			r.signal(e)
		case events.CancelRequested:
			if n.number >= from {
				r.cancelRequested = true
				r.cancels = append(r.cancels, pendingCancel{&r.root, ErrCancelled})
			}
		default: // a history keeps no others as inputs
		}
	}
	cancels := r.cancels
	r.cancels = nil
	for _, c := range cancels {
		r.cancel(nil, c.scope, c.cause)
	}
}

// endStep ends an open call or timer.
func (r *Run) endStep(s events.Step, k kind, result events.Payload, failure *events.Failure) {
	f := r.steps.get(s)
	if f == nil || f.kind != k {
		return // cancelled by the code before
	}
	f.result, f.failure = result, failure
	r.bytes += len(result.Data)
	if f.expires != nil {
		r.cancels = append(r.cancels, pendingCancel{f.expires, ErrTimeout})
	}
	r.end(f)
}
