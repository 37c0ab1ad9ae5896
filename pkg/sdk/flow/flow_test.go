package flow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

func TestJoinOfCallsCostsOneActivation(t *testing.T) {
	t.Parallel()
	out, env, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		var fs []*flow.Future[int]
		for i := range 100 {
			fs = append(fs, flow.Go(ctx, double.Call, i))
		}
		values, err := flow.All(ctx, fs...)
		return fmt.Sprint(len(values), values[99]), err
	}, double.With(doubled))
	if out != "100 198" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if n := count[events.ActivationScheduled](t, env); n != 2 {
		t.Errorf("%d activations, want 2: the start and the join", n)
	}
}

// All has the first error in the order of its arguments, wherever it is and whichever came first.
func TestAllReturnsTheFirstErrorOfItsArguments(t *testing.T) {
	t.Parallel()
	fail := func(_ context.Context, n int) (int, error) {
		if n > 0 {
			return 0, task.Failure(fmt.Sprint("code_", n), "it fails")
		}
		return n, nil
	}
	for _, c := range []struct {
		calls []int
		want  string
	}{
		{[]int{0, 0, 1}, "code_1"},
		{[]int{0, 2, 1}, "code_2"},
		{[]int{3, 0, 0}, "code_3"},
	} {
		_, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
			var fs []*flow.Future[int]
			for _, n := range c.calls {
				fs = append(fs, flow.Go(ctx, double.Opt(flow.Retry(flow.RetryPolicy{MaxAttempts: 1})).Call, n))
			}
			_, err := flow.All(ctx, fs...)
			return "", err
		}, double.With(fail))
		var failed *flow.RunError
		if !errors.As(err, &failed) || failed.Code != c.want {
			t.Errorf("All of %v: %v; want %s", c.calls, err, c.want)
		}
	}
}

func TestManyIntentsAreReportedInPages(t *testing.T) {
	t.Parallel()
	out, env, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		var fs []*flow.Future[int]
		for i := range 2500 {
			fs = append(fs, flow.Go(ctx, double.Call, i))
		}
		values, err := flow.All(ctx, fs...)
		return fmt.Sprint(len(values), values[2499]), err
	}, double.With(doubled))
	if out != "2500 4998" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if n := count[events.ActivationScheduled](t, env); n < 4 {
		t.Errorf("%d activations, want 4 or more: three pages and the join", n)
	}
}

func TestGoRunsUntilItFirstWaits(t *testing.T) {
	t.Parallel()
	out, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		var seen []string
		part := func(ctx flow.Context, name string) (int, error) {
			seen = append(seen, name+"1")
			v, err := double.Call(ctx, 1)
			seen = append(seen, name+"2")
			return v, err
		}
		a := flow.Go(ctx, part, "a")
		b := flow.Go(ctx, part, "b")
		seen = append(seen, "main")
		if _, err := flow.All(ctx, b, a); err != nil {
			return "", err
		}
		return strings.Join(seen, " "), nil
	}, double.With(doubled))
	if out != "a1 b1 main a2 b2" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestFirstFollowsTheLogThenTheArguments(t *testing.T) {
	t.Parallel()
	out, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		at := flow.Now(ctx).Add(time.Second)
		a, b, c := flow.At(ctx, at), flow.At(ctx, at), flow.At(ctx, at.Add(-time.Millisecond))
		name := func(f flow.Awaitable) string {
			return map[flow.Awaitable]string{a: "a", b: "b", c: "c"}[f]
		}
		first := name(flow.First(ctx, a, b, c))
		if err := flow.Sleep(ctx, 2*time.Second); err != nil {
			return "", err
		}
		return first + name(flow.First(ctx, b, a)), nil
	})
	if out != "ca" || err != nil {
		t.Errorf("%q, %v; want c, which was due first, and a, which the log has before b", out, err)
	}
}

func TestSignalsAreKeptInOrder(t *testing.T) {
	t.Parallel()
	signal := flow.NewSignal[int]("test.Signal")
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		if err := flow.Sleep(ctx, time.Minute); err != nil {
			return "", err
		}
		var seen []int
		for {
			v, ok, err := signal.TryNext(ctx)
			if err != nil {
				return "", err
			}
			if !ok {
				break
			}
			seen = append(seen, v)
		}
		if n > 0 { // what came meanwhile survives
			return testFlow.Continue(ctx, n-1)
		}
		a, b := signal.Next(ctx), signal.Next(ctx)
		v, err := a.Await(ctx)
		if err != nil {
			return "", err
		}
		again, err := b.Await(ctx)
		if err != nil {
			return "", err
		}
		last, err := signal.Next(ctx).Await(ctx)
		return fmt.Sprint(seen, v, again, last), err
	}))
	run, err := testFlow.Start(t.Context(), env, 0, flow.ID("s"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(n int) {
		t.Helper()
		if err := signal.Send(t.Context(), env, "s", n); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	send(2)
	send(3)
	env.Advance(time.Minute)
	send(4)
	send(5)
	if out, err := run.Result(t.Context()); err != nil || out != "[1 2 3] 4 4 5" {
		t.Errorf("%q, %v", out, err)
	}
	if err := signal.Send(t.Context(), env, "s", 6); !errors.Is(err, &events.Error{Code: events.RunEnded}) {
		t.Errorf("a signal to an ended run: %v", err)
	}
}

func TestUnreadSignalsSurviveContinue(t *testing.T) {
	t.Parallel()
	signal := flow.NewSignal[int]("test.Signal")
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		v, err := signal.Next(ctx).Await(ctx)
		if err != nil || n == 3 {
			return fmt.Sprint(n, v), err
		}
		return testFlow.Continue(ctx, n+1)
	}))
	run, err := testFlow.Start(t.Context(), env, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := signal.Send(t.Context(), env, run.ID(), 10+i); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run.Result(t.Context()); out != "3 12" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestTwoFibersGetEachSignalOnce(t *testing.T) {
	t.Parallel()
	signal := flow.NewSignal[int]("test.Signal")
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, _ int) (string, error) {
		take := func(ctx flow.Context, _ flow.None) (int, error) { return signal.Next(ctx).Await(ctx) }
		values, err := flow.All(ctx, flow.Go(ctx, take, flow.None{}), flow.Go(ctx, take, flow.None{}))
		return fmt.Sprint(values), err
	}))
	run, err := testFlow.Start(t.Context(), env, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := signal.Send(t.Context(), env, run.ID(), i); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run.Result(t.Context()); out != "[0 1]" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

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

func TestSteps(t *testing.T) {
	t.Parallel()
	tries, keys := 0, map[string]bool{}
	out, env, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		a, err := flow.Step(ctx, "quick", func(context.Context) (int, error) { return 1, nil })
		if err != nil {
			return "", err
		}
		b, err := flow.Step(ctx, "slow to succeed", func(ctx context.Context) (int, error) {
			tries++
			keys[task.Info(ctx).ID.String()] = true
			if tries < 7 {
				return 0, errors.New("not yet")
			}
			return tries, nil
		})
		if err != nil {
			return "", err
		}
		_, err = flow.Step(ctx, "hopeless", func(context.Context) (int, error) { panic("ouch") }, flow.Retry(flow.RetryPolicy{MaxAttempts: 2}))
		var failed *flow.TaskError
		if !errors.As(err, &failed) || failed.Code != events.CodeTaskPanicked || failed.Task != "hopeless" {
			return "", fmt.Errorf("hopeless: %w", err)
		}
		if !strings.Contains(failed.Message, "flow_test.go:") {
			return "", fmt.Errorf("the panic has no line: %w", err)
		}
		_, err = flow.Step(ctx, "too slow", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, flow.Timeout(time.Millisecond), flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
		if !errors.Is(err, flow.ErrTimeout) {
			return "", fmt.Errorf("too slow: %w", err)
		}
		return fmt.Sprint(a, b), nil
	})
	if out != "1 7" || err != nil || len(keys) != 1 {
		t.Errorf("%q, %v, %d keys", out, err, len(keys))
	}
	if n := count[events.StepBackedOff](t, env); n != 3 { // 1+2+4 s in the worker, then 8, 16 and 32 s by the engine
		t.Errorf("%d back-offs by the engine, want 3", n)
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

func TestNowRandIDAndLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var seen []string
	code := func(ctx flow.Context, n int) (string, error) {
		start := flow.Now(ctx)
		a, b := flow.Rand(ctx).Uint64(), flow.Rand(ctx).Uint64()
		id := flow.NewID(ctx)
		flow.Log(ctx).Info("begun")
		if err := flow.Sleep(ctx, time.Hour); err != nil {
			return "", err
		}
		flow.Log(ctx).Info("slept")
		if got := flow.Now(ctx).Sub(start); got != time.Hour || a == b {
			return "", fmt.Errorf("slept %v, random %d %d", got, a, b)
		}
		seen = append(seen, id)
		if n > 0 {
			return testFlow.Continue(ctx, n-1)
		}
		return string(flow.Self(ctx).WorkflowID), nil
	}
	r := record(t)
	env := flowtest.NewWith(r, flowtest.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, testFlow.With(code))
	out, err := testFlow.Run(t.Context(), env, 1, flow.ID("me"))
	r.end()
	if out != "me" || err != nil || r.text() != "" {
		t.Errorf("%q, %v, %s", out, err, r.text())
	}
	if n := strings.Count(log.String(), "begun"); n != 2 {
		t.Errorf("%d lines in two generations:\n%s", n, log.String())
	}
	wants(t, log.String(), "workflow_id=me", "workflow_type=test.Flow", "run_id=")
	if len(seen) != 4 || seen[0] != seen[2] || seen[1] != seen[3] || seen[0] == seen[1] {
		t.Errorf("ids of two generations, live and replayed: %v", seen)
	}
}

func TestPayloadsThatDoNotFit(t *testing.T) {
	t.Parallel()
	text := flow.NewTask[string, string]("test.Double")
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		if n == 1 {
			return text.Call(ctx, "one")
		}
		return text.Call(ctx, strings.Repeat("x", 3<<20))
	}), double.With(doubled))
	var failed *flow.RunError
	_, err := testFlow.Run(t.Context(), env, 1)
	if !errors.As(err, &failed) || failed.Code != events.CodeBadPayload {
		t.Errorf("a string for an int: %v", err)
	}
	wants(t, fmt.Sprint(err), "cannot decode int as json")
	if _, err := testFlow.Run(t.Context(), env, 2); !errors.As(err, &failed) || failed.Code != events.CodePayloadTooLarge {
		t.Errorf("3 MiB: %v", err)
	}
	other := flow.NewWorkflow[string, string]("test.Flow")
	if _, err := other.Run(t.Context(), env, "x"); !errors.As(err, &failed) || failed.Code != events.CodeBadPayload {
		t.Errorf("a wrong input: %v", err)
	}
}

func TestStartsAndIDs(t *testing.T) {
	t.Parallel()
	env := flowtest.New(t, testFlow.With(func(ctx flow.Context, n int) (string, error) {
		return fmt.Sprint(n), flow.Sleep(ctx, time.Hour)
	}))
	first, err := testFlow.Start(t.Context(), env, 1, flow.ID("a"), flow.RequestID("r1"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := testFlow.Start(t.Context(), env, 1, flow.ID("a"), flow.RequestID("r1")); err != nil || again.RunID() != first.RunID() {
		t.Errorf("the same request: %v, %v", again.RunID(), err)
	}
	if _, err := testFlow.Start(t.Context(), env, 1, flow.ID("a")); !errors.Is(err, &events.Error{Code: events.AlreadyOpen}) {
		t.Errorf("a second start: %v", err)
	}
	if joined, err := testFlow.Start(t.Context(), env, 1, flow.ID("a"), flow.AttachOpen); err != nil || joined.RunID() != first.RunID() {
		t.Errorf("attach: %v, %v", joined.RunID(), err)
	}
	second, err := testFlow.Start(t.Context(), env, 2, flow.ID("a"), flow.TerminateOpen)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Result(t.Context()); !errors.Is(err, flow.ErrTerminated) {
		t.Errorf("the terminated run: %v", err)
	}
	if out, err := testFlow.Attach(env, "a").Result(t.Context()); out != "2" || err != nil || env.Status("a") != events.StatusCompleted {
		t.Errorf("%q, %v, %s", out, err, env.Status("a"))
	}
	if _, err := testFlow.Start(t.Context(), env, 3, flow.ID("a"), flow.RejectAny); !errors.Is(err, &events.Error{Code: events.IDTaken}) {
		t.Errorf("reject any: %v", err)
	}
	if err := second.Terminate(t.Context(), ""); !errors.Is(err, &events.Error{Code: events.RunEnded}) {
		t.Errorf("terminate after the end: %v", err)
	}
	late, err := testFlow.Start(t.Context(), env, 4, flow.RunTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Result(t.Context()); !errors.Is(err, flow.ErrTimeout) {
		t.Errorf("run timeout: %v", err)
	}
	if _, err := testFlow.Start(t.Context(), env, 4, flow.ID(" a")); !errors.Is(err, events.ErrBadID) {
		t.Errorf("a bad id: %v", err)
	}
	if _, err := testFlow.Start(t.Context(), env, 4, flow.RunTimeout(-1)); err == nil {
		t.Error("a negative run timeout was accepted")
	}
	if _, err := flow.NewWorkflow[int, int]("test.Other").Start(t.Context(), env, 4); !errors.Is(err, &events.Error{Code: events.NotImplemented}) {
		t.Errorf("a workflow without binding: %v", err)
	}
	view := flow.NewView[int]("test.View")
	if _, err := view.Get(t.Context(), env, "a"); !errors.Is(err, &events.Error{Code: events.ViewNotFound}) {
		t.Errorf("a view that is not set: %v", err)
	}
	if _, err := view.Get(t.Context(), env, "nobody"); !errors.Is(err, &events.Error{Code: events.NotFound}) {
		t.Errorf("a view of nobody: %v", err)
	}
}
