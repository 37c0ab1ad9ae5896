package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// maxSteps bounds the outcomes of one run's steps that wait to be taken; a step that ends beyond it waits.
const maxSteps = 1024

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
		go func() {
			defer cancel(nil)
			outcome, err := flow.RunStep(ctx, wallClock{}, call)
			if err != nil {
				w.log.Debug("step given up", slog.String("task_id", call.Task.String()), slog.String("reason", err.Error()))
				return
			}
			select {
			case live.done <- outcome:
			case <-ctx.Done():
			}
		}()
	}
}

// wallClock is the time that steps run in.
type wallClock struct{}

// Now returns the wall clock's time.
func (wallClock) Now() time.Time { return time.Now() } //nolint:forbidigo // the SDK runs in users' processes, on the wall clock

// Sleep waits for d, or until ctx has ended, and then returns why.
func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}
