package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// startSteps begins and stops steps as the code wants.
func (w *Worker) startSteps(live *liveRun, turn replay.Turn) {
	for _, step := range turn.Stop {
		if cancel, ok := live.steps[step]; ok {
			cancel(ErrTaskCancelled)
			delete(live.steps, step)
		}
	}
	for _, call := range turn.Start {
		ctx, cancel := context.WithCancelCause(context.Background())
		live.steps[call.Task.Step] = cancel
		w.executing.Go(func() {
			defer cancel(nil)
			// Code may end its goroutine by runtime.Goexit: what follows it is deferred.
			outcome, wanted := replay.StepOutcome{Step: call.Task.Step, Attempts: call.Attempt, Failure: &events.Failure{
				Code: events.CodeTaskPanicked, Message: "the step's code called runtime.Goexit (t.FailNow does that)",
			}}, true
			defer func() {
				if p := recover(); p != nil {
					outcome.Failure.Message = fmt.Sprintf("panic in a method of the step's error or value: %v", p)
				}
				if wanted && ctx.Err() == nil {
					live.done.put(outcome)
				}
			}()
			outcome, wanted = runStep(ctx, call)
		})
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
