package events_test

import (
	"bytes"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// calledTask is what is new to a live run when the task that it called has ended.
func calledTask() []*events.Record {
	run := events.MakeRunID(1_790_000_000_000, [10]byte{1})
	payload := events.Payload{Encoding: events.EncodingJSON, Data: append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 98)...), '"')}
	var records []*events.Record
	first := events.EventNumber(40)
	for i, evs := range [][]events.Event{
		{
			events.TaskCompleted{Step: 6, Attempt: 1, Result: payload, Worker: "XBV6ZAGHG5UYIJTGWPVT7Q7RSM"},
			events.ActivationScheduled{Activation: 7, Attempt: 1, Type: "bench.Tasks", Queue: "default", Base: 37, ReplayFrom: 1, Upto: 40},
		},
		{
			events.ProgressMade{
				Activation: 7, Attempt: 1, At: 1e15, Upto: 40, Wait: events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{7}}}},
				Build: "0123456789ab", Worker: "XBV6ZAGHG5UYIJTGWPVT7Q7RSM",
			},
			events.TaskScheduled{Step: 7, Name: "bench.Echo", Queue: "default", Input: payload},
		},
		{
			events.TaskCompleted{Step: 7, Attempt: 1, Result: payload, Worker: "XBV6ZAGHG5UYIJTGWPVT7Q7RSM"},
			events.ActivationScheduled{Activation: 8, Attempt: 1, Type: "bench.Tasks", Queue: "default", Base: 42, ReplayFrom: 1, Upto: 44},
		},
	} {
		records = append(records, &events.Record{Header: events.Header{
			Schema: events.Schema, Partition: 3, Epoch: 4, Owner: 1 << 60, Seq: 1_000_000 + events.Seq(i), Confirmed: 999_990, CausedBy: 1_999_990,
			Time: 1_790_000_000_000_000, Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(run.String()), RunID: run, First: first,
		}, Events: evs})
		first += events.EventNumber(len(evs))
	}
	return records
}

func BenchmarkDecodeDelta(b *testing.B) {
	benchmarkDelta(b, events.DecodeFrame)
}

func BenchmarkDecodeDeltaOnly(b *testing.B) {
	wanted := events.EventSetOf(events.ProgressMade{}, events.TaskCompleted{})
	var records []*events.Record
	benchmarkDelta(b, func(f []byte) (_ []*events.Record, err error) {
		records, err = events.DecodeFrameOnly(records[:0], f, wanted)
		return records, err
	})
}

func benchmarkDelta(b *testing.B, decode func([]byte) ([]*events.Record, error)) {
	frame := events.AppendFrame(nil, calledTask()...)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}
