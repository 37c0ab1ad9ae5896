package events_test

import (
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// typical is the record the engine writes most: a result, and the activation that carries it.
func typical() *events.Record {
	return &events.Record{
		Header: events.Header{
			Partition: 7, Epoch: 3, Owner: 0x9e3779b97f4a7c15, Seq: 812_345, Confirmed: 812_344, Time: 1_790_000_000_123_456,
			Schema: events.Schema, Namespace: events.DefaultNamespace, WorkflowID: "billing/customer-1723",
			RunID: events.MakeRunID(1_790_000_000_000, [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), First: 42,
		},
		Events: []events.Event{
			events.TaskCompleted{
				Step: 17, Attempt: 1, Worker: "worker-3f9a",
				Result: events.Payload{Encoding: events.EncodingJSON, Data: []byte(`{"payment":"pay_3NqL","amount_cents":1999,"currency":"EUR"}`)},
			},
			events.ActivationScheduled{
				Activation: 9, Attempt: 1, Type: "billing.Monthly", Queue: "default", Base: 38, ReplayFrom: 1, Upto: 42,
				OfferTo: 0xbf58476d1ce4e5b9, OfferUntil: 1_790_000_000_223_456,
			},
		},
		Answers: []events.Answer{{Session: 0x94d049bb133111eb, N: 1234, Code: events.OK}},
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := typical()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = events.AppendRecord(dst[:0], r)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkDecodeRecord(b *testing.B) {
	src := events.AppendRecord(nil, typical())
	b.ReportAllocs()
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, err := events.DecodeRecord(src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	r := typical()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = events.AppendFrame(dst[:0], r)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkOpenFrame(b *testing.B) {
	src := events.AppendFrame(nil, typical())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.OpenFrame(src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	e := events.Envelope{
		Namespace: events.DefaultNamespace, WorkflowID: "billing/customer-1723", RunID: typical().RunID,
		Command: events.ReportProgress{
			Activation: 9, Attempt: 1, Upto: 42, Build: "0123456789ab", Worker: "worker-3f9a",
			Intents: []events.Intent{events.RecordStep{
				Step: 18, Label: "billing.Receipt", Attempts: 1, Result: events.Payload{Encoding: events.EncodingJSON, Data: []byte(`"pay_3NqL"`)},
			}},
		},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRunID(b *testing.B) {
	text := typical().RunID.String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.ParseRunID(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeReportProgress(b *testing.B) {
	src := events.AppendReportProgress(nil, &events.ReportProgress{
		Activation: 9, Attempt: 1, Upto: 42, Build: "0123456789ab", Worker: "worker-3f9a", Wait: events.WaitSet{Now: true},
		Intents: []events.Intent{events.RecordStep{
			Step: 18, Label: "billing.Receipt", Attempts: 1, Result: events.Payload{Encoding: events.EncodingJSON, Data: []byte(`"pay_3NqL"`)},
		}},
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.DecodeReportProgress(src); err != nil {
			b.Fatal(err)
		}
	}
}
