package events_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// identity is the law of every codec: decoding what was encoded gives the same value.
func identity[T any](t *rapid.T, want T, encode func([]byte, T) []byte, decode func([]byte) (T, error)) {
	prefix := []byte("before")
	b := encode(prefix, want)
	if !bytes.HasPrefix(b, prefix) {
		t.Fatalf("encoding did not append: %q", b)
	}
	b = b[len(prefix):]
	got, err := decode(b)
	if err != nil {
		t.Fatalf("decoding %x: %v", b, err)
	}
	for i := range b { // nothing decoded may alias the input
		b[i] = 0xff
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("decoded value differs (-want +got):\n%s", diff)
	}
}

func TestRecordIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		identity(t, eventgen.Record().Draw(t, "record"), events.AppendRecord, events.DecodeRecord)
	})
}

func TestEnvelopeIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventgen.Envelope().Draw(t, "envelope")
		identity(t, &e, events.AppendEnvelope, func(b []byte) (*events.Envelope, error) {
			e, err := events.DecodeEnvelope(b)
			return &e, err
		})
	})
}

func TestKindIdentity(t *testing.T) {
	t.Parallel()
	for _, kind := range events.EventKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				identity(t, eventgen.Like(t, kind.Zero), events.AppendEvent, events.DecodeEvent)
			})
		})
	}
	for _, kind := range events.CommandKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				identity(t, eventgen.Like(t, kind.Zero), events.AppendCommand, events.DecodeCommand)
			})
		})
	}
	for _, kind := range events.IntentKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				identity(t, eventgen.Like(t, kind.Zero), events.AppendIntent, events.DecodeIntent)
			})
		})
	}
}

func TestValueIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		valueIdentity(t, events.AppendAnswer, events.DecodeAnswer)
		valueIdentity(t, events.AppendPayload, events.DecodePayload)
		valueIdentity(t, events.AppendTaskOptions, events.DecodeTaskOptions)
		valueIdentity(t, events.AppendWaitSet, events.DecodeWaitSet)
		valueIdentity(t, events.AppendFailure, func(b []byte) (events.Failure, error) {
			f, err := events.DecodeFailure(b)
			if err != nil {
				return events.Failure{}, err
			}
			return *f, nil
		})
	})
}

func valueIdentity[T any](t *rapid.T, encode func([]byte, *T) []byte, decode func([]byte) (T, error)) {
	v := eventgen.Of[T]().Draw(t, "value")
	identity(t, &v, encode, func(b []byte) (*T, error) {
		v, err := decode(b)
		return &v, err
	})
}

func TestFrameIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records := frameOf(rapid.SliceOfN(eventgen.Record(), 1, 4).Draw(t, "records"))
		got, err := events.DecodeFrame(events.AppendFrame(nil, records...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records, got, cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("decoded records differ (-want +got):\n%s", diff)
		}
	})
}

// A reader of some kinds gets those as everybody does, and of the others the kind.
func TestFrameOfWantedEvents(t *testing.T) {
	t.Parallel()
	kinds := events.EventKinds()
	rapid.Check(t, func(t *rapid.T) {
		records := frameOf(rapid.SliceOfN(eventgen.Record(), 1, 4).Draw(t, "records"))
		var wanted []events.Event
		for _, k := range kinds {
			if rapid.Bool().Draw(t, k.Name) {
				wanted = append(wanted, k.Zero)
			}
		}
		set, before := events.EventSetOf(wanted...), &events.Record{Events: []events.Event{events.TimerFired{Step: 1}}}
		got, err := events.DecodeFrameOnly([]*events.Record{before}, events.AppendFrame(nil, records...), set)
		if err == nil { // into what the first time has left
			got, err = events.DecodeFrameOnly(got[:1], events.AppendFrame(nil, records...), set)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			r.WorkflowID, r.Answers = "", nil
			for i, e := range r.Events {
				zero := kinds[events.EventKind(e)-1].Zero
				if !slices.ContainsFunc(wanted, func(w events.Event) bool { return events.EventKind(w) == events.EventKind(e) }) {
					r.Events[i] = zero
				}
			}
		}
		if diff := cmp.Diff(records, got[1:], cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decoded records differ (-want +got):\n%s", diff)
		}
		if got[0] != before || before.Events[0] != (events.TimerFired{Step: 1}) {
			t.Fatalf("the record before became %v", got[0])
		}
	})
}

// frameOf gives records consecutive positions in one partition.
func frameOf(records []*events.Record) []*events.Record {
	for i, r := range records {
		r.Partition, r.Seq = 3, events.Seq(1000+i)
	}
	return records
}
