package flow_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

// fails runs code as a workflow whose activation fails, and returns why.
func fails(t *testing.T, code func(flow.Context, int) (string, error), bindings ...flow.Binding) string {
	t.Helper()
	r := record(t)
	env := flowtest.New(r, append(bindings, testFlow.With(code))...)
	out, err := testFlow.Run(t.Context(), env, 1, flow.ID("test"))
	if err == nil || env.Status("test") != events.StatusRunning {
		t.Errorf("the run ended with %q, %v, although its code is wrong", out, err)
	}
	r.end()
	if r.text() == "" {
		t.Error("flowtest did not fail the test")
	}
	return fmt.Sprint(err)
}

func TestContextOnAnotherGoroutine(t *testing.T) {
	t.Parallel()
	text := fails(t, func(ctx flow.Context, _ int) (string, error) {
		got := make(chan error)
		go func() {
			_, err := double.Call(ctx, 1)
			got <- err
		}()
		return "", <-got
	}, double.With(doubled))
	wants(t, text, events.CodeNonDeterministic, "on a goroutine that is not the workflow's", "misuse_test.go:")
}

func TestContextInAStep(t *testing.T) {
	t.Parallel()
	text := fails(t, func(ctx flow.Context, _ int) (string, error) {
		return flow.Step(ctx, "wrong", func(context.Context) (string, error) {
			if err := flow.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			return "slept", nil
		}, flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
	})
	wants(t, text, "on a goroutine that is not the workflow's")
}

func TestContextAfterTheRun(t *testing.T) {
	t.Parallel()
	var kept flow.Context
	_, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		kept = ctx
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := flow.Sleep(kept, time.Hour); err == nil {
		t.Error("a context worked after its run")
	}
	if won := flow.First(kept, flow.After(kept, 0)); won != nil {
		t.Errorf("First returned %v", won)
	}
	if _, ok, err := Unsubscribed.TryNext(kept); ok || err == nil {
		t.Error("TryNext worked after the run")
	}
	LastBilled.Set(kept, time.Time{})
}

func TestContextOfAnotherRun(t *testing.T) {
	t.Parallel()
	var kept flow.Context
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		if n == 1 {
			kept = ctx
			return "", flow.Sleep(ctx, time.Hour)
		}
		_, err := double.Call(kept, 1)
		if err == nil {
			err = errors.New("the other run's context worked")
		}
		return err.Error(), nil
	}), double.With(doubled))
	if _, err := testFlow.Start(t.Context(), env, 1); err != nil {
		t.Fatal(err)
	}
	out, err := testFlow.Run(t.Context(), env, 2)
	wants(t, out+fmt.Sprint(err), "with the context of another run")
}

func TestZeroContext(t *testing.T) {
	t.Parallel()
	defer func() { wants(t, fmt.Sprint(recover()), "the zero flow.Context") }()
	_, _ = double.Call(flow.Context{}, 1)
}

func TestPanicIsShownWithItsLine(t *testing.T) {
	t.Parallel()
	text := fails(t, func(flow.Context, int) (string, error) {
		var m map[string]int
		m["x"] = 1 //nolint:staticcheck // it is to panic
		return "", nil
	})
	wants(t, text, events.CodeWorkflowPanicked, "assignment to entry in nil map", "misuse_test.go:")
	wants(t, fails(t, func(ctx flow.Context, _ int) (string, error) {
		_, err := flow.Go(ctx, func(flow.Context, int) (int, error) { panic("in a fiber") }, 1).Await(ctx)
		return "", err
	}), events.CodeWorkflowPanicked, "in a fiber")
	wants(t, fails(t, func(flow.Context, int) (string, error) {
		runtime.Goexit()
		return "", nil
	}), "runtime.Goexit")
}

func TestPanicCompensatesNothing(t *testing.T) {
	t.Parallel()
	charges := 0
	bindings := double.With(func(context.Context, int) (int, error) {
		charges++
		return 0, nil
	})
	wants(t, fails(t, func(ctx flow.Context, n int) (string, error) {
		defer func() { _, _ = double.Call(ctx, n) }()
		panic("a bug")
	}, bindings), "a bug")
	wants(t, fails(t, func(ctx flow.Context, n int) (string, error) {
		defer func() {
			_ = recover()
			_, _ = double.Call(ctx, n)
		}()
		panic("a bug")
	}, bindings), "by a deferred function while the code panics")
	if charges != 0 {
		t.Errorf("%d calls were made by code that panicked", charges)
	}
	out, _, err := play(t, func(ctx flow.Context, n int) (string, error) {
		func() {
			defer func() { _ = recover() }()
			panic("handled")
		}()
		_, err := double.Call(ctx, n)
		return "went on", err
	}, bindings)
	if out != "went on" || err != nil || charges != 1 {
		t.Errorf("after a recovered panic: %q, %v, %d calls", out, err, charges)
	}
}

func TestContinueMisused(t *testing.T) {
	t.Parallel()
	text := fails(t, func(ctx flow.Context, n int) (string, error) {
		flow.Go(ctx, double.Call, 1)
		return testFlow.Continue(ctx, n+1)
	}, double.With(doubled))
	wants(t, text, events.CodeContinuePending, `task "test.Double" (step 1)`)
	other := flow.NewWorkflow[int, string]("test.Other")
	wants(t, fails(t, func(ctx flow.Context, n int) (string, error) { return other.Continue(ctx, n) }),
		events.CodeBadDefinition, "a run continues as what it is")
}

func TestCodeThatDependsOnMoreThanItsHistory(t *testing.T) {
	t.Parallel()
	view := flow.NewView[int]("test.View")
	other := flow.NewTask[int, int]("test.Other")
	sleep := func(ctx flow.Context) { _ = flow.Sleep(ctx, time.Hour) }
	call := func(ctx flow.Context) { _, _ = double.Call(ctx, 1) }
	nothing := func(flow.Context) {}
	for name, c := range map[string]struct {
		before, after func(flow.Context)
		want          []string
	}{
		"another task":    {call, func(ctx flow.Context) { _, _ = other.Call(ctx, 1) }, []string{`has a call of task "test.Double" (step 1)`, `made a call of task "test.Other" (step 1)`, "misuse_test.go:"}},
		"a call more":     {nothing, call, []string{"at event 4 the history has the end of the run: completed", `made a call of task "test.Double"`}},
		"a call less":     {call, nothing, []string{`has a call of task "test.Double"`, "made the end of the run: completed"}},
		"timer for call":  {call, sleep, []string{"made a timer for 2026-01-01T01:00:00Z (step 1)"}},
		"another time":    {sleep, func(ctx flow.Context) { _ = flow.Sleep(ctx, time.Minute) }, []string{"a timer for 2026-01-01T00:01:00Z"}},
		"a view":          {func(ctx flow.Context) { view.Set(ctx, 1) }, nothing, []string{`has the setting of view "test.View"`}},
		"waits instead":   {call, func(ctx flow.Context) { _, _ = Unsubscribed.Next(ctx).Await(ctx) }, []string{"but the code made no call and waits", "misuse_test.go:"}},
		"another step":    {func(ctx flow.Context) { step(ctx, "a") }, func(ctx flow.Context) { step(ctx, "b") }, []string{`has the end of step "a" (step 1)`, "no call and waits"}},
		"end and failure": {nothing, func(flow.Context) { panic(errReturn) }, []string{"the end of the run: failed"}},
		"end and go on":   {nothing, func(flow.Context) { panic(errContinue) }, []string{"made a continuation of the run"}},
		"cancel":          {func(ctx flow.Context) { cancelled(ctx, time.Hour) }, func(ctx flow.Context) { cancelled(ctx, 0) }, []string{"a timer for"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := true
			r := record(t)
			env := flowtest.New(r, double.With(doubled), other.With(doubled), testFlow.With(func(ctx flow.Context, _ int) (out string, err error) {
				defer func() {
					switch recover() {
					case errReturn:
						err = errReturn
					case errContinue:
						out, err = testFlow.Continue(ctx, 1)
					}
				}()
				now := c.before
				if !first {
					now = c.after
				}
				first = false
				now(ctx)
				return "", nil
			}))
			if _, err := testFlow.Run(t.Context(), env, 1); err != nil {
				t.Fatal(err)
			}
			r.end()
			wants(t, r.text(), append(c.want, "does not fit its history")...)
		})
	}
}

var errReturn, errContinue = errors.New("return"), errors.New("continue")

func step(ctx flow.Context, label string) {
	_, _ = flow.Step(ctx, label, func(context.Context) (int, error) { return 1, nil })
}

func cancelled(ctx flow.Context, d time.Duration) {
	_, cancel := flow.WithTimeout(ctx, d)
	cancel()
}

func TestReplayOfARecordedHistory(t *testing.T) {
	t.Parallel()
	code := func(second flow.Task[int, int]) flow.Binding {
		return testFlow.With(func(ctx flow.Context, n int) (string, error) {
			if _, err := double.Call(ctx, n); err != nil {
				return "", err
			}
			if err := flow.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			_, err := second.Call(ctx, n)
			return "", err
		})
	}
	other := flow.NewTask[int, int]("test.Other")
	env := flowtest.New(t, code(double), double.With(doubled))
	if _, err := testFlow.Run(t.Context(), env, 1, flow.ID("r")); err != nil {
		t.Fatal(err)
	}
	history := env.History("r")
	flowtest.Replay(t, history, code(double))
	r := record(t)
	flowtest.Replay(r, history, code(other))
	wants(t, r.text(), `has a call of task "test.Double" (step 3)`, `made a call of task "test.Other" (step 3)`, "misuse_test.go:")
	broken := record(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		flowtest.Replay(broken, history[:len(history)/2], code(double))
	}()
	<-done
	wants(t, broken.text(), "the history cannot be read")
}
