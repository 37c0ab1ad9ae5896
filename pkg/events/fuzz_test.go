package events_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// What was decoded once is stable: encoding and decoding it again changes nothing. Nothing panics on any input.

// stable decodes b; if that works, encodes and decodes it again.
func stable[T any](t *testing.T, b []byte, encode func([]byte, T) []byte, decode func([]byte) (T, error)) {
	v, err := decode(b)
	if err != nil {
		return
	}
	first := encode(nil, v)
	again, err := decode(first)
	if err != nil {
		t.Fatalf("%x was decoded, and what it encodes to was not: %v", b, err)
	}
	if second := encode(nil, again); !bytes.Equal(first, second) {
		t.Fatalf("%x encodes as\n%x and then as\n%x", b, first, second)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(events.AppendRecord(nil, typical()))
	for _, g := range goldens() {
		f.Add(g.bytes)
		record := append([]byte{8, 1, 0x6a}, byte(min(len(g.bytes), 127)))
		f.Add(append(record, g.bytes...))
	}
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, events.AppendRecord, events.DecodeRecord) })
}

func FuzzDecodeEnvelope(f *testing.F) {
	for _, g := range goldens() {
		f.Add(g.bytes)
		envelope := append([]byte{8, 1, 0x42}, byte(min(len(g.bytes), 127)))
		f.Add(append(envelope, g.bytes...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, func(b []byte, e events.Envelope) []byte { return events.AppendEnvelope(b, &e) }, events.DecodeEnvelope)
		if e, err := events.DecodeEnvelope(b); err == nil {
			_ = e.Validate() // must not panic either
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(events.AppendFrame(nil, typical()))
	second := typical()
	second.Seq++
	f.Add(events.AppendFrame(nil, typical(), second))
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, func(b []byte, records []*events.Record) []byte { return events.AppendFrame(b, records...) }, events.DecodeFrame)
	})
}

func FuzzDecodeValues(f *testing.F) {
	for _, g := range goldens() {
		f.Add(g.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, events.AppendEvent, events.DecodeEvent)
		stable(t, b, events.AppendCommand, events.DecodeCommand)
		stable(t, b, events.AppendIntent, events.DecodeIntent)
		stable(t, b, events.AppendFailure, events.DecodeFailure)
		stable(t, b, func(b []byte, a events.Answer) []byte { return events.AppendAnswer(b, &a) }, events.DecodeAnswer)
		stable(t, b, func(b []byte, p events.Payload) []byte { return events.AppendPayload(b, &p) }, events.DecodePayload)
		stable(t, b, func(b []byte, o events.TaskOptions) []byte { return events.AppendTaskOptions(b, &o) }, events.DecodeTaskOptions)
		stable(t, b, func(b []byte, w events.WaitSet) []byte { return events.AppendWaitSet(b, &w) }, events.DecodeWaitSet)
		stable(t, b, func(b []byte, p events.ReportProgress) []byte { return events.AppendReportProgress(b, &p) }, events.DecodeReportProgress)
	})
}

func FuzzUnmarshalHistory(f *testing.F) {
	info, records := billing()
	b, err := events.MarshalHistory(info, records)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":"continuo.history.v1","records":[null,{"events":[{"kind":"TimerFired","step":1}],"unknown":{"events":[{"index":9}]}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, records, err := events.UnmarshalHistory(b)
		if err != nil {
			return
		}
		first, err := events.MarshalHistory(info, records)
		if err != nil {
			t.Fatal(err)
		}
		info, records, err = events.UnmarshalHistory(first)
		if err != nil {
			t.Fatalf("%s was read, and what it was written as was not: %v", first, err)
		}
		if second, err := events.MarshalHistory(info, records); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written as\n%s and then as\n%s (%v)", first, second, err)
		}
	})
}

func FuzzParseTaskID(f *testing.F) {
	for _, s := range []string{"01924560-6c00-7001-8203-040506070809/7", "/1", "01924560-6c00-7001-8203-040506070809/07", "a/b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := events.ParseTaskID(s)
		if err != nil {
			return
		}
		again, err := events.ParseTaskID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q is %+v, whose text %q is %+v (%v)", s, id, id, again, err)
		}
	})
}

// Hostile input cannot make the decoder allocate more than a small multiple of its size.
//
//nolint:paralleltest // it counts allocations
func TestDecodingAllocatesWithinBounds(t *testing.T) {
	const size = 1 << 16
	for name, b := range map[string][]byte{
		"empty answers":   bytes.Repeat([]byte{14<<3 | 2, 0}, size/2),
		"empty events":    bytes.Repeat([]byte{13<<3 | 2, 0}, size/2),
		"claimed lengths": bytes.Repeat([]byte{13<<3 | 2, 0xff, 0xff, 0xff, 0x7f}, size/5),
		"unknown fields":  bytes.Repeat([]byte{0xfa, 0x7f, 0}, size/3),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = events.DecodeRecord(b)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 100*size {
			t.Errorf("%s: %d bytes allocated for %d bytes of input", name, got, size)
		}
	}
}

// A failure that was cut is within its limits, so cutting it again changes nothing and the edge takes it.
func FuzzClipFailure(f *testing.F) {
	deep := &events.Failure{Code: "root"}
	for range 30 {
		deep = &events.Failure{Code: "c", Message: "so", Cause: deep}
	}
	f.Add(events.AppendFailure(nil, deep), 3)
	f.Add(events.AppendFailure(nil, &events.Failure{Code: "\xff", Message: "m", Details: events.Payload{Encoding: "json", Data: []byte("1")}}), 40_000)
	f.Fuzz(func(t *testing.T, b []byte, times int) {
		failure, err := events.DecodeFailure(b)
		if err != nil || failure == nil {
			return
		}
		for cause := failure; cause != nil; cause = cause.Cause { // messages as long as only repetition makes them
			cause.Message = strings.Repeat(cause.Message, max(0, min(times, 70_000)/max(1, len(cause.Message))))
		}
		clipped := events.ClipFailure(failure)
		if events.ClipFailure(clipped) != clipped {
			t.Fatalf("cutting %q twice is not cutting it once", clipped.Code)
		}
		env := events.Envelope{Namespace: "default", WorkflowID: "w", Command: events.FailActivation{Failure: *clipped}}
		if e, ok := errors.AsType[*events.Error](env.Validate()); ok && strings.Contains(e.Message, "ClipFailure") {
			t.Fatalf("a cut failure is above its limits: %v", e)
		}
	})
}
