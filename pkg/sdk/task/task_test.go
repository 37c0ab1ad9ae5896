package task_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

func TestOutsideOfATask(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	if e := task.Info(ctx); e.ID.String() != "/0" || e.Attempt != 0 {
		t.Errorf("%+v", e)
	}
	var n int
	if ok, err := task.LastDetails(ctx, &n); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if err := task.Heartbeat(ctx, 1); err != nil {
		t.Error(err)
	}
	stop := errors.New("stop")
	cancel(stop)
	if err := task.Heartbeat(ctx, 1); !errors.Is(err, stop) {
		t.Errorf("a heartbeat after the end: %v", err)
	}
}

func TestHeartbeatsAndDetails(t *testing.T) {
	t.Parallel()
	id := events.TaskID{Run: events.MakeRunID(0, [10]byte{}), Step: 7}
	var beats []events.Payload
	gone := errors.New("gone")
	ctx := task.NewContext(t.Context(), task.Execution{ID: id, Attempt: 2, Details: events.Payload{Encoding: "json", Data: []byte("41")}},
		payload.Converter{}, func(p events.Payload) error {
			if beats = append(beats, p); len(beats) > 2 {
				return gone
			}
			return nil
		})
	if got := task.Info(ctx).ID.String(); got != "00000000-0000-7000-8000-000000000000/7" {
		t.Errorf("the idempotency key is %q", got)
	}
	var n int
	if ok, err := task.LastDetails(ctx, &n); !ok || err != nil || n != 41 {
		t.Errorf("%d %v %v", n, ok, err)
	}
	if err := errors.Join(task.Heartbeat(ctx, nil), task.Heartbeat(ctx, 42)); err != nil {
		t.Error(err)
	}
	if !beats[0].IsZero() || string(beats[1].Data) != "42" {
		t.Errorf("%v", beats)
	}
	if err := task.Heartbeat(ctx, nil); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	if err := task.Heartbeat(ctx, make(chan int)); err == nil {
		t.Error("a channel is no details")
	}
}

func TestErrorsAsTheyTravel(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	coded := task.Failure("declined", "the card was declined")
	for name, c := range map[string]struct {
		err  error
		want events.Failure
	}{
		"plain":     {plain, events.Failure{Code: "default", Message: "plain", Type: "*errors.errorString"}},
		"wrapped":   {fmt.Errorf("a: %w", plain), events.Failure{Code: "default", Message: "a: plain", Type: "*fmt.wrapError", Cause: &events.Failure{Message: "plain", Type: "*errors.errorString"}}},
		"permanent": {task.Permanent(plain), events.Failure{Code: "default", Message: "plain", Type: "*errors.errorString", NonRetryable: true}},
		"permanent inside": {
			fmt.Errorf("a: %w", task.Permanent(task.RetryAfter(plain, 1))),
			events.Failure{Code: "default", Message: "a: plain", Type: "*fmt.wrapError", NonRetryable: true, Cause: &events.Failure{Message: "plain", Type: "*errors.errorString", NonRetryable: true}},
		},
		"coded":   {coded, events.Failure{Code: "declined", Message: "the card was declined", Type: "*task.Error"}},
		"details": {coded.With(7), events.Failure{Code: "declined", Message: "the card was declined", Type: "*task.Error", Details: events.Payload{Encoding: "json", Data: []byte("7")}}},
		"because": {
			fmt.Errorf("pay: %w", coded.Because(plain)),
			events.Failure{Code: "declined", Message: "pay: the card was declined: plain", Type: "*fmt.wrapError", Cause: &events.Failure{Message: "plain", Type: "*errors.errorString"}},
		},
		"bad payload": {&payload.Error{Type: "int", Encoding: "json", Op: "decode", Err: plain}, events.Failure{Code: events.CodeBadPayload, Message: "cannot decode int as json: plain", Type: "*payload.Error", NonRetryable: true}},
		"failure":     {&events.Failure{Code: "x", Message: "y"}, events.Failure{Code: "x", Message: "y [x]", Type: "*events.Failure", Cause: &events.Failure{Code: "x", Message: "y"}}},
		"refusal":     {&events.Error{Code: events.RunEnded, Message: "over"}, events.Failure{Code: "run_ended", Message: "over [run_ended]", Type: "*events.Error"}},
		"cancelled":   {fmt.Errorf("a: %w", replay.ErrCancelled), events.Failure{Code: events.CodeCancelled, Message: "a: flow: cancelled", Type: "*fmt.wrapError"}},
		"timeout":     {replay.ErrTimeout, events.Failure{Code: events.CodeTimeout, Message: "flow: timeout", Type: "*errors.errorString"}},
		"deadline":    {context.DeadlineExceeded, events.Failure{Code: "default", Message: "context deadline exceeded", Type: "context.deadlineExceededError"}},
	} {
		if diff := cmp.Diff(&c.want, task.FailureOf(c.err, "default", payload.Converter{})); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if task.Permanent(nil) != nil || task.RetryAfter(nil, 1) != nil {
		t.Error("marks make errors of nothing")
	}
	if d := task.RetryDelay(fmt.Errorf("a: %w", task.RetryAfter(plain, time.Minute))); d != time.Minute {
		t.Errorf("delay %v", d)
	}
	if d := task.RetryDelay(plain); d >= 0 {
		t.Errorf("delay %v of what has none", d)
	}
	if f := task.FailureOf(coded.With(make(chan int)), "", payload.Converter{}); !strings.Contains(string(f.Details.Data), "details were lost") {
		t.Errorf("details that cannot be encoded: %s", f.Details.Data)
	}
	if f := task.FailureOf(errors.New(strings.Repeat("é", events.MaxFailureBytes)), "", payload.Converter{}); len(f.Message) > events.MaxFailureBytes {
		t.Errorf("%d bytes of message", len(f.Message))
	}
}
