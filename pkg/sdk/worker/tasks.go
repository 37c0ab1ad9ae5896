package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
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
	if _, running := w.attempts[key]; running {
		w.mu.Unlock()
		w.grant(1, 0)
		return
	}
	if w.outbox.repeat(key) {
		w.mu.Unlock()
		w.grant(1, 0)
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	w.attempts[key] = &runningAttempt{ref: d.GetTask(), cancel: cancel}
	w.executing.Add(1)
	w.mu.Unlock()
	go func() {
		defer w.executing.Done()
		defer cancel(nil)
		result := w.runTask(ctx, d)
		w.mu.Lock()
		delete(w.attempts, key)
		if result != nil {
			w.outbox.result(result)
		}
		w.mu.Unlock()
		if result == nil {
			w.grant(1, 0)
		}
		w.checkDrained()
	}()
}

// runTask executes an attempt and returns its result; nil when nobody wants one.
func (w *Worker) runTask(ctx context.Context, d *apiv1.TaskDelivery) *apiv1.TaskResult {
	ref, err := wire.FromTaskRef(d.GetTask())
	if err != nil {
		w.log.Error("a task delivery cannot be read", slog.String("reason", err.Error()))
		return nil
	}
	execution := task.Execution{
		ID: ref.Task, Name: events.TaskName(d.GetName()), Attempt: ref.Attempt, WorkflowID: ref.WorkflowID,
		Details: payloadOf(d.GetLastHeartbeat()),
	}
	if limit := d.GetStartToClose().AsDuration(); limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
		execution.Deadline, _ = ctx.Deadline()
	}
	beat := func(details events.Payload) error {
		w.outbox.say(func(r *apiv1.WorkRequest) {
			r.Heartbeats = append(r.Heartbeats, &apiv1.TaskHeartbeat{Task: d.GetTask(), Details: wire.ToPayload(details)})
		})
		return nil
	}
	ctx = task.NewContext(ctx, execution, w.payloads, limitBeats(beat))
	outcome := w.registry.RunTask(ctx, w.payloads, execution.Name, payloadOf(d.GetInput()))
	result, failure := outcome.Result, outcome.Failure
	if cause := context.Cause(ctx); errors.Is(cause, ErrTaskCancelled) || errors.Is(cause, ErrStopping) {
		w.log.Debug("task given up", slog.String("task_id", ref.Task.String()), slog.String("reason", cause.Error()))
		return nil
	}
	if failure == nil {
		if size := int64(len(result.Data)); w.maxPayload.Load() > 0 && size > w.maxPayload.Load() {
			failure = tooLarge("the result", size, w.maxPayload.Load())
		}
	}
	out := &apiv1.TaskResult{Task: d.GetTask()}
	if failure != nil {
		w.log.Debug("task failed", slog.String("task_id", ref.Task.String()), slog.String("name", d.GetName()), slog.String("code", failure.Code))
		out.Outcome = &apiv1.TaskResult_Failure{Failure: wire.ToFailure(failure)}
		if outcome.RetryAfter >= 0 {
			out.RetryAfter = durationpb.New(outcome.RetryAfter)
		}
		return out
	}
	out.Outcome = &apiv1.TaskResult_Result{Result: wire.ToPayload(result)}
	return out
}

// heartbeatGap is the least time between two heartbeats of an attempt on the wire; the others of a burst are dropped.
const heartbeatGap = 100 * time.Millisecond

// limitBeats drops heartbeats that come too fast, so that a tight loop may call Heartbeat freely, from any goroutine.
func limitBeats(beat func(events.Payload) error) func(events.Payload) error {
	var last atomic.Int64
	return func(details events.Payload) error {
		now, before := time.Now().UnixNano(), last.Load() //nolint:forbidigo // the SDK runs on users' wall clock
		if now-before < int64(heartbeatGap) || !last.CompareAndSwap(before, now) {
			return nil
		}
		return beat(details)
	}
}

// cancelTask tells a running attempt to stop.
func (w *Worker) cancelTask(ref *apiv1.AttemptRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.attempts[keyOf(ref)]; ok {
		a.cancel(ErrTaskCancelled)
	}
}

// payloadOf converts a payload of the wire, whose limits the server has checked.
func payloadOf(p *apiv1.Payload) events.Payload {
	return events.Payload{Encoding: p.GetEncoding(), Data: p.GetData()}
}
