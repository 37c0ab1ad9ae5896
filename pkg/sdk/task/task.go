// Package task is what the code of a task can know and say: who calls it, that it is alive, and how it failed.
//
// The code of a task is ordinary Go: func(context.Context, In) (Out, error). An error is enough to be tried again.
package task

import (
	"context"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Execution describes the attempt that is running.
type Execution struct {
	// ID names the call, the same for every attempt. Its text is the idempotency key to hand to other systems.
	ID events.TaskID
	// Name is the durable name of the task, or the label of the step.
	Name events.TaskName
	// Attempt counts from 1.
	Attempt events.Attempt
	// WorkflowID, and the run in ID, tell who called.
	WorkflowID events.WorkflowID
	// Deadline is when the attempt counts as failed; zero when there is none. The context ends then, too.
	Deadline time.Time
	// Details are those of the last heartbeat of an attempt before; zero when there was none. LastDetails decodes them.
	Details events.Payload
}

// attempt is the context of a task, with what it carries.
type attempt struct {
	context.Context
	execution Execution
	payloads  payload.Converter
	beat      func(details events.Payload) error
}

type key struct{}

// NewContext returns the context that a runner of tasks hands to a task's code. Beat passes a heartbeat on; it may be nil.
func NewContext(parent context.Context, e Execution, payloads payload.Converter, beat func(details events.Payload) error) context.Context {
	return &attempt{parent, e, payloads, beat}
}

// Value returns what the context carries under a key.
func (a *attempt) Value(k any) any {
	if k == (key{}) {
		return a
	}
	return a.Context.Value(k)
}

// Info describes the attempt that runs with ctx. Outside of a task and of a step it is the zero Execution.
func Info(ctx context.Context) Execution {
	if a, ok := ctx.Value(key{}).(*attempt); ok {
		return a.execution
	}
	return Execution{}
}

// LastDetails decodes the details of the last heartbeat of an attempt before this one into the value that into points
// to. False means that there were none.
func LastDetails(ctx context.Context, into any) (bool, error) {
	a, ok := ctx.Value(key{}).(*attempt)
	if !ok || a.execution.Details.IsZero() {
		return false, nil
	}
	return true, a.payloads.Decode(a.execution.Details, into)
}

// Heartbeat tells that the attempt is alive, and with details how far it is, so that the next attempt can go on from
// there; nil means no details. Details are kept at most every 10 s, and when the attempt fails. It may be called as often
// as the code likes. It returns why the attempt should stop: its context has ended, because the task was cancelled or its
// time is over.
func Heartbeat(ctx context.Context, details any) error {
	a, ok := ctx.Value(key{}).(*attempt)
	if ok && a.beat != nil {
		var p events.Payload
		if details != nil {
			var err error
			if p, err = a.payloads.Encode(details); err != nil {
				return err
			}
		}
		if err := a.beat(p); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
