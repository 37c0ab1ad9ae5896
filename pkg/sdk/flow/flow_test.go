package flow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

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
