package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// outcome begins and stops steps as the code wants and returns the next outcome. A step that is the only one runs on the
// activation's own goroutine, which would wait for it anyway.
func (a *runningActivation) outcome(live *liveRun, turn replay.Turn) (replay.StepOutcome, error) {
	if len(turn.Start) == 1 && len(turn.Stop) == 0 && len(live.steps) == 0 {
		return a.execute(live, turn.Start[0])
	}
	a.worker.startSteps(live, turn)
	for {
		if outcome, ok := live.done.take(); ok {
			delete(live.steps, outcome.Step)
			return outcome, nil
		}
		select {
		case <-a.giveUp:
			return replay.StepOutcome{}, errGivenUp
		case <-live.done.wake:
		}
	}
}

// execute executes a step on the calling goroutine. The error is errOver when the activation was given up before the step
// ended, and errGivenUp when that was before it began.
func (a *runningActivation) execute(live *liveRun, call replay.StepCall) (outcome replay.StepOutcome, err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if !a.step.enter(a, live, cancel) {
		return outcome, errGivenUp
	}
	returned := false
	// Code may end its goroutine by runtime.Goexit: then the activation goes on on another one.
	defer func() {
		p := recover()
		if !returned {
			outcome = broken(call, p)
		}
		switch wanted := a.step.done(); {
		case !wanted:
			err = errOver
		case !returned && p == nil:
			live.done.put(outcome)
			a.worker.executing.Go(func() { a.goOn(live, replay.Turn{}, nil) })
		}
	}()
	outcome, _ = runStep(ctx, call)
	returned = true
	return outcome, nil
}

// startSteps begins and stops steps as the code wants, each on a goroutine of its own.
func (w *Worker) startSteps(live *liveRun, turn replay.Turn) {
	for _, step := range turn.Stop {
		if cancel, ok := live.steps[step]; ok {
			cancel(ErrTaskCancelled)
			delete(live.steps, step)
		}
	}
	for _, call := range turn.Start {
		ctx, cancel := context.WithCancelCause(context.Background())
		if live.steps == nil {
			live.steps = make(map[events.Step]context.CancelCauseFunc)
		}
		live.steps[call.Task.Step] = cancel
		w.executing.Go(func() {
			defer cancel(nil)
			var outcome replay.StepOutcome
			wanted, returned := true, false
			// Code may end its goroutine by runtime.Goexit: what follows it is deferred.
			defer func() {
				if p := recover(); !returned {
					outcome = broken(call, p)
				}
				if wanted && ctx.Err() == nil {
					live.done.put(outcome)
				}
			}()
			outcome, wanted = runStep(ctx, call)
			returned = true
		})
	}
}

// broken is the outcome of a step whose code did not return: after a panic with a value, or by runtime.Goexit.
func broken(call replay.StepCall, panicked any) replay.StepOutcome {
	message := "the step's code called runtime.Goexit (t.FailNow does that)"
	if panicked != nil {
		message = fmt.Sprintf("panic in a method of the step's error or value: %v", panicked)
	}
	return replay.StepOutcome{
		Step: call.Task.Step, Attempts: call.Attempt, Failure: &events.Failure{Code: events.CodeTaskPanicked, Message: message},
	}
}

// runStep tries a step until it succeeds, fails for good, or has taken so long that the engine is to wake it. wanted is
// false when it was stopped.
func runStep(ctx context.Context, call replay.StepCall) (outcome replay.StepOutcome, wanted bool) {
	began := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	for attempt := call.Attempt; ; attempt++ {
		result, failure, retryAfter := flow.TryStep(ctx, call, attempt)
		if ctx.Err() != nil {
			return replay.StepOutcome{}, false
		}
		if failure == nil {
			return replay.StepOutcome{Step: call.Task.Step, Result: result, Attempts: attempt}, true
		}
		now := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
		next, delay, again := replay.NextTry(call, attempt, failure, retryAfter, now.Sub(began), events.TimeOf(now))
		if !again {
			return next, true
		}
		if !sleep(ctx, delay) {
			return replay.StepOutcome{}, false
		}
	}
}
