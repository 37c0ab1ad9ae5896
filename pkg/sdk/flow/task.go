package flow

import (
	"context"
	"reflect"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// definition is what all shapes of tasks share.
type definition struct {
	name      string
	path      string // tells apart two contracts of one name
	signature string
	options   taskOptions
	err       error // why the definition was refused
}

func newDefinition(c *contract, opts []TaskOption) *definition {
	d := &definition{name: c.name, path: c.path, signature: c.signature, err: c.err}
	for _, o := range opts {
		o.applyTask(&d.options)
	}
	if d.options.name != "" {
		d.name = d.options.name
	}
	if d.err == nil {
		d.err = claimName(d.name, d.path)
	}
	if d.err == nil {
		if err := d.options.check(); err != nil {
			d.err = refused(d.name, "%v", err)
		}
	}
	return d
}

// with returns a copy with changed options.
func (d *definition) with(opts []TaskOption) *definition {
	if d == nil {
		return nil
	}
	c := *d
	for _, o := range opts {
		o.applyTask(&c.options)
	}
	switch err := c.options.check(); {
	case c.err != nil:
	case err != nil:
		c.err = refused(c.name, "%v", err)
	case c.options.name != d.options.name:
		c.err = refused(c.name, "flow.Name belongs to the definition of a task, not to one call")
	}
	return &c
}

var errUndefined = refused("", "the zero Task was used; define it with flow.NewTask, flow.Method or flow.Action")

// begin calls the task.
func begin(ctx Context, d *definition, args ...any) *replay.Future {
	r := ctx.live()
	err := errUndefined
	if d != nil {
		err = d.err
	}
	if err != nil {
		r.Refuse(err)
		return r.Failed(err)
	}
	input, err := r.payloads.EncodeArgs(args...)
	if err != nil {
		return r.Failed(err)
	}
	return r.Call(ctx.scope, events.ScheduleTask{
		Name: events.TaskName(d.name), Queue: d.options.queue, Input: input, Options: d.options.TaskOptions,
	})
}

func (r *runtime) taskError(name string, core *replay.Future, f *events.Failure) error {
	return &TaskError{
		Task: name, ID: events.TaskID{Run: r.ref.RunID, Step: core.Step()}, Code: f.Code, Message: f.Message, Type: f.Type,
		failure: f, payloads: r.payloads,
	}
}

// call begins the task and waits for it, unless [Go] wants its future.
func call[Out any](ctx Context, d *definition, args ...any) (Out, error) {
	core := begin(ctx, d, args...)
	if ctx.capture != nil {
		ctx.capture.future = decoded[Out](ctx.run, core, d.nameOf())
		var zero Out
		return zero, errCaptured
	}
	return awaited[Out](ctx, core, d.nameOf())
}

// Task is a call of a service or function that some worker implements. It is a value: make one for each contract, in a
// package variable, and use it from everywhere.
type Task[In, Out any] struct{ def *definition }

// Task0 is a [Task] without an argument.
type Task0[Out any] struct{ def *definition }

// Task2 is a [Task] with two arguments.
type Task2[A, B, Out any] struct{ def *definition }

// Task3 is a [Task] with three arguments.
type Task3[A, B, C, Out any] struct{ def *definition }

// NewTask defines a task by its durable name, such as "billing.Pay". Bind its code with [Task.With].
func NewTask[In, Out any](name string, opts ...TaskOption) Task[In, Out] {
	c := &contract{name: name, path: "flow.NewTask", signature: signatureOf(reflect.TypeFor[func(In) (Out, error)](), 0)}
	return Task[In, Out]{newDefinition(c, opts)}
}

// Method defines a call of a service's method with one argument and a result, given as a method expression of its interface:
//
//	var Request = flow.Method(PaymentService.Request, flow.Timeout(time.Minute))
//
// Its durable name is package.Type.Method, here "billing.PaymentService.Request". Renaming any of them gives the task another
// name; flow.Name keeps the old one.
func Method[S, In, Out any](method func(S, context.Context, In) (Out, error), opts ...TaskOption) Task[In, Out] {
	return Task[In, Out]{newDefinition(contractOf(method), opts)}
}

// Method0 is [Method] for a method without argument.
func Method0[S, Out any](method func(S, context.Context) (Out, error), opts ...TaskOption) Task0[Out] {
	return Task0[Out]{newDefinition(contractOf(method), opts)}
}

// Method2 is [Method] for a method with two arguments.
func Method2[S, A, B, Out any](method func(S, context.Context, A, B) (Out, error), opts ...TaskOption) Task2[A, B, Out] {
	return Task2[A, B, Out]{newDefinition(contractOf(method), opts)}
}

// Method3 is [Method] for a method with three arguments.
func Method3[S, A, B, C, Out any](method func(S, context.Context, A, B, C) (Out, error), opts ...TaskOption) Task3[A, B, C, Out] {
	return Task3[A, B, C, Out]{newDefinition(contractOf(method), opts)}
}

// Action is [Method] for a method that returns an error only.
func Action[S, In any](method func(S, context.Context, In) error, opts ...TaskOption) Task[In, None] {
	return Task[In, None]{newDefinition(contractOf(method), opts)}
}

// Action0 is [Action] for a method without argument.
func Action0[S any](method func(S, context.Context) error, opts ...TaskOption) Task0[None] {
	return Task0[None]{newDefinition(contractOf(method), opts)}
}

// Action2 is [Action] for a method with two arguments.
func Action2[S, A, B any](method func(S, context.Context, A, B) error, opts ...TaskOption) Task2[A, B, None] {
	return Task2[A, B, None]{newDefinition(contractOf(method), opts)}
}

// Action3 is [Action] for a method with three arguments.
func Action3[S, A, B, C any](method func(S, context.Context, A, B, C) error, opts ...TaskOption) Task3[A, B, C, None] {
	return Task3[A, B, C, None]{newDefinition(contractOf(method), opts)}
}

// Call calls a method of a service and waits for its result: Method(method).Call(ctx, in).
//
//	payment, err := flow.Call(ctx, PaymentService.Request, charge)
func Call[S, In, Out any](ctx Context, method func(S, context.Context, In) (Out, error), in In) (Out, error) {
	return call[Out](ctx, sugar(method), in)
}

// Do calls a method of a service that returns an error only, and waits for its end: Action(method).Do(ctx, in).
func Do[S, In any](ctx Context, method func(S, context.Context, In) error, in In) error {
	_, err := call[None](ctx, sugar(method), in)
	return err
}

// sugar returns the definition of a method without options.
func sugar(method any) *definition {
	c := contractOf(method)
	d := &definition{name: c.name, path: c.path, signature: c.signature, err: c.err}
	if d.err == nil {
		d.err = claimName(d.name, d.path)
	}
	return d
}

// Call calls the task and waits for its result. The error is a [*TaskError] when the task failed for good, and
// [ErrCancelled] or [ErrTimeout] when ctx was cancelled.
func (t Task[In, Out]) Call(ctx Context, in In) (Out, error) { return call[Out](ctx, t.def, in) }

// Do is Call without the result.
func (t Task[In, Out]) Do(ctx Context, in In) error {
	_, err := call[Out](ctx, t.def, in)
	return err
}

// Opt returns a copy of the task with changed options, for one call:
//
//	p, err := Request.Opt(flow.Timeout(5 * time.Second)).Call(ctx, charge)
func (t Task[In, Out]) Opt(opts ...TaskOption) Task[In, Out] { return Task[In, Out]{t.def.with(opts)} }

// Name returns the durable name.
func (t Task[In, Out]) Name() string { return t.def.nameOf() }

// With binds code to the task. A method value of what implements it is enough.
func (t Task[In, Out]) With(code func(context.Context, In) (Out, error)) Binding {
	b := &taskBinding{def: t.def, run: func(ctx context.Context, c payload.Converter, input events.Payload) (events.Payload, error) {
		var in In
		if err := c.DecodeArgs(input, &in); err != nil {
			return events.Payload{}, err
		}
		out, err := code(ctx, in)
		if err != nil {
			return events.Payload{}, err
		}
		return c.Encode(out)
	}}
	if code == nil {
		b.err = refused(t.Name(), "With(nil): there is no code to bind")
	}
	return b
}

// Call is [Task.Call].
func (t Task0[Out]) Call(ctx Context) (Out, error) { return call[Out](ctx, t.def) }

// Do is [Task.Do].
func (t Task0[Out]) Do(ctx Context) error {
	_, err := t.Call(ctx)
	return err
}

// Opt is [Task.Opt].
func (t Task0[Out]) Opt(opts ...TaskOption) Task0[Out] { return Task0[Out]{t.def.with(opts)} }

// Name returns the durable name.
func (t Task0[Out]) Name() string { return t.def.nameOf() }

// Call is [Task.Call].
func (t Task2[A, B, Out]) Call(ctx Context, a A, b B) (Out, error) {
	return call[Out](ctx, t.def, a, b)
}

// Do is [Task.Do].
func (t Task2[A, B, Out]) Do(ctx Context, a A, b B) error {
	_, err := t.Call(ctx, a, b)
	return err
}

// Opt is [Task.Opt].
func (t Task2[A, B, Out]) Opt(opts ...TaskOption) Task2[A, B, Out] {
	return Task2[A, B, Out]{t.def.with(opts)}
}

// Name returns the durable name.
func (t Task2[A, B, Out]) Name() string { return t.def.nameOf() }

// Call is [Task.Call].
func (t Task3[A, B, C, Out]) Call(ctx Context, a A, b B, c C) (Out, error) {
	return call[Out](ctx, t.def, a, b, c)
}

// Do is [Task.Do].
func (t Task3[A, B, C, Out]) Do(ctx Context, a A, b B, c C) error {
	_, err := t.Call(ctx, a, b, c)
	return err
}

// Opt is [Task.Opt].
func (t Task3[A, B, C, Out]) Opt(opts ...TaskOption) Task3[A, B, C, Out] {
	return Task3[A, B, C, Out]{t.def.with(opts)}
}

// Name returns the durable name.
func (t Task3[A, B, C, Out]) Name() string { return t.def.nameOf() }

func (d *definition) nameOf() string {
	if d == nil {
		return ""
	}
	return d.name
}
