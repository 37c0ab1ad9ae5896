package flowtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	process = flow.NewWorkflow[int, string]("test.Process")
	work    = flow.NewTask[int, int]("test.Work")
	signal  = flow.NewSignal[int]("test.Signal")
	view    = flow.NewView[int]("test.View")
)

// recorder is a test that writes down what fails it.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.failures, "\n")
}

func TestClockMovesOnlyWhenTheTestSays(t *testing.T) {
	t.Parallel()
	env := flowtest.NewWith(t, flowtest.Options{Start: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}, process.With(func(ctx flow.Context, n int) (string, error) {
		for i := range n {
			if err := flow.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			view.Set(ctx, i+1)
		}
		return flow.Now(ctx).Format(time.DateTime), nil
	}))
	run, err := process.Start(t.Context(), env, 10)
	if err != nil {
		t.Fatal(err)
	}
	seen := func() int {
		n, _ := view.Get(t.Context(), env, run.ID())
		return n
	}
	env.Advance(59 * time.Minute)
	if n := seen(); n != 0 {
		t.Errorf("after 59 minutes: %d", n)
	}
	env.Advance(time.Minute)
	if n := seen(); n != 1 {
		t.Errorf("after an hour: %d", n)
	}
	env.AdvanceUntil(func() bool { return seen() == 5 })
	if now := env.Now().Format(time.DateTime); now != "2030-01-01 05:00:00" {
		t.Errorf("the fifth was seen at %s", now)
	}
	env.AdvanceTo(env.Now().Add(-time.Hour)) // the past is over
	if out, err := run.Result(t.Context()); out != "2030-01-01 10:00:00" || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

func TestResultSaysWhatTheRunWaitsFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := flowtest.New(t, process.With(func(ctx flow.Context, _ int) (string, error) {
			_, err := signal.Next(ctx).Await(ctx)
			return "", err
		}))
		_, err := process.Run(t.Context(), env, 1, flow.ID("p"))
		if want := `flowtest: the run of workflow "p" does not end: it waits for signal 1 of "test.Signal"`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestTaskWithoutBinding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		env := flowtest.New(r, process.With(func(ctx flow.Context, n int) (string, error) {
			_, err := work.Call(ctx, n)
			return "", err
		}))
		_, err := process.Run(t.Context(), env, 1)
		if want := `task "test.Work" has no binding`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
		if !strings.Contains(r.text(), "give one to flowtest.New") {
			t.Errorf("%s", r.text())
		}
	})
}

func TestSlowTasksGoOnBeside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := flowtest.New(t,
			process.With(func(ctx flow.Context, _ int) (string, error) {
				slow, quick := flow.Go(ctx, work.Call, 0), flow.Go(ctx, work.Call, 1)
				first := flow.First(ctx, slow, quick)
				values, err := flow.All(ctx, slow, quick)
				return fmt.Sprint(first == quick, values), err
			}),
			work.With(func(_ context.Context, n int) (int, error) {
				if n == 0 {
					time.Sleep(time.Minute)
				}
				return n, nil
			}))
		if out, err := process.Run(t.Context(), env, 1); out != "true [0 1]" || err != nil {
			t.Errorf("%q %v", out, err)
		}
	})
}

func TestTasksMayUseTheClient(t *testing.T) {
	t.Parallel()
	var env *flowtest.Env
	env = flowtest.New(t,
		process.With(func(ctx flow.Context, n int) (string, error) {
			if _, err := work.Call(ctx, n); err != nil {
				return "", err
			}
			v, err := signal.Next(ctx).Await(ctx)
			return fmt.Sprint(v), err
		}),
		work.With(func(ctx context.Context, n int) (int, error) { return n, signal.Send(ctx, env, "p", n+1) }))
	if out, err := process.Run(t.Context(), env, 1, flow.ID("p")); out != "2" || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

func TestTaskThatEndsItsGoroutineFails(t *testing.T) {
	t.Parallel()
	env := flowtest.New(t,
		process.With(func(ctx flow.Context, n int) (string, error) {
			_, err := work.Call(ctx, n)
			return "", err
		}),
		work.With(func(context.Context, int) (int, error) {
			runtime.Goexit()
			return 0, nil
		}))
	_, err := process.Run(t.Context(), env, 1)
	var failed *flow.RunError
	if !errors.As(err, &failed) || failed.Code != events.CodeTaskPanicked {
		t.Errorf("%v", err)
	}
}

func TestOpenRunsAreCheckedWhenTheTestEnds(t *testing.T) {
	t.Parallel()
	first := true
	r := &recorder{TB: t}
	t.Run("inner", func(t *testing.T) {
		r.TB = t
		env := flowtest.New(r, process.With(func(ctx flow.Context, _ int) (string, error) {
			if first {
				first = false
				return "", flow.Sleep(ctx, time.Hour)
			}
			return "", nil
		}))
		if _, err := process.Start(t.Context(), env, 1); err != nil {
			t.Fatal(err)
		}
	})
	if !strings.Contains(r.text(), "cannot be replayed") {
		t.Errorf("the code depends on a variable, and the test was told %q", r.text())
	}
}

func TestNothingLeftToHappen(t *testing.T) {
	t.Parallel()
	r := &recorder{TB: t}
	env := flowtest.New(r)
	over := make(chan struct{})
	go func() {
		defer close(over)
		env.AdvanceUntil(func() bool { return false })
	}()
	<-over
	if !strings.Contains(r.text(), "nothing is left to happen") {
		t.Errorf("%s", r.text())
	}
	over = make(chan struct{})
	go func() {
		defer close(over)
		env.History("nobody")
	}()
	<-over
	if !strings.Contains(r.text(), `there is no run of workflow "nobody"`) {
		t.Errorf("%s", r.text())
	}
}
