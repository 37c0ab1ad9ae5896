package flow

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Workflow is a kind of process: what starts it and what comes out. It is a value; [Workflow.With] binds its code.
type Workflow[In, Out any] struct {
	name      string
	signature string
	err       error
}

// NewWorkflow defines a workflow by its durable name, such as "billing.Monthly".
func NewWorkflow[In, Out any](name string) Workflow[In, Out] {
	w := Workflow[In, Out]{name: name, signature: signatureOf(reflect.TypeFor[func(In) (Out, error)](), 0)}
	if err := events.WorkflowType(name).Validate(); err != nil {
		w.err = refused(name, "%v", err)
	}
	return w
}

// Name returns the durable name.
func (w Workflow[In, Out]) Name() string { return w.name }

func (w Workflow[In, Out]) check() error {
	if w.name == "" && w.err == nil {
		return refused("", "the zero Workflow was used; define it with flow.NewWorkflow")
	}
	return w.err
}

// With binds code to the workflow. The code must do the same whenever it is given the same: it runs again, from its start
// or its last continuation, whenever no worker has the run in memory.
func (w Workflow[In, Out]) With(code func(Context, In) (Out, error)) Binding {
	b := &workflowBinding{name: w.name, signature: w.signature, err: w.check()}
	if code == nil && b.err == nil {
		b.err = refused(w.name, "With(nil): there is no code to bind")
	}
	b.run = func(ctx Context, input events.Payload) events.Intent {
		var in In
		if err := ctx.run.payloads.Decode(input, &in); err != nil {
			return ended(ctx, fmt.Errorf("the input of the run: %w", err))
		}
		out, err := code(ctx, in)
		if err != nil {
			return ended(ctx, err)
		}
		result, err := ctx.run.payloads.Encode(out)
		if err != nil {
			return ended(ctx, fmt.Errorf("the result of the run: %w", err))
		}
		return events.CompleteRun{Result: result}
	}
	return b
}

// ended returns the intent of code that returned an error.
func ended(ctx Context, err error) events.Intent {
	if c, ok := errors.AsType[*continuation](err); ok {
		return events.ContinueRun{Input: c.input}
	}
	f := task.FailureOf(err, events.CodeWorkflowFailed, ctx.run.payloads)
	if ctx.run.CancelRequested() && errors.Is(err, ErrCancelled) && !mutant.On(mutant.CancelledEndsAsFailed) {
		return events.CancelRun{Failure: *f}
	}
	return events.FailRun{Failure: *f}
}

// continuation is the error by which code asks to begin again.
type continuation struct{ input events.Payload }

func (*continuation) Error() string {
	return "flow: the workflow continues with a new input; return what Continue returned"
}

// Continue begins the code again with a new input, in the same run: what happened before is not replayed any more, unread
// signals are kept, steps count on. Return what it returns:
//
//	return Monthly.Continue(ctx, sub)
//
// Calls that are open then must be awaited or cancelled before; otherwise the run waits until code comes that does.
// Timers are disarmed.
func (w Workflow[In, Out]) Continue(ctx Context, in In) (Out, error) {
	var zero Out
	r := ctx.live()
	err := w.check()
	if err == nil && string(r.workflow) != w.name {
		err = refused(w.name, "Continue was called in a run of %s: a run continues as what it is", r.workflow)
	}
	if err != nil {
		r.Refuse(err)
		return zero, err
	}
	input, err := r.payloads.Encode(in)
	if err != nil {
		return zero, err
	}
	return zero, &continuation{input}
}

// Start starts a run. It returns when the start is durable and decided; if ctx ends between the two, it returns the run that
// there will be unless the start is refused.
func (w Workflow[In, Out]) Start(ctx context.Context, c Client, in In, opts ...StartOption) (Run[Out], error) {
	env, err := w.start(c, in, opts)
	if err != nil {
		return Run[Out]{}, err
	}
	answer, err := c.Do(ctx, env)
	if err != nil {
		return Run[Out]{}, err
	}
	return Run[Out]{c, RunRef{env.WorkflowID, answer.RunID}}, nil
}

// Run starts a run and waits for its result, in one exchange with the server.
func (w Workflow[In, Out]) Run(ctx context.Context, c Client, in In, opts ...StartOption) (Out, error) {
	var zero Out
	env, err := w.start(c, in, opts)
	if err != nil {
		return zero, err
	}
	answer, outcome, err := c.StartAndWait(ctx, env)
	if err != nil {
		return zero, err
	}
	return result[Out](c, RunRef{env.WorkflowID, answer.RunID}, outcome)
}

func (w Workflow[In, Out]) start(c Client, in In, opts []StartOption) (events.Envelope, error) {
	if err := w.check(); err != nil {
		return events.Envelope{}, err
	}
	var o startOptions
	for _, opt := range opts {
		opt.applyStart(&o)
	}
	input, err := c.Payloads().Encode(in)
	if err != nil {
		return events.Envelope{}, err
	}
	id := c.NewRunID()
	if o.request != "" {
		if err := o.request.Validate(); err != nil {
			return events.Envelope{}, err
		}
		id = events.RunIDFor(events.DefaultNamespace, events.WorkflowID(o.id), o.request)
	}
	env := events.Envelope{WorkflowID: events.WorkflowID(o.id), RunID: id, RequestID: o.request, Command: events.StartWorkflow{
		Type: events.WorkflowType(w.name), Queue: o.queue, Input: input, IDPolicy: o.policy, RunTimeout: o.runTimeout,
	}}
	if env.WorkflowID == "" {
		env.WorkflowID = events.WorkflowID(id.String())
	}
	if o.runTimeout < 0 {
		return env, refused(w.name, "flow.RunTimeout(%v) is negative; leave the option out for no bound", o.runTimeout)
	}
	return env, env.WorkflowID.Validate()
}

// Attach returns the newest run of a workflow id. Nothing is asked of the server before the run is used.
func (w Workflow[In, Out]) Attach(c Client, id string) Run[Out] {
	return Run[Out]{c, RunRef{WorkflowID: events.WorkflowID(id)}}
}
