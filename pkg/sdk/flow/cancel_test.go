package flow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

func TestCancelReachesCodeAndTasks(t *testing.T) {
	t.Parallel()
	stopped, cleaned := make(chan error, 1), 0
	env := flowtest.New(t,
		testFlow.With(func(ctx flow.Context, _ int) (string, error) {
			_, err := double.Call(ctx, 0)
			if !errors.Is(err, flow.ErrCancelled) || !errors.Is(ctx.Err(), flow.ErrCancelled) {
				return "", fmt.Errorf("the call returned %w", err)
			}
			if _, err := double.Call(ctx, 1); !errors.Is(err, flow.ErrCancelled) {
				return "", fmt.Errorf("a call after the cancel returned %w", err)
			}
			if _, err := double.Call(flow.WithoutCancel(ctx), 1); err != nil {
				return "", fmt.Errorf("cleaning up: %w", err)
			}
			return "", fmt.Errorf("stopped: %w", err)
		}),
		double.With(func(ctx context.Context, n int) (int, error) {
			if n > 0 {
				cleaned++
				return 0, nil
			}
			<-ctx.Done()
			stopped <- context.Cause(ctx)
			return 0, ctx.Err()
		}))
	run, err := testFlow.Start(t.Context(), env, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Cancel(t.Context(), "enough"); err != nil {
		t.Fatal(err)
	}
	_, err = run.Result(t.Context())
	var failed *flow.RunError
	if !errors.Is(err, flow.ErrCancelled) || !errors.As(err, &failed) || failed.Status != events.StatusCancelled {
		t.Errorf("Result: %v", err)
	}
	if err := <-stopped; err == nil || cleaned != 1 {
		t.Errorf("the task stopped with %v, cleaned up %d times", err, cleaned)
	}
}

func TestErrorAfterCancelThatIsNotTheCancelFails(t *testing.T) {
	t.Parallel()
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, _ int) (string, error) {
		_ = flow.Sleep(ctx, time.Hour)
		return "", flow.Fail("undo_failed", "it could not be undone").With(42)
	}))
	run, err := testFlow.Start(t.Context(), env, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Cancel(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	_, err = run.Result(t.Context())
	var failed *flow.RunError
	if !errors.As(err, &failed) || failed.Code != "undo_failed" || failed.Status != events.StatusFailed {
		t.Fatalf("Result: %v", err)
	}
	var details int
	if ok, err := failed.Details(&details); !ok || err != nil || details != 42 {
		t.Errorf("details %v %v %v", details, ok, err)
	}
}

func TestWithTimeout(t *testing.T) {
	t.Parallel()
	out, env, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		slow, cancel := flow.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := flow.Sleep(slow, time.Hour)
		if !errors.Is(err, flow.ErrTimeout) || !errors.Is(slow.Err(), flow.ErrTimeout) || ctx.Err() != nil {
			return "", fmt.Errorf("timed out with %w", err)
		}
		quick, cancel := flow.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := flow.Sleep(quick, time.Second); err != nil {
			return "", err
		}
		gone, cancel := flow.WithTimeout(ctx, 0)
		defer cancel()
		if err := flow.Sleep(gone, time.Second); !errors.Is(err, flow.ErrTimeout) {
			return "", fmt.Errorf("no time left: %w", err)
		}
		return "ok", nil
	})
	if out != "ok" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if started, cancelled := count[events.TimerStarted](t, env), count[events.TimerCancelled](t, env); started != 4 || cancelled != 2 {
		t.Errorf("%d timers were started and %d cancelled, want 4 and 2", started, cancelled)
	}
}
