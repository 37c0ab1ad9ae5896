package flow_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

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
