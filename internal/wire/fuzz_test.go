package wire_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// FuzzCalls reads whatever a client sends: it is refused with a stable code, or it is a command that comes out the same
// after it was sent once more.
func FuzzCalls(f *testing.F) {
	for _, call := range []*apiv1.ClientCall{
		{Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{
			WorkflowId: "w", RunId: "01924560-6c00-7001-8203-040506070809", Type: "T", Input: &apiv1.Payload{Encoding: "json", Data: []byte("1")},
			IdPolicy: apiv1.IDPolicy_ID_POLICY_ATTACH_OPEN, RunTimeout: durationpb.New(time.Hour),
		}}},
		{Request: &apiv1.ClientCall_Signal{Signal: &apiv1.SignalWorkflowRequest{WorkflowId: "w", Name: "s", RequestId: "r", Input: &apiv1.Payload{Data: []byte("1")}}}},
		{Request: &apiv1.ClientCall_Cancel{Cancel: &apiv1.CancelWorkflowRequest{Namespace: "other", WorkflowId: "w", Reason: "r"}}},
		{Request: &apiv1.ClientCall_Terminate{Terminate: &apiv1.TerminateWorkflowRequest{WorkflowId: "w", RunId: "x"}}},
		{Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{RunTimeout: &durationpb.Duration{Seconds: 1, Nanos: -5}, IdPolicy: 99}}},
	} {
		b, err := proto.Marshal(call)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	const limit = 1 << 10
	read := func(m *apiv1.ClientCall) (events.Envelope, error) {
		switch r := m.GetRequest().(type) {
		case *apiv1.ClientCall_Start:
			return wire.FromStart(r.Start, limit)
		case *apiv1.ClientCall_Signal:
			return wire.FromSignal(r.Signal, limit)
		case *apiv1.ClientCall_Cancel:
			return wire.FromCancel(r.Cancel)
		case *apiv1.ClientCall_Terminate:
			return wire.FromTerminate(r.Terminate)
		}
		return events.Envelope{}, &events.Error{Code: events.NotImplemented}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var sent apiv1.ClientCall
		if proto.Unmarshal(b, &sent) != nil {
			return
		}
		env, err := read(&sent)
		if err != nil {
			var e *events.Error
			if !errors.As(err, &e) || wire.KindOf(e.Code).HTTP < 400 || wire.KindOf(e.Code).HTTP == 500 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := wire.ToCall(env)
		if err != nil {
			t.Fatalf("%+v cannot be sent: %v", env, err)
		}
		back, err := read(again)
		if err != nil {
			t.Fatalf("%+v is refused when it is sent again: %v", env, err)
		}
		one, two := events.AppendEnvelope(nil, &env), events.AppendEnvelope(nil, &back)
		if string(one) != string(two) {
			t.Fatalf("%+v came back as %+v", env, back)
		}
	})
}

// FuzzValues reads what is inside of messages: failures are cut to their limits and never refused, times and durations are
// refused or come back within a microsecond, errors keep their code.
func FuzzValues(f *testing.F) {
	deep := &apiv1.Failure{Code: "root", Details: &apiv1.Payload{Encoding: "json", Data: []byte("1")}}
	for range 20 {
		deep = &apiv1.Failure{Message: "so", Cause: deep}
	}
	b, err := proto.Marshal(deep)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, int64(1_700_000_000), int32(5_000), "overloaded")
	f.Add([]byte{}, int64(-62_135_596_800), int32(-1), "")
	f.Add([]byte("\x0a\x01\xff"), int64(253_402_300_799), int32(999_999_999), "unheard_of")
	f.Fuzz(func(t *testing.T, b []byte, seconds int64, nanos int32, code string) {
		var failure apiv1.Failure
		if proto.Unmarshal(b, &failure) == nil {
			if got := wire.FromFailure(&failure); events.ClipFailure(got) != got {
				t.Fatalf("%v is above its limits", got)
			}
		}
		stamp := &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
		if at, err := wire.FromTime("t", stamp); err == nil && at != 0 {
			if lost := stamp.AsTime().Sub(wire.ToTime(at).AsTime()); lost < 0 || lost >= time.Microsecond {
				t.Fatalf("%v came back %s later", stamp.AsTime(), lost)
			}
		}
		span := &durationpb.Duration{Seconds: seconds, Nanos: nanos}
		if d, err := wire.FromDuration("d", span); err == nil && (d < 0 || d != 0 && !proto.Equal(wire.ToDuration(d), span)) {
			t.Fatalf("%v came back as %s", span, d)
		}
		sent := &events.Error{Code: events.Code(code), Message: "m", RetryAfterMs: seconds}
		kind := wire.KindOf(sent.Code)
		if kind.HTTP >= 400 && code != "" {
			if e := wire.FromCallError(wire.ToCallError(sent)); e.Code != sent.Code || e.RetryAfterMs != seconds {
				t.Fatalf("%v came back as %v", sent, e)
			}
		}
	})
}
