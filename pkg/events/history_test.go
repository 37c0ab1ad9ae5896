package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

func TestHistoryIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		info := eventgen.Of[events.HistoryInfo]().Draw(t, "info")
		info.Status %= events.StatusTimedOut + 1
		records := rapid.SliceOfN(eventgen.Record(), 0, 4).Draw(t, "records")
		for _, r := range records {
			r.Namespace, r.WorkflowID, r.RunID = info.Namespace, info.WorkflowID, info.RunID
			r.Answers = nil
		}
		b, err := events.MarshalHistory(info, records)
		if err != nil {
			t.Fatal(err)
		}
		gotInfo, got, err := events.UnmarshalHistory(b)
		if err != nil {
			t.Fatalf("%v in\n%s", err, b)
		}
		if diff := cmp.Diff(info, gotInfo) + cmp.Diff(records, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the history came back differently (-want +got):\n%s\nfrom\n%s", diff, b)
		}
		again, err := events.MarshalHistory(gotInfo, got)
		if err != nil || string(again) != string(b) {
			t.Fatalf("the second document differs (%v):\n%s\nfrom\n%s", err, again, b)
		}
	})
}

func billing() (events.HistoryInfo, []*events.Record) {
	info := events.HistoryInfo{
		Namespace: events.DefaultNamespace, WorkflowID: "billing/customer-17", Type: "billing.Monthly",
		RunID: events.MakeRunID(1_790_000_000_000, [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), Status: events.StatusRunning,
	}
	header := func(seq events.Seq, first events.EventNumber) events.Header {
		return events.Header{
			Partition: 3, Epoch: 1, Owner: 99, Seq: seq, Confirmed: seq - 1, Time: 1_790_000_000_123_456, Schema: events.Schema,
			Namespace: info.Namespace, WorkflowID: info.WorkflowID, RunID: info.RunID, First: first,
		}
	}
	return info, []*events.Record{
		{Header: header(7, 1), Events: []events.Event{
			events.RunStarted{Type: info.Type, Queue: "default", RunTimeout: 90 * time.Minute, Input: events.Payload{
				Encoding: events.EncodingJSON, Data: []byte(`{"customer": "<17>", "cents": 9007199254740993}`),
			}},
			events.ActivationScheduled{Activation: 1, Attempt: 1, Type: info.Type, Queue: "default", ReplayFrom: 1, Upto: 1},
		}},
		{Header: header(9, 3), Events: []events.Event{
			events.TaskAttemptFailed{
				Step: 1, Attempt: 1, Failure: events.Failure{Code: "card_declined", Message: "said \"no\""},
				NotBefore: 1_790_000_001_123_456, Name: "billing.PaymentService.Request", ScheduleToStart: 1500 * time.Microsecond,
				Details: events.Payload{Encoding: "protobuf", Data: []byte{1, 2, 3}},
			},
		}},
	}
}

// The form is promised: a change to this document is a change for everybody who keeps histories.
func TestHistoryForm(t *testing.T) {
	t.Parallel()
	info, records := billing()
	b, err := events.MarshalHistory(info, records)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"format":"continuo.history.v1","namespace":"default","workflow_id":"billing/customer-17","run_id":"01a0c450-6c00-7102-8304-05060708090a","type":"billing.Monthly","status":"running","records":[
{"schema":1,"partition":3,"epoch":1,"owner":99,"seq":7,"confirmed":6,"time":"2026-09-21T14:13:20.123456Z","first":1,"events":[
{"number":1,"kind":"RunStarted","type":"billing.Monthly","queue":"default","input":{"json":{"customer": "<17>", "cents": 9007199254740993}},"run_timeout_ms":5400000},
{"number":2,"kind":"ActivationScheduled","activation":1,"attempt":1,"type":"billing.Monthly","queue":"default","replay_from":1,"upto":1}]},
{"schema":1,"partition":3,"epoch":1,"owner":99,"seq":9,"confirmed":8,"time":"2026-09-21T14:13:20.123456Z","first":3,"events":[
{"number":3,"kind":"TaskAttemptFailed","step":1,"attempt":1,"failure":{"code":"card_declined","message":"said \"no\""},"not_before":"2026-09-21T14:13:21.123456Z","name":"billing.PaymentService.Request","schedule_to_start_ms":1.5,"details":{"encoding":"protobuf","data":"AQID"}}]}]}
`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("the document differs (-want +got):\n%s", diff)
	}
}

func TestBadHistories(t *testing.T) {
	t.Parallel()
	info, records := billing()
	good, err := events.MarshalHistory(info, records)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, changed, want string }{
		"not JSON":       {`{"format"`, `x`, "not a JSON object"},
		"other format":   {"history.v1", "history.v2", "upgrade it"},
		"unknown member": {`"run_timeout_ms"`, `"run_limit_ms"`, `"run_limit_ms" is unknown`},
		"unknown kind":   {"TaskAttemptFailed", "TaskParked", `event kind "TaskParked" at partition 3, seq 9`},
		"wrong number":   {`"number":2`, `"number":5`, "event 5 stands where event 2 belongs"},
		"wrong type":     {`"attempt":1,"type"`, `"attempt":-1,"type"`, "field attempt"},
		"newer schema":   {`"schema":1`, `"schema":9`, "has schema 9"},
		"too precise":    {`"schedule_to_start_ms":1.5`, `"schedule_to_start_ms":1.5000000001`, "6 decimals"},
		"too long":       {`"run_timeout_ms":5400000`, `"run_timeout_ms":99999999999999`, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(string(good), c.old, c.changed, 1)
			if _, _, err := events.UnmarshalHistory([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("reading reports %v", err)
			}
		})
	}
}

func TestHistoryOfAnotherRunIsRefused(t *testing.T) {
	t.Parallel()
	info, records := billing()
	records[1].WorkflowID = "billing/customer-18"
	if _, err := events.MarshalHistory(info, records); err == nil || !strings.Contains(err.Error(), "seq 9") {
		t.Errorf("a record of another run gives %v", err)
	}
}

func TestUnknownKindInHistoryIsTyped(t *testing.T) {
	t.Parallel()
	info, records := billing()
	b, err := events.MarshalHistory(info, records)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = events.UnmarshalHistory([]byte(strings.Replace(string(b), "RunStarted", "RunBorn", 1)))
	var unknown *events.UnknownKindError
	if !errors.As(err, &unknown) || unknown.Name != "RunBorn" || unknown.Seq != 7 {
		t.Errorf("the error is %#v", err)
	}
}
