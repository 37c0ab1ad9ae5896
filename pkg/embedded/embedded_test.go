package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/pkg/embedded"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds what a test waits for; nothing takes nearly as long.
const wait = 30 * time.Second

func start(t *testing.T, o embedded.Options, code ...flow.Binding) *embedded.Suite {
	t.Helper()
	if os.Getenv("CONTINUO_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	suite, err := embedded.Start(t.Context(), o, code...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := suite.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return suite
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

var (
	double    = flow.NewTask[int, int]("test.Double")
	flaky     = flow.NewTask[string, int]("test.Flaky", flow.Retry(flow.RetryPolicy{Initial: time.Millisecond}))
	declined  = flow.NewTask[string, int]("test.Declined")
	hang      = flow.NewTask[string, flow.None]("test.Hang")
	sum       = flow.NewWorkflow[[]int, int]("test.Sum")
	stubborn  = flow.NewWorkflow[string, int]("test.Stubborn")
	refusal   = flow.NewWorkflow[string, int]("test.Refusal")
	inbox     = flow.NewWorkflow[int, []string]("test.Inbox")
	steps     = flow.NewWorkflow[int, int]("test.Steps")
	cancelled = flow.NewWorkflow[string, string]("test.Cancelled")
	rounds    = flow.NewWorkflow[int, int]("test.Rounds")
	message   = flow.NewSignal[string]("test.message")
	seen      = flow.NewView[int]("test.seen")
)

func runSum(ctx flow.Context, numbers []int) (int, error) {
	var parts []*flow.Future[int]
	for _, n := range numbers {
		parts = append(parts, flow.Go(ctx, double.Call, n))
	}
	doubled, err := flow.All(ctx, parts...)
	total := 0
	for _, n := range doubled {
		total += n
	}
	return total, err
}

func runInbox(ctx flow.Context, wanted int) ([]string, error) {
	var got []string
	for len(got) < wanted {
		text, err := message.Next(ctx).Await(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, text)
		seen.Set(ctx, len(got))
	}
	return got, nil
}

func runSteps(ctx flow.Context, n int) (int, error) {
	total := 0
	for i := range n {
		value, err := flow.Step(ctx, fmt.Sprintf("step %d", i), func(context.Context) (int, error) { return i, nil })
		if err != nil {
			return 0, err
		}
		total += value
	}
	return total, flow.Sleep(ctx, time.Millisecond)
}

func runRounds(ctx flow.Context, left int) (int, error) {
	if _, err := double.Call(ctx, left); err != nil {
		return 0, err
	}
	if left == 0 {
		return 42, nil
	}
	return rounds.Continue(ctx, left-1)
}

func doubling(_ context.Context, n int) (int, error) { return 2 * n, nil }

func TestEveryPrimitiveThroughTheWholeSuite(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	told := make(chan error, 1)
	hanging := make(chan struct{}, 1)
	suite := start(t, embedded.Options{},
		sum.With(runSum), stubborn.With(func(ctx flow.Context, in string) (int, error) { return flaky.Call(ctx, in) }),
		refusal.With(func(ctx flow.Context, in string) (int, error) { return declined.Call(ctx, in) }),
		inbox.With(runInbox), steps.With(runSteps), rounds.With(runRounds),
		cancelled.With(func(ctx flow.Context, in string) (string, error) { return "", hang.Do(ctx, in) }),
		double.With(doubling),
		flaky.With(func(context.Context, string) (int, error) {
			if n := tries.Add(1); n < 3 {
				return 0, fmt.Errorf("failure %d", n)
			}
			return 7, nil
		}),
		declined.With(func(context.Context, string) (int, error) {
			return 0, task.Permanent(task.Failure("card_declined", "the bank said no"))
		}),
		hang.With(func(ctx context.Context, _ string) (flow.None, error) {
			hanging <- struct{}{}
			<-ctx.Done()
			told <- context.Cause(ctx)
			return flow.None{}, ctx.Err()
		}),
	)
	t.Run("parallel tasks", func(t *testing.T) {
		t.Parallel()
		run, err := sum.Start(within(t), suite, []int{1, 2, 3, 4, 5})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := run.Result(within(t)); err != nil || got != 30 {
			t.Errorf("got %d, %v, want 30", got, err)
		}
	})
	t.Run("retries", func(t *testing.T) {
		t.Parallel()
		run, err := stubborn.Start(within(t), suite, "x")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := run.Result(within(t)); err != nil || got != 7 || tries.Load() != 3 {
			t.Errorf("got %d, %v after %d tries, want 7 after 3", got, err, tries.Load())
		}
	})
	t.Run("failure reaches the client", func(t *testing.T) {
		t.Parallel()
		run, err := refusal.Start(within(t), suite, "x")
		if err != nil {
			t.Fatal(err)
		}
		_, err = run.Result(within(t))
		if failed, ok := errors.AsType[*flow.RunError](err); !ok || failed.Code != "card_declined" {
			t.Errorf("got %v, want card_declined", err)
		}
	})
	t.Run("signals and view", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		run, err := inbox.Start(ctx, suite, 3, flow.ID("inbox/1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "b", "c"} {
			if err := message.Send(ctx, suite, "inbox/1", text); err != nil {
				t.Fatal(err)
			}
		}
		got, err := run.Result(ctx)
		if err != nil || fmt.Sprint(got) != "[a b c]" {
			t.Errorf("got %v, %v", got, err)
		}
		// Views are read from the read model, which follows in its own time.
		for n := 0; n != 3; {
			if n, err = seen.Get(ctx, suite, "inbox/1"); err != nil {
				t.Fatalf("view is %d, %v, want 3", n, err)
			}
		}
	})
	t.Run("a repeated start is one run", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		if _, err := sum.Start(ctx, suite, []int{1}, flow.ID("repeated"), flow.RequestID("order 1")); !errors.Is(err, events.ErrBadID) {
			t.Fatalf("a request id with a space: %v", err)
		}
		first, err := sum.Start(ctx, suite, []int{1}, flow.ID("repeated"), flow.RequestID("order-1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.Result(ctx); err != nil {
			t.Fatal(err)
		}
		again, err := sum.Start(ctx, suite, []int{1}, flow.ID("repeated"), flow.RequestID("order-1"))
		if err != nil || again.RunID() != first.RunID() {
			t.Errorf("the same request started run %s after %s: %v", again.RunID(), first.RunID(), err)
		}
		other, err := sum.Start(ctx, suite, []int{1}, flow.ID("repeated"), flow.RequestID("order-2"))
		if err != nil || other.RunID() == first.RunID() {
			t.Errorf("another request got run %s again: %v", other.RunID(), err)
		}
	})
	t.Run("steps and timer", func(t *testing.T) {
		t.Parallel()
		run, err := steps.Start(within(t), suite, 10)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := run.Result(within(t)); err != nil || got != 45 {
			t.Errorf("got %d, %v, want 45", got, err)
		}
	})
	t.Run("continue", func(t *testing.T) {
		t.Parallel()
		run, err := rounds.Start(within(t), suite, 5)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := run.Result(within(t)); err != nil || got != 42 {
			t.Errorf("got %d, %v, want 42", got, err)
		}
	})
	t.Run("cancel reaches the task", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		run, err := cancelled.Start(ctx, suite, "x")
		if err != nil {
			t.Fatal(err)
		}
		<-hanging
		if err := run.Cancel(ctx, "no longer wanted"); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Result(ctx); !errors.Is(err, flow.ErrCancelled) {
			t.Errorf("got %v, want cancelled", err)
		}
		if cause := <-told; cause == nil {
			t.Error("the task was not told why")
		}
	})
}

func TestAnOpenRunGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := within(t)
	first := start(t, embedded.Options{Dir: dir}, inbox.With(runInbox))
	if _, err := inbox.Start(ctx, first, 2, flow.ID("inbox/2")); err != nil {
		t.Fatal(err)
	}
	if err := message.Send(ctx, first, "inbox/2", "before"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, embedded.Options{Dir: dir}, inbox.With(runInbox))
	if err := message.Send(ctx, second, "inbox/2", "after"); err != nil {
		t.Fatal(err)
	}
	got, err := inbox.Attach(second, "inbox/2").Result(ctx)
	if err != nil || fmt.Sprint(got) != "[before after]" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTwoSuitesCannotShareADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, embedded.Options{Dir: dir})
	if _, err := embedded.Start(t.Context(), embedded.Options{Dir: dir}); err == nil {
		t.Error("a second suite opened the same directory")
	} else {
		t.Log(err)
	}
}
