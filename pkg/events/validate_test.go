package events_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

func jsonOf(size int) events.Payload {
	return events.Payload{Encoding: events.EncodingJSON, Data: bytes.Repeat([]byte("1"), size)}
}

func validStart() events.Envelope {
	return events.Envelope{
		Namespace: events.DefaultNamespace, WorkflowID: "billing/customer 17", RunID: events.RunID{1},
		Command: events.StartWorkflow{Type: "billing.Monthly", Queue: "default", Input: jsonOf(events.InlinePayloadBytes)},
	}
}

func TestValidEnvelopes(t *testing.T) {
	t.Parallel()
	for _, command := range []events.Command{
		validStart().Command,
		events.SignalWorkflow{Name: "unsubscribed"},
		events.CancelWorkflow{},
		events.TerminateWorkflow{Reason: "by hand"},
		events.GetRun{},
		events.ReleaseRun{},
		events.ReportProgress{Attempt: 1, Wait: events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}}, Intents: []events.Intent{
			events.ScheduleTask{Step: 1, Name: "a.B.C", Options: events.TaskOptions{Retry: events.RetryPolicy{Factor: 1}}},
			events.RecordStep{Step: 2, Failure: &events.Failure{Message: "no"}},
			events.CompleteRun{Result: jsonOf(2)},
		}},
		events.FailTask{Step: 1, Attempt: 1, RetryAfter: -1},
		events.TimeoutTask{Step: 1, Attempt: 1, Code: events.CodeWorkerLost},
		events.CompleteTask{Step: 1, Attempt: 1, Result: events.Payload{Encoding: "json", Blob: "default/x/y", BlobBytes: 1 << 20}},
		events.FireTimer{Timer: events.TimerID{Kind: events.TimerRunTimeout}},
	} {
		e := validStart()
		e.Command = command
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", events.CommandName(command), err)
		}
	}
}

func TestInvalidEnvelopes(t *testing.T) {
	t.Parallel()
	with := func(c events.Command) func(*events.Envelope) { return func(e *events.Envelope) { e.Command = c } }
	progress := func(intents ...events.Intent) func(*events.Envelope) {
		return with(events.ReportProgress{Attempt: 1, Intents: intents})
	}
	task := func(o events.TaskOptions) func(*events.Envelope) {
		return progress(events.ScheduleTask{Step: 1, Name: "a.B.C", Options: o})
	}
	retry := func(p events.RetryPolicy) func(*events.Envelope) { return task(events.TaskOptions{Retry: p}) }
	large := make([]events.Intent, 8)
	for i := range large {
		large[i] = events.SetView{Name: "v", Value: jsonOf(events.InlinePayloadBytes)}
	}
	for name, c := range map[string]struct {
		change func(*events.Envelope)
		code   events.Code
		want   string
	}{
		"no namespace":       {func(e *events.Envelope) { e.Namespace = "" }, events.BadIDCode, "namespace is empty"},
		"long workflow id":   {func(e *events.Envelope) { e.WorkflowID = events.WorkflowID(strings.Repeat("x", 256)) }, events.BadIDCode, "the limit is 255"},
		"control character":  {func(e *events.Envelope) { e.WorkflowID = "a\nb" }, events.BadIDCode, "U+000A"},
		"not UTF-8":          {func(e *events.Envelope) { e.RequestID = "\xff" }, events.BadIDCode, "UTF-8"},
		"no run id":          {func(e *events.Envelope) { e.RunID = events.RunID{} }, events.InvalidArgument, "MakeRunID"},
		"no command":         {with(nil), events.InvalidArgument, "no command"},
		"no queue":           {with(events.StartWorkflow{Type: "t"}), events.BadIDCode, "task queue is empty"},
		"unknown policy":     {with(events.StartWorkflow{Type: "t", Queue: "q", IDPolicy: 9}), events.InvalidArgument, "id policy 9"},
		"negative timeout":   {with(events.StartWorkflow{Type: "t", Queue: "q", RunTimeout: -time.Second}), events.InvalidArgument, "run timeout is -1s"},
		"too large":          {with(events.SignalWorkflow{Name: "s", Input: jsonOf(events.InlinePayloadBytes + 1)}), events.PayloadTooLarge, "131073 bytes"},
		"too large together": {progress(large...), events.PayloadTooLarge, "the limit is 786432"},
		"no encoding":        {with(events.SignalWorkflow{Name: "s", Input: events.Payload{Data: []byte("x")}}), events.InvalidArgument, "no encoding"},
		"blob and data": {
			with(events.SignalWorkflow{Name: "s", Input: events.Payload{Encoding: "json", Data: []byte("x"), Blob: "k", BlobBytes: 1}}),
			events.InvalidArgument, "inline bytes",
		},
		"long reason":       {with(events.CancelWorkflow{Reason: strings.Repeat("x", 5000)}), events.InvalidArgument, "the limit is 4096"},
		"step 0":            {with(events.CompleteTask{Attempt: 1}), events.InvalidArgument, "step 0"},
		"attempt 0":         {with(events.CompleteTask{Step: 1}), events.InvalidArgument, "attempt 0"},
		"timeout code":      {with(events.TimeoutTask{Step: 1, Attempt: 1, Code: "late"}), events.InvalidArgument, `"late"`},
		"end not last":      {progress(events.CompleteRun{}, events.SetView{Name: "v"}), events.InvalidArgument, "CompleteRun is intent 1 of 2"},
		"nil intent":        {progress(nil), events.InvalidArgument, "intent is nil"},
		"too many intents":  {progress(make([]events.Intent, events.MaxIntents+1)...), events.InvalidArgument, "10001 intents"},
		"signal 0":          {with(events.ReportProgress{Attempt: 1, Wait: events.WaitSet{Any: []events.WaitGroup{{Signals: []events.SignalWait{{Name: "s"}}}}}}), events.InvalidArgument, "signals count from 1"},
		"negative limit":    {task(events.TaskOptions{Heartbeat: -1}), events.InvalidArgument, "heartbeat timeout"},
		"factor below 1":    {retry(events.RetryPolicy{Factor: 0.5}), events.InvalidArgument, "factor of a retry is 0.5"},
		"factor NaN":        {retry(events.RetryPolicy{Factor: math.NaN()}), events.InvalidArgument, "factor"},
		"factor infinite":   {retry(events.RetryPolicy{Factor: math.Inf(1)}), events.InvalidArgument, "factor"},
		"negative initial":  {retry(events.RetryPolicy{Initial: -1}), events.InvalidArgument, "initial delay"},
		"negative max":      {retry(events.RetryPolicy{Max: -1}), events.InvalidArgument, "longest delay"},
		"empty code":        {retry(events.RetryPolicy{NonRetryable: []string{""}}), events.InvalidArgument, "code"},
		"failure not cut":   {with(events.FailTask{Step: 1, Attempt: 1, Failure: events.Failure{Message: strings.Repeat("x", 40_000)}}), events.InvalidArgument, "ClipFailure"},
		"unknown timer":     {with(events.FireTimer{}), events.InvalidArgument, "timer kind 0"},
		"label not UTF-8":   {progress(events.RecordStep{Step: 1, Label: "\xff"}), events.InvalidArgument, "label"},
		"view with no name": {progress(events.SetView{}), events.BadIDCode, "view name is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := validStart()
			c.change(&e)
			err := e.Validate()
			var refusal *events.Error
			if !errors.As(err, &refusal) || refusal.Code != c.code || !strings.Contains(refusal.Message, c.want) {
				t.Errorf("Validate reports %v, want %s and %q", err, c.code, c.want)
			}
		})
	}
}

func TestClippedFailuresAreWithinLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var f *events.Failure
		for range rapid.IntRange(1, 20).Draw(t, "depth") {
			f = &events.Failure{
				Code:    strings.Repeat("c", rapid.IntRange(0, 300).Draw(t, "code")),
				Message: strings.Repeat(rapid.SampledFrom([]string{"m", "é", "\xff"}).Draw(t, "m"), rapid.SampledFrom([]int{0, 10, 16_390, 40_000}).Draw(t, "message")),
				Details: jsonOf(rapid.SampledFrom([]int{0, 5, 32 << 10, 32<<10 + 1}).Draw(t, "details")),
				Cause:   f,
			}
		}
		original := *f
		clipped := events.ClipFailure(f)
		if !reflect.DeepEqual(&original, f) {
			t.Fatal("the failure itself was changed")
		}
		if events.ClipFailure(clipped) != clipped {
			t.Fatal("clipping twice is not clipping once")
		}
		total, depth := 0, 0
		for c := clipped; c != nil; c = c.Cause {
			depth++
			total += len(c.Code) + len(c.Message) + len(c.Details.Data)
			if len(c.Message) > events.MaxFailureBytes || len(c.Details.Data) > events.MaxFailureBytes || !utf8.ValidString(c.Message) {
				t.Fatalf("a clipped failure has %d bytes of message and %d of details", len(c.Message), len(c.Details.Data))
			}
		}
		if depth > 16 || total > 128<<10 {
			t.Fatalf("a clipped failure is %d deep and has %d bytes", depth, total)
		}
	})
}

func TestClippingSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := &events.Failure{Code: "too_long", Message: strings.Repeat("é", 20_000), Details: jsonOf(50_000), Cause: &events.Failure{Message: "why"}}
	clipped := events.ClipFailure(f)
	if want := "… (cut from 40000 bytes) (details of 50000 bytes left out: the limit is 32768)"; !strings.HasSuffix(clipped.Message, want) {
		t.Errorf("the message ends with %q", clipped.Message[len(clipped.Message)-100:])
	}
	if clipped.Code != f.Code || clipped.Cause != f.Cause || !clipped.Details.IsZero() {
		t.Errorf("clipped to %+v", clipped)
	}
	short := &events.Failure{Message: "short"}
	if events.ClipFailure(short) != short || events.ClipFailure(nil) != nil {
		t.Error("a failure within its limits was copied")
	}
}
