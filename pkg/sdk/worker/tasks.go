package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Why the context of a task ended, found with context.Cause.
var (
	// ErrTaskCancelled: the task was cancelled, its run ended or its time is over. A result no longer counts.
	ErrTaskCancelled = errors.New("the task was cancelled")
	// ErrStopping: the worker stops and the time to drain is over. The attempt counts as lost and is tried again.
	ErrStopping = errors.New("the worker is stopping")
)

// runningAttempt is a task that is being executed.
type runningAttempt struct {
	ref    *apiv1.AttemptRef
	cancel context.CancelCauseFunc
}

// startTask executes a delivered attempt on a goroutine of its own. A repeated delivery joins the attempt that runs, or gets
// its kept result again: the code is not run twice here.
func (w *Worker) startTask(d *apiv1.TaskDelivery) {
	key := keyOf(d.GetTask())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.useTask()
	if _, running := w.attempts[key]; running || w.outbox.repeat(key) {
		w.regrant()
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	w.attempts[key] = &runningAttempt{ref: d.GetTask(), cancel: cancel}
	w.executing.Go(func() {
		var result *apiv1.TaskResult
		// Code may end its goroutine by runtime.Goexit: what follows it is deferred.
		defer func() {
			cancel(nil)
			w.mu.Lock()
			delete(w.attempts, key)
			if result != nil {
				w.outbox.result(result)
			}
			w.regrant()
			w.mu.Unlock()
			w.checkDrained()
		}()
		w.runTask(ctx, d, &result)
	})
}

// runTask executes an attempt and sets its result; it stays nil when nobody wants one.
func (w *Worker) runTask(ctx context.Context, d *apiv1.TaskDelivery, result **apiv1.TaskResult) {
	ref, err := wire.FromTaskRef(d.GetTask())
	if err != nil {
		w.log.Error("a task delivery cannot be read", slog.String("reason", err.Error()))
		return
	}
	execution := task.Execution{
		ID: ref.Task, Name: events.TaskName(d.GetName()), Attempt: ref.Attempt, WorkflowID: ref.WorkflowID,
		Details: wire.CheckedPayload(d.GetLastHeartbeat()),
	}
	if limit := d.GetStartToClose().AsDuration(); limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
		execution.Deadline, _ = ctx.Deadline()
	}
	ctx, end := w.traced(ctx, d, ref)
	pulse := &pulse{worker: w, ref: d.GetTask()}
	ctx = task.NewContext(ctx, execution, w.payloads, pulse.beat)
	outcome := flow.TaskOutcome{RetryAfter: -1, Failure: &events.Failure{
		Code: events.CodeTaskPanicked, Message: "the task's code called runtime.Goexit (t.FailNow does that)",
	}}
	defer func() {
		if p := recover(); p != nil {
			outcome.Failure.Message = fmt.Sprintf("panic in a method of the task's error or value: %v", p)
		}
		end(outcome)
		*result = w.taskResult(ctx, d, ref, outcome)
		pulse.end((*result).GetFailure() != nil)
	}()
	outcome = w.registry.RunTask(ctx, w.payloads, execution.Name, wire.CheckedPayload(d.GetInput()))
}

// taskResult makes the result of an attempt; nil when nobody wants one.
func (w *Worker) taskResult(ctx context.Context, d *apiv1.TaskDelivery, ref wire.TaskRef, outcome flow.TaskOutcome) *apiv1.TaskResult {
	if cause := context.Cause(ctx); errors.Is(cause, ErrTaskCancelled) || errors.Is(cause, ErrStopping) {
		w.log.Debug("task given up", slog.String("task_id", ref.Task.String()), slog.String("reason", cause.Error()))
		return nil
	}
	out := &apiv1.TaskResult{Task: d.GetTask()}
	if outcome.Failure == nil {
		out.Outcome = &apiv1.TaskResult_Result{Result: wire.ToPayload(outcome.Result)}
		size, limit := int64(len(outcome.Result.Data)), w.maxPayload.Load()
		switch {
		case limit > 0 && size > limit:
			outcome = flow.TaskOutcome{RetryAfter: -1, Failure: tooLarge("the result", size, limit)}
		case proto.Size(out) > maxResultBytes:
			outcome = flow.TaskOutcome{RetryAfter: -1, Failure: tooLarge("the result", size, maxResultBytes)}
		default:
			return out
		}
	}
	w.log.Debug("task failed", slog.String("task_id", ref.Task.String()), slog.String("name", d.GetName()), slog.String("code", outcome.Failure.Code))
	out.Outcome = &apiv1.TaskResult_Failure{Failure: wire.ToFailure(outcome.Failure)}
	if outcome.RetryAfter >= 0 {
		out.RetryAfter = durationpb.New(outcome.RetryAfter)
	}
	return out
}

// cancelTask tells a running attempt to stop.
func (w *Worker) cancelTask(ref *apiv1.AttemptRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passFence(ref)
	if a, ok := w.attempts[keyOf(ref)]; ok {
		a.cancel(ErrTaskCancelled)
	}
}
