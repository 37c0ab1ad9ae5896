package flow

import (
	"context"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Signal is a message that a running workflow can be sent. Signals are kept in the run's inbox until its code reads them,
// however early they come.
type Signal[T any] struct {
	name events.SignalName
	err  error
}

// NewSignal defines a signal by its durable name, such as "billing.Unsubscribed".
func NewSignal[T any](name string) Signal[T] {
	s := Signal[T]{name: events.SignalName(name)}
	if err := s.name.Validate(); err != nil {
		s.err = refused(name, "%v", err)
	}
	return s
}

// Name returns the durable name.
func (s Signal[T]) Name() string { return string(s.name) }

func (s Signal[T]) check() error {
	if s.name == "" && s.err == nil {
		return refused("", "the zero Signal was used; define it with flow.NewSignal")
	}
	return s.err
}

// Next returns the next signal of this name that the code has not read. It counts as read when Await or [All] returns it,
// or [First] the future; until then Next returns the same signal again. Code that waits for signals on several
// fibers gets each signal once.
func (s Signal[T]) Next(ctx Context) *Future[T] {
	r := ctx.live()
	if err := s.check(); err != nil {
		r.Refuse(err)
		return &Future[T]{run: r, core: r.Failed(err), err: err}
	}
	return decoded[T](r, r.Next(s.name), string(s.name))
}

// TryNext reads the next signal if one has come; false means that none has.
func (s Signal[T]) TryNext(ctx Context) (value T, ok bool, err error) {
	r := ctx.live()
	if err := s.check(); err != nil {
		r.Refuse(err)
		return value, false, err
	}
	p, ok, err := r.TryNext(s.name)
	if !ok || err != nil {
		return value, false, err
	}
	err = r.payloads.Decode(p, &value)
	return value, err == nil, err
}

// Send sends the signal to the newest run of a workflow id, or to the run named by [ToRun]. It returns when the signal is
// durable.
func (s Signal[T]) Send(ctx context.Context, c Client, id string, value T, opts ...SendOption) error {
	if err := s.check(); err != nil {
		return err
	}
	var o sendOptions
	for _, opt := range opts {
		opt.applySend(&o)
	}
	p, err := c.Payloads().Encode(value)
	if err != nil {
		return err
	}
	_, err = c.Do(ctx, events.Envelope{
		WorkflowID: events.WorkflowID(id), RunID: o.run, RequestID: o.request, Command: events.SignalWorkflow{Name: s.name, Input: p},
	})
	return err
}

// ToRun sends a signal to this run of the workflow id, even when it is not the newest.
func ToRun(id events.RunID) SendOption { return toRun(id) }

type toRun events.RunID

func (id toRun) applySend(s *sendOptions) { s.run = events.RunID(id) }

// View is state that a run shows to readers. It can be read without a worker, and after the run's end.
type View[T any] struct {
	name events.ViewName
	err  error
}

// NewView defines a view by its durable name, such as "billing.LastBilled".
func NewView[T any](name string) View[T] {
	v := View[T]{name: events.ViewName(name)}
	if err := v.name.Validate(); err != nil {
		v.err = refused(name, "%v", err)
	}
	return v
}

// Name returns the durable name.
func (v View[T]) Name() string { return string(v.name) }

func (v View[T]) check() error {
	if v.name == "" && v.err == nil {
		return refused("", "the zero View was used; define it with flow.NewView")
	}
	return v.err
}

// Set publishes the value. Readers see it with the next progress of the run. A value that cannot be encoded fails the
// activation: the run waits for better code.
func (v View[T]) Set(ctx Context, value T) {
	r := ctx.live()
	err := v.check()
	var p events.Payload
	if err == nil {
		p, err = r.payloads.Encode(value)
	}
	if err != nil {
		r.Refuse(err)
		return
	}
	_ = r.SetView(v.name, p) // only a closed run refuses, and nobody reads what that would set
}

// Get returns the value that the newest run of a workflow id published last. The error has the code view_not_found when it
// has not.
func (v View[T]) Get(ctx context.Context, c Client, id string) (value T, err error) {
	if err := v.check(); err != nil {
		return value, err
	}
	p, err := c.View(ctx, RunRef{WorkflowID: events.WorkflowID(id)}, v.name)
	if err != nil {
		return value, err
	}
	err = c.Payloads().Decode(p, &value)
	return value, err
}
