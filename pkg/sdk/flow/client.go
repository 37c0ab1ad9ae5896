package flow

import (
	"context"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Client is how definitions reach a server: a connection (client.Client), a server in the same process
// (embedded.Suite) or a test's (flowtest.Env).
type Client interface {
	// Do sends a command and returns its answer. A refusal is returned as an *events.Error. An empty namespace means the
	// client's. It may be sent several times until there is an answer, as what it asks for happens once.
	Do(ctx context.Context, command events.Envelope) (events.Answer, error)
	// StartAndWait sends a start and waits for the end of the run that answers it.
	StartAndWait(ctx context.Context, start events.Envelope) (events.Answer, Outcome, error)
	// Result waits for the end of a run.
	Result(ctx context.Context, run RunRef) (Outcome, error)
	// View returns what a run published under a name; an *events.Error with view_not_found when it has not.
	View(ctx context.Context, run RunRef, name events.ViewName) (events.Payload, error)
	// NewRunID makes a run id for a start.
	NewRunID() events.RunID
	// Payloads converts the values that are sent and received.
	Payloads() payload.Converter
}

// RunRef names a run. A zero RunID means the newest run of the workflow id.
type RunRef struct {
	WorkflowID events.WorkflowID
	RunID      events.RunID
}

// Outcome is how a run ended.
type Outcome struct {
	RunID  events.RunID
	Status events.Status
	// Result is that of a completed run, Failure that of a failed or cancelled one.
	Result  events.Payload
	Failure *events.Failure
}

// Run is a started run, seen from outside.
type Run[Out any] struct {
	client Client
	ref    RunRef
}

// ID returns the workflow id.
func (r Run[Out]) ID() string { return string(r.ref.WorkflowID) }

// RunID returns the run id; zero for a run that was attached to by its workflow id.
func (r Run[Out]) RunID() events.RunID { return r.ref.RunID }

// Ref returns both ids.
func (r Run[Out]) Ref() RunRef { return r.ref }

// Result waits for the end of the run and returns its result. The error is a [*RunError] when the run did not complete.
func (r Run[Out]) Result(ctx context.Context) (Out, error) {
	outcome, err := r.client.Result(ctx, r.ref)
	if err != nil {
		var zero Out
		return zero, err
	}
	return result[Out](r.client, r.ref, outcome)
}

// Cancel asks the run to cancel: its code's context is cancelled, it may clean up, and it ends when it returns. Repeating it
// changes nothing.
func (r Run[Out]) Cancel(ctx context.Context, reason string) error {
	_, err := r.client.Do(ctx, events.Envelope{
		WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, Command: events.CancelWorkflow{Reason: reason},
	})
	return err
}

// Terminate ends the run at once; its code is not asked.
func (r Run[Out]) Terminate(ctx context.Context, reason string) error {
	_, err := r.client.Do(ctx, events.Envelope{
		WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, Command: events.TerminateWorkflow{Reason: reason},
	})
	return err
}

// result turns the outcome of a run into Go values.
func result[Out any](c Client, ref RunRef, o Outcome) (out Out, err error) {
	if !o.RunID.IsZero() {
		ref.RunID = o.RunID
	}
	if o.Status == events.StatusCompleted {
		err = c.Payloads().Decode(o.Result, &out)
		return out, err
	}
	e := &RunError{Run: ref, Status: o.Status, failure: o.Failure, payloads: c.Payloads()}
	if o.Failure != nil {
		e.Code, e.Message = o.Failure.Code, o.Failure.Message
	}
	switch o.Status {
	case events.StatusCancelled:
		e.Code = events.CodeCancelled
	case events.StatusTerminated:
		e.Code = events.CodeTerminated
	case events.StatusTimedOut:
		e.Code = events.CodeRunTimeout
	case events.StatusUnknown, events.StatusRunning, events.StatusCompleted, events.StatusFailed:
	}
	return out, e
}
