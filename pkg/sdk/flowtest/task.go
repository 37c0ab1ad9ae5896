package flowtest

import (
	"context"
	"errors"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// grace is how long, in real time, everybody waits for a task; one that takes longer goes on beside, and virtual time may pass
// its limits. It is long enough for a busy machine to run a quick task.
const grace = 250 * time.Millisecond

// Why a task's context has ended.
var (
	errTaskCancelled = errors.New("flowtest: the task was cancelled")
	errTaskTimeout   = errors.New("flowtest: the time of the task's attempt is over")
)

// attempt is a task that runs.
type attempt struct {
	number   events.Attempt
	cancel   context.CancelCauseFunc
	deadline *item
	silence  *item // when the next heartbeat is overdue
	details  events.Payload
}

// runTask runs an attempt of a task.
func (e *Env) runTask(r *run, f events.OpenTask) {
	call := r.call(f)
	if !r.status.Open() || call == nil || e.open[f.Task] != f.Attempt {
		return
	}
	if !offers(e.registry.Tasks(), string(f.Name)) {
		if !e.unbound[f.Name] {
			e.unbound[f.Name] = true
			e.t.Errorf("flowtest: task %q was called and has no binding; give one to flowtest.New", f.Name)
		}
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{number: f.Attempt, cancel: cancel}
	e.attempts[f.Task] = a
	e.timeline.remove(r.timers[events.TimerID{Kind: events.TimerScheduleToStart, Step: f.Task.Step, Attempt: f.Attempt}])
	limit := call.Options.StartToClose
	if limit <= 0 {
		limit = events.DefaultStartToClose
	}
	a.deadline = e.timeline.add(e.now.Add(limit), func() { e.timeout(r, f, a, events.CodeStartToClose) })
	e.expectBeat(r, f, a, call.Options.Heartbeat)
	execution := task.Execution{
		ID: f.Task, Name: f.Name, Attempt: f.Attempt, WorkflowID: r.ref.WorkflowID, Deadline: e.now.Add(limit).Std(), Details: r.details(f),
	}
	ctx = task.NewContext(ctx, execution, e.options.Payloads, func(details events.Payload) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.attempts[f.Task] == a {
			a.details = details
			e.expectBeat(r, f, a, call.Options.Heartbeat)
		}
		return nil
	})
	done := make(chan struct{})
	e.tasks.Go(func() {
		defer close(done)
		defer cancel(nil)
		outcome := flow.TaskOutcome{RetryAfter: -1, Failure: &events.Failure{
			Code: events.CodeTaskPanicked, Message: "the task called runtime.Goexit (t.FailNow does that)", NonRetryable: true,
		}}
		defer func() { e.taskDone(r, f, a, outcome) }()
		outcome = e.registry.RunTask(ctx, e.options.Payloads, f.Name, call.Input)
	})
	e.unlocked(func() {
		timer := time.NewTimer(grace) //nolint:forbidigo // it bounds what the test waits for in real time
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	})
}

// taskDone reports the outcome of an attempt, unless nobody waits for it any more.
func (e *Env) taskDone(r *run, f events.OpenTask, a *attempt, o flow.TaskOutcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.attempts[f.Task] != a || e.closed {
		e.signalChange()
		return
	}
	e.forget(f.Task, a)
	if o.Failure == nil {
		e.inside(r, events.CompleteTask{Step: f.Task.Step, Attempt: a.number, Result: o.Result})
	} else {
		if !a.details.IsZero() {
			e.inside(r, events.RecordHeartbeat{Step: f.Task.Step, Attempt: a.number, Details: a.details})
		}
		e.inside(r, events.FailTask{Step: f.Task.Step, Attempt: a.number, Failure: *o.Failure, RetryAfter: o.RetryAfter})
	}
	e.signalChange()
	e.work()
}

func (e *Env) forget(id events.TaskID, a *attempt) {
	delete(e.attempts, id)
	e.timeline.remove(a.deadline)
	e.timeline.remove(a.silence)
}

// stopTask tells a running task to stop; what it returns does not matter any more.
func (e *Env) stopTask(id events.TaskID) {
	if a := e.attempts[id]; a != nil {
		e.forget(id, a)
		a.cancel(errTaskCancelled)
	}
}

// expectBeat sets the time until which the next heartbeat must have come.
func (e *Env) expectBeat(r *run, f events.OpenTask, a *attempt, limit time.Duration) {
	if limit <= 0 {
		return
	}
	e.timeline.remove(a.silence)
	a.silence = e.timeline.add(e.now.Add(limit), func() { e.timeout(r, f, a, events.CodeHeartbeatTimeout) })
}

func (e *Env) timeout(r *run, f events.OpenTask, a *attempt, code string) {
	if e.attempts[f.Task] != a {
		return
	}
	e.forget(f.Task, a)
	a.cancel(errTaskTimeout)
	e.inside(r, events.TimeoutTask{Step: f.Task.Step, Attempt: a.number, Code: code, Details: a.details})
}

// call finds the call of a task.
func (r *run) call(f events.OpenTask) *events.TaskScheduled {
	if f.Call != nil {
		return f.Call
	}
	for _, rec := range r.records {
		if f.Scheduled >= rec.First && f.Scheduled <= rec.Last() {
			if call, ok := rec.Events[f.Scheduled-rec.First].(events.TaskScheduled); ok {
				return &call
			}
		}
	}
	return nil
}

// details returns the details that the attempt before left.
func (r *run) details(f events.OpenTask) (details events.Payload) {
	for _, rec := range r.records {
		for _, ev := range rec.Events {
			if failed, ok := ev.(events.TaskAttemptFailed); ok && failed.Step == f.Task.Step && failed.Attempt+1 == f.Attempt {
				details = failed.Details
			}
		}
	}
	return details
}
