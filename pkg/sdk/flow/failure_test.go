package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

func TestTaskErrors(t *testing.T) {
	t.Parallel()
	inner := errors.New("the card is blocked")
	tries := 0
	fails := double.With(func(_ context.Context, n int) (int, error) {
		tries++
		if n == 0 && tries < 3 {
			return 0, errors.New("not yet")
		}
		if n == 0 {
			return tries, nil
		}
		return 0, task.Permanent(fmt.Errorf("charge: %w", task.Failure("card_declined", "declined").With("do not honor").Because(inner)))
	})
	out, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		third, err := double.Call(ctx, 0)
		if err != nil || third != 3 {
			return "", fmt.Errorf("retried: %d %w", third, err)
		}
		_, err = double.Call(ctx, 1)
		var failed *flow.TaskError
		if !errors.As(err, &failed) {
			return "", fmt.Errorf("no TaskError: %w", err)
		}
		var details string
		if _, err := failed.Details(&details); err != nil {
			return "", err
		}
		return fmt.Sprint(failed.Code, "|", failed.Task, "|", failed.ID.Step, "|", details), fmt.Errorf("payment: %w", err)
	}, fails)
	_ = out
	var failed *flow.RunError
	if !errors.As(err, &failed) || failed.Code != "card_declined" {
		t.Fatalf("the code went up as %v", err)
	}
	var causes []string
	for f := failed.Failure(); f != nil; f = f.Cause {
		causes = append(causes, f.Code+":"+f.Message)
	}
	want := []string{
		`card_declined:payment: task "test.Double" failed: charge: declined: the card is blocked [card_declined]: the card is blocked`,
		"card_declined:charge: declined: the card is blocked", ":the card is blocked",
	}
	if !slices.Equal(causes, want) {
		t.Errorf("causes:\n%s", strings.Join(causes, "\n"))
	}
}

func TestRetryPolicyAndRetryAfter(t *testing.T) {
	t.Parallel()
	var at []time.Duration
	var env *flowtest.Env
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	code := func(ctx flow.Context, _ int) (string, error) {
		_, err := double.Opt(flow.Retry(flow.RetryPolicy{MaxAttempts: 3})).Call(ctx, 0)
		return "", err
	}
	env = flowtest.New(t, testFlow.With(code), double.With(func(ctx context.Context, _ int) (int, error) {
		at = append(at, env.Now().Sub(start))
		if task.Info(ctx).Attempt == 1 {
			return 0, task.RetryAfter(errors.New("busy"), time.Hour)
		}
		return 0, errors.New("no")
	}))
	_, err := testFlow.Run(t.Context(), env, 1)
	var failed *flow.RunError
	if !errors.As(err, &failed) || failed.Code != events.CodeTaskFailed {
		t.Errorf("%v", err)
	}
	if len(at) != 3 || at[1] != time.Hour || at[2] < time.Hour+1800*time.Millisecond || at[2] > time.Hour+2*time.Second {
		t.Errorf("attempts at %v", at)
	}
}

func TestTimeoutsOfTasks(t *testing.T) {
	t.Parallel()
	hang := double.With(func(ctx context.Context, n int) (int, error) {
		if n == 2 {
			var from int
			if ok, err := task.LastDetails(ctx, &from); ok || err != nil {
				return from, err
			}
			if err := task.Heartbeat(ctx, 7); err != nil {
				return 0, err
			}
		}
		<-ctx.Done()
		return 0, context.Cause(ctx)
	})
	env := flowtest.New(t, hang, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		d := double.Opt(flow.Timeout(time.Minute), flow.HeartbeatTimeout(10*time.Second))
		if n == 1 {
			d = double.Opt(flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
		}
		v, err := d.Call(ctx, n)
		if err != nil && !errors.Is(err, flow.ErrTimeout) {
			return "", fmt.Errorf("no timeout: %w", err)
		}
		return fmt.Sprint(v), err
	}))
	one, err := testFlow.Start(t.Context(), env, 1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := testFlow.Start(t.Context(), env, 2)
	if err != nil {
		t.Fatal(err)
	}
	env.Advance(6 * time.Minute)
	var failed *flow.RunError
	if _, err := one.Result(t.Context()); !errors.As(err, &failed) || failed.Code != events.CodeStartToClose || !errors.Is(err, flow.ErrTimeout) {
		t.Errorf("start-to-close: %v", err)
	}
	if out, err := two.Result(t.Context()); out != "7" || err != nil {
		t.Errorf("the second attempt had the details of the first: %q, %v", out, err)
	}
}

// spoilt is an error that cannot be asked what it is.
type spoilt struct{ why error }

func (s *spoilt) Error() string { return s.why.Error() }

func TestErrorWhoseMethodsPanic(t *testing.T) {
	t.Parallel()
	var none *spoilt
	_, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		once := flow.Retry(flow.RetryPolicy{MaxAttempts: 1})
		_, first := double.Opt(once).Call(ctx, 1)
		_, second := flow.Step(ctx, "step", func(context.Context) (int, error) { return 0, none }, once)
		return "", errors.Join(first, second)
	}, double.With(func(context.Context, int) (int, error) { return 0, none }))
	wants(t, fmt.Sprint(err), `task "test.Double" failed: panic in a method of the error *flow_test.spoilt`, `task "step" failed: panic in a method`)
}
