package wire_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

var update = flag.Bool("update", false, "write docs/reference/errors.md anew")

// codesOfTheLanguage are read from the source, so that a code added there cannot be forgotten here.
func codesOfTheLanguage(t *testing.T) []events.Code {
	t.Helper()
	source, err := os.ReadFile("../../pkg/events/answer.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []events.Code
	for line := range strings.Lines(string(source)) {
		name, rest, ok := strings.Cut(line, `= "`)
		if !ok || !strings.Contains(name, "Code") && !strings.HasPrefix(line, "\t") {
			continue
		}
		value, _, _ := strings.Cut(rest, `"`)
		found = append(found, events.Code(value))
	}
	return found
}

func TestEveryCodeHasOneLine(t *testing.T) {
	t.Parallel()
	all := codesOfTheLanguage(t)
	if len(all) < 20 {
		t.Fatalf("found only %d codes in pkg/events/answer.go: %v", len(all), all)
	}
	lines := map[events.Code]int{}
	for _, kind := range wire.ErrorTable() {
		lines[kind.Code]++
		if kind.HTTP < 200 || kind.HTTP > 599 || kind.Meaning == "" || kind.Advice == "" {
			t.Errorf("%s: incomplete line %+v", kind.Code, kind)
		}
		if (kind.HTTP < 300) != (kind.GRPC == codes.OK) {
			t.Errorf("%s: HTTP %d and gRPC %s disagree about being an error", kind.Code, kind.HTTP, kind.GRPC)
		}
	}
	for _, code := range all {
		if lines[code] != 1 {
			t.Errorf("%s has %d lines in the error table, want 1", code, lines[code])
		}
	}
}

func TestErrorReferenceIsFresh(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("# Error codes\n\n<!-- Written by: go test ./internal/wire -run TestErrorReferenceIsFresh -update -->\n\n")
	b.WriteString("Every error has a stable `code`. Over gRPC it is in the status detail `continuo.api.v1.ErrorDetail`, in REST in the body:\n\n")
	b.WriteString("```json\n{\"code\": \"already_open\", \"message\": \"…\", \"run_id\": \"0190f0c4-5e6a-7c3e-9d55-0242ac120002\"}\n```\n\n")
	b.WriteString("Programs decide by the code; messages are for people and change. `retry_after_ms`, when given, says when trying again is\n")
	b.WriteString("sensible. \"Try again\" in the table means that the same request may succeed later without anybody changing anything; with\n")
	b.WriteString("the same run id (start) or request id (everything else) nothing happens twice.\n\n")
	b.WriteString("| code | gRPC | HTTP | try again | meaning | what to do |\n|---|---|---|---|---|---|\n")
	for _, k := range wire.ErrorTable() {
		retry := ""
		if k.Retry {
			retry = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %s | %s | %s |\n", k.Code, k.GRPC, k.HTTP, retry, k.Meaning, k.Advice)
	}
	b.WriteString("\nA code that a client does not know counts as `internal`. Codes are only ever added.\n")
	const path = "../../docs/reference/errors.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(have)); diff != "" {
		t.Errorf("docs/reference/errors.md is not what the table says; write it with -update:\n%s", diff)
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1_700_000_000_000, [10]byte{1, 2, 3})
	for _, kind := range wire.ErrorTable() {
		if kind.GRPC == codes.OK {
			continue
		}
		sent := &events.Error{Code: kind.Code, Message: "what and the way out", RetryAfterMs: 250, RunID: run}
		if diff := cmp.Diff(sent, wire.FromStatus(wire.ToStatus(sent).Err())); diff != "" {
			t.Errorf("%s by status (-sent +got):\n%s", kind.Code, diff)
		}
		if diff := cmp.Diff(sent, wire.FromCallError(wire.ToCallError(sent))); diff != "" {
			t.Errorf("%s by call error (-sent +got):\n%s", kind.Code, diff)
		}
	}
}

func TestForeignErrorsGetACode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want events.Code
	}{
		{status.Error(codes.Unavailable, "connection refused"), events.Unavailable},
		{status.Error(codes.ResourceExhausted, "too many"), events.Overloaded},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), events.PayloadTooLarge},
		{status.Error(codes.Unimplemented, "unknown method"), events.NotImplemented},
		{status.Error(codes.PermissionDenied, "proxy says no"), events.Internal},
		{context.DeadlineExceeded, events.DeadlineExceeded},
		{context.Canceled, events.Unavailable},
		{errors.New("anything"), events.Internal},
		{fmt.Errorf("wrapped: %w", &events.Error{Code: events.InboxFull}), events.InboxFull},
	} {
		if got := wire.FromStatus(c.err).Code; got != c.want {
			t.Errorf("FromStatus(%v) = %s, want %s", c.err, got, c.want)
		}
	}
	if wire.FromStatus(nil) != nil || wire.AsError(nil) != nil {
		t.Error("no error became one")
	}
}

func TestUnknownCodesKeepTheirName(t *testing.T) {
	t.Parallel()
	k := wire.KindOf("made_in_the_future")
	if k.GRPC != codes.Internal || k.Code != "made_in_the_future" {
		t.Errorf("KindOf(new code) = %+v", k)
	}
}

func genPayload(t *rapid.T) events.Payload {
	if !rapid.Bool().Draw(t, "present") {
		return events.Payload{}
	}
	return events.Payload{
		Encoding: rapid.SampledFrom([]string{"json", "protobuf", "age/x25519"}).Draw(t, "encoding"),
		Data:     rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "data"),
	}
}

func genFailure(t *rapid.T, depth int) *events.Failure {
	f := &events.Failure{
		Code: rapid.StringMatching(`[a-z_]{1,12}`).Draw(t, "code"), Message: rapid.String().Draw(t, "message"),
		Type: rapid.StringMatching(`[a-z.]{0,12}`).Draw(t, "type"), NonRetryable: rapid.Bool().Draw(t, "final"), Details: genPayload(t),
	}
	if depth > 0 && rapid.Bool().Draw(t, "caused") {
		f.Cause = genFailure(t, depth-1)
	}
	return f
}

func TestValuesSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payload := genPayload(t)
		back, err := wire.FromPayload("p", wire.ToPayload(payload), 100)
		if diff := cmp.Diff(payload, back); diff != "" || err != nil {
			t.Fatalf("payload: %v\n%s", err, diff)
		}
		failure := genFailure(t, 4)
		if diff := cmp.Diff(failure, wire.FromFailure(wire.ToFailure(failure))); diff != "" {
			t.Fatalf("failure:\n%s", diff)
		}
		moment := events.Time(rapid.Int64Range(0, 4e15).Draw(t, "time"))
		if got, err := wire.FromTime("t", wire.ToTime(moment)); got != moment || err != nil {
			t.Fatalf("time %d became %d: %v", moment, got, err)
		}
		length := time.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		if got, err := wire.FromDuration("d", wire.ToDuration(length)); got != length || err != nil {
			t.Fatalf("duration %d became %d: %v", length, got, err)
		}
	})
}

func TestNamesSurviveTheWire(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1, [10]byte{9})
	task := wire.TaskRef{WorkflowID: "billing/1", Task: events.TaskID{Run: run, Step: 7}, Attempt: 2}
	if got, err := wire.FromTaskRef(wire.ToTaskRef(task)); got != task || err != nil {
		t.Errorf("task %v became %v: %v", task, got, err)
	}
	activation := wire.ActivationRef{WorkflowID: "billing/1", RunID: run, Activation: 3, Attempt: 1}
	if got, err := wire.FromActivationRef(wire.ToActivationRef(activation)); got != activation || err != nil {
		t.Errorf("activation %v became %v: %v", activation, got, err)
	}
	for s := events.StatusUnknown; s <= events.StatusTimedOut; s++ {
		if got := wire.FromRunStatus(wire.ToRunStatus(s)); got != s {
			t.Errorf("status %s became %s", s, got)
		}
	}
	for p := events.IDRejectOpen; p <= events.IDRejectAny; p++ {
		if got, err := wire.FromIDPolicy(wire.ToIDPolicy(p)); got != p || err != nil {
			t.Errorf("policy %d became %d: %v", p, got, err)
		}
	}
}

func TestCommandsSurviveTheWire(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1, [10]byte{9})
	input := events.Payload{Encoding: "json", Data: []byte(`{"a":1}`)}
	for _, env := range []events.Envelope{
		{Command: events.StartWorkflow{Type: "billing.Monthly", Queue: "q", Input: input, IDPolicy: events.IDAttachOpen, RunTimeout: time.Hour}},
		{RequestID: "r-1", Command: events.SignalWorkflow{Name: "unsubscribed", Input: input}},
		{RequestID: "r-2", Command: events.CancelWorkflow{Reason: "customer left"}},
		{RequestID: "r-3", Command: events.TerminateWorkflow{Reason: "wrong"}},
	} {
		env.Namespace, env.WorkflowID, env.RunID = "default", "billing/1", run
		call, err := wire.ToCall(env)
		if err != nil {
			t.Fatal(err)
		}
		var back events.Envelope
		switch r := call.GetRequest().(type) {
		case *apiv1.ClientCall_Start:
			back, err = wire.FromStart(r.Start, 100)
		case *apiv1.ClientCall_Signal:
			back, err = wire.FromSignal(r.Signal, 100)
		case *apiv1.ClientCall_Cancel:
			back, err = wire.FromCancel(r.Cancel)
		case *apiv1.ClientCall_Terminate:
			back, err = wire.FromTerminate(r.Terminate)
		default:
			t.Fatalf("unexpected call %T", r)
		}
		if diff := cmp.Diff(env, back); diff != "" || err != nil {
			t.Errorf("%T: %v (-sent +got)\n%s", env.Command, err, diff)
		}
	}
	if _, err := wire.ToCall(events.Envelope{Command: events.FireTimer{}}); err == nil {
		t.Error("a command of the inside became a client's call")
	}
}

func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	start := func(change func(*apiv1.StartWorkflowRequest)) error {
		r := &apiv1.StartWorkflowRequest{WorkflowId: "w", Type: "T"}
		change(r)
		_, err := wire.FromStart(r, 10)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want events.Code
		says string
	}{
		"no type":       {start(func(r *apiv1.StartWorkflowRequest) { r.Type = "" }), events.BadIDCode, "workflow type is empty"},
		"bad id":        {start(func(r *apiv1.StartWorkflowRequest) { r.WorkflowId = "a\nb" }), events.BadIDCode, "U+000A"},
		"bad run id":    {start(func(r *apiv1.StartWorkflowRequest) { r.RunId = "7" }), events.BadIDCode, "UUID"},
		"zero run id":   {start(func(r *apiv1.StartWorkflowRequest) { r.RunId = "00000000-0000-0000-0000-000000000000" }), events.BadIDCode, "means none"},
		"bad queue":     {start(func(r *apiv1.StartWorkflowRequest) { r.Queue = "a b" }), events.BadIDCode, "task queue"},
		"bad policy":    {start(func(r *apiv1.StartWorkflowRequest) { r.IdPolicy = 99 }), events.InvalidArgument, "99"},
		"bad namespace": {start(func(r *apiv1.StartWorkflowRequest) { r.Namespace = "acme" }), events.NotFound, `"default"`},
		"negative": {
			start(func(r *apiv1.StartWorkflowRequest) { r.RunTimeout = durationpb.New(-time.Second) }),
			events.InvalidArgument, "run_timeout is negative",
		},
		"too long": {
			start(func(r *apiv1.StartWorkflowRequest) { r.RunTimeout = &durationpb.Duration{Seconds: 1 << 38} }),
			events.InvalidArgument, "out of range",
		},
		"large": {
			start(func(r *apiv1.StartWorkflowRequest) {
				r.Input = &apiv1.Payload{Encoding: "json", Data: make([]byte, 11)}
			}),
			events.PayloadTooLarge, "11 bytes; the limit is 10",
		},
		"no encoding": {
			start(func(r *apiv1.StartWorkflowRequest) { r.Input = &apiv1.Payload{Data: []byte("x")} }), events.InvalidArgument, "encoding",
		},
		"bad encoding": {
			start(func(r *apiv1.StartWorkflowRequest) { r.Input = &apiv1.Payload{Encoding: "a b", Data: []byte("x")} }),
			events.InvalidArgument, "visible ASCII",
		},
	} {
		got := wire.AsError(c.err)
		if got == nil || got.Code != c.want || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: got %v, want %s with %q", name, got, c.want, c.says)
		}
	}
}

func TestLongFailuresAreCutWithAMark(t *testing.T) {
	t.Parallel()
	long := &apiv1.Failure{Code: "x", Message: strings.Repeat("ü", events.MaxFailureBytes)}
	for range 30 {
		long = &apiv1.Failure{Code: "outer", Message: long.GetMessage(), Cause: long}
	}
	got := wire.FromFailure(long)
	if len(got.Message) > events.MaxFailureBytes || !strings.Contains(got.Message, "(cut from") {
		t.Errorf("message has %d bytes and ends in %q", len(got.Message), got.Message[len(got.Message)-10:])
	}
	depth := 0
	for f := got; f != nil; f = f.Cause {
		depth++
	}
	if depth == 0 || depth > 16 {
		t.Errorf("a failure of 31 causes was kept %d deep, want at most 16", depth)
	}
	heavy := wire.FromFailure(&apiv1.Failure{
		Code: "x", Message: "declined", Details: &apiv1.Payload{Encoding: "json", Data: make([]byte, events.MaxFailureBytes+1)},
	})
	if !heavy.Details.IsZero() || !strings.Contains(heavy.Message, "declined (details of") {
		t.Errorf("details too large: %.80q", heavy.Message)
	}
}

func TestProtocolVersions(t *testing.T) {
	t.Parallel()
	if err := wire.CheckProtocol(wire.MaxProtocol); err != nil {
		t.Error(err)
	}
	if err := wire.CheckProtocol(wire.MaxProtocol + 1); err == nil || err.Code != events.SDKTooNew {
		t.Errorf("a newer protocol: %v", err)
	}
	if err := wire.CheckProtocol(0); err == nil || err.Code != events.InvalidArgument {
		t.Errorf("no protocol: %v", err)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1, [10]byte{9})
	for _, c := range []struct {
		end  events.Event
		want apiv1.Status
		code string
	}{
		{events.RunCompleted{Result: events.Payload{Encoding: "json", Data: []byte("1")}}, apiv1.Status_STATUS_COMPLETED, ""},
		{events.RunFailed{Failure: events.Failure{Code: "declined"}}, apiv1.Status_STATUS_FAILED, "declined"},
		{events.RunCancelled{Failure: events.Failure{Code: "cancelled"}}, apiv1.Status_STATUS_CANCELLED, "cancelled"},
		{events.RunTerminated{Reason: "wrong"}, apiv1.Status_STATUS_TERMINATED, events.CodeTerminated},
		{events.RunTimedOut{}, apiv1.Status_STATUS_TIMED_OUT, events.CodeRunTimeout},
		{events.TimerFired{}, apiv1.Status_STATUS_RUNNING, ""},
	} {
		got := wire.ToOutcome("w", run, c.end)
		if got.GetStatus() != c.want || got.GetFailure().GetCode() != c.code || got.GetRunId() != run.String() {
			t.Errorf("%T: %v", c.end, got)
		}
	}
}
