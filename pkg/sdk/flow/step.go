package flow

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Step runs code in the worker of the workflow and records its outcome, which replay gives back: for short work that needs
// no worker of its own. The code is ordinary Go with a context.Context. It may run more than once before its outcome is
// recorded; task.Info(ctx).ID is the same each time.
//
// A failed step is tried again by its policy, like a task, in the worker while that takes less than 10 s in all and then
// woken by the engine. Its last failure is returned as a [*TaskError]. A step begins when everything that the code did
// before it is durable.
func Step[T any](ctx Context, label string, code func(ctx context.Context) (T, error), opts ...StepOption) (T, error) {
	r := ctx.live()
	o := stepOptionsOf(opts)
	if err := checkStep(label, o); err != nil {
		r.Refuse(err)
		var zero T
		return zero, err
	}
	core := r.Step(ctx.scope, label, replay.StepOptions{Retry: o.retry, Timeout: o.timeout}, &stepCode[T]{r, code})
	return awaited[T](ctx, core, label)
}

func stepOptionsOf(opts []StepOption) stepOptions {
	if len(opts) == 0 {
		return stepOptions{}
	}
	var o stepOptions
	for _, opt := range opts {
		opt.applyStep(&o)
	}
	return o
}

// stepWork is what a step's call carries to TryStep.
type stepWork interface {
	run(ctx context.Context, call replay.StepCall, attempt events.Attempt) (events.Payload, error)
	converter() payload.Converter
}

// stepCode is the code of a step with a result of type T.
type stepCode[T any] struct {
	runtime *runtime
	code    func(ctx context.Context) (T, error)
}

func (s *stepCode[T]) converter() payload.Converter { return s.runtime.payloads }

func (s *stepCode[T]) run(ctx context.Context, call replay.StepCall, attempt events.Attempt) (events.Payload, error) {
	ctx = task.NewContext(ctx, task.Execution{
		ID: call.Task, Name: events.TaskName(call.Label), Attempt: attempt, WorkflowID: s.runtime.ref.WorkflowID,
	}, s.runtime.payloads, nil)
	value, err := s.code(ctx)
	if err != nil {
		return events.Payload{}, err
	}
	return s.runtime.payloads.Encode(value)
}

func checkStep(label string, o stepOptions) error {
	if err := events.TaskName(label).Validate(); err != nil && len(label) == 0 || len(label) > events.MaxNameBytes {
		return refused(label, "the label of a step has 1 to %d bytes", events.MaxNameBytes)
	}
	if o.timeout < 0 {
		return refused(label, "flow.Timeout(%v) is negative; leave the option out for none", o.timeout)
	}
	if err := checkRetry(o.retry); err != nil {
		return refused(label, "%v", err)
	}
	return nil
}

// TryStep makes one attempt of a step, for a driver of runs. RetryAfter is the delay that the code asked for before the next
// attempt, negative when it did not; [replay.NextTry] says what follows a failure. When ctx has ended there is no outcome: the
// step is to be executed again by whoever has the run next.
func TryStep(ctx context.Context, call replay.StepCall, attempt events.Attempt) (result events.Payload, failure *events.Failure, retryAfter time.Duration) {
	work := call.Work.(stepWork)
	result, err := tryStep(ctx, work, call, attempt)
	if err != nil {
		failure, retryAfter = failureOf(err, work.converter())
		return events.Payload{}, failure, retryAfter
	}
	return result, nil, -1
}

// tryStep makes one attempt.
func tryStep(parent context.Context, work stepWork, call replay.StepCall, attempt events.Attempt) (result events.Payload, err error) {
	ctx := parent
	if call.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, call.Timeout)
		defer cancel()
		defer func() {
			if err != nil && ctx.Err() != nil && parent.Err() == nil {
				err = task.Failure(events.CodeStartToClose, fmt.Sprintf("the attempt took longer than %v", call.Timeout)).Because(err)
			}
		}()
	}
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return work.run(ctx, call, attempt)
}

// panicked returns the failure of code that panicked, with the line, called while the panic is handled.
func panicked(value any) error {
	var pcs [32]uintptr
	frames := goruntime.CallersFrames(pcs[:goruntime.Callers(3, pcs[:])])
	at, seen := "", false
	for {
		frame, more := frames.Next()
		if seen && at == "" && frame.Function != "runtime.sigpanic" && frame.Function != "runtime.panicmem" {
			at = fmt.Sprintf(" at %s:%d (%s)", frame.File, frame.Line, frame.Function)
		}
		seen = seen || frame.Function == "runtime.gopanic"
		if !more || at != "" {
			break
		}
	}
	f := task.Failure(events.CodeTaskPanicked, fmt.Sprintf("panic: %v%s", value, at))
	if err, ok := value.(error); ok && !errors.As(err, new(goruntime.Error)) {
		return f.Because(err)
	}
	return f
}
