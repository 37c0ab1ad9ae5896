package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
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

// A page that is full in the middle of a fiber holds up those that began it, too: each goes on after the one it began.
func TestPagesEndInFibersOfFibers(t *testing.T) {
	t.Parallel()
	out, env, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		var seen []string
		var begin func(ctx flow.Context, depth int) (int, error)
		begin = func(ctx flow.Context, depth int) (int, error) {
			if depth > 0 {
				inner := flow.Go(ctx, begin, depth-1)
				seen = append(seen, fmt.Sprint(depth))
				return inner.Await(ctx)
			}
			var fs []*flow.Future[int]
			for i := range 2500 {
				fs = append(fs, flow.Go(ctx, double.Call, i))
			}
			seen = append(seen, "0")
			values, err := flow.All(ctx, fs...)
			return len(values), err
		}
		outer := flow.Go(ctx, begin, 2)
		seen = append(seen, "main")
		n, err := outer.Await(ctx)
		return fmt.Sprint(seen, n), err
	}, double.With(doubled))
	if out != "[0 1 2 main] 2500" || err != nil {
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
