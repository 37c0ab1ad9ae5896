package events_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	eventsv1 "github.com/continuo-dev/continuo/gen/continuo/events/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// aged adds fields of a future version to messages at any depth, oneofs left out: a new kind is not a new field.
func aged(t *rapid.T, m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				aged(t, v.List().Get(i).Message())
			}
		case !fd.IsList() && fd.Message() != nil:
			aged(t, v.Message())
		}
		return true
	})
	if m.Descriptor().Oneofs().Len() > 0 || !rapid.Bool().Draw(t, "aged") {
		return
	}
	var b []byte
	for i := range rapid.IntRange(1, 2).Draw(t, "fields") {
		b = protowire.AppendTag(b, protowire.Number(1000+i), protowire.BytesType)
		b = protowire.AppendString(b, fmt.Sprintf("of the future %d", i))
	}
	m.SetUnknown(b)
}

// A record or command that passes through this version loses nothing that a newer one wrote.
func TestUnknownFieldsAreKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := eventgen.Record().Draw(t, "record")
		newer := newerBytes(t, events.AppendRecord(nil, r), new(eventsv1.Record))
		got, err := events.DecodeRecord(newer)
		if err != nil {
			t.Fatal(err)
		}
		if b := events.AppendRecord(nil, got); !bytes.Equal(b, newer) {
			t.Fatalf("written again as\n%x instead of\n%x", b, newer)
		}
		got.Unknown = nil
		if b := events.AppendRecord(nil, got); !bytes.Equal(b, events.AppendRecord(nil, r)) {
			t.Fatal("what is known was read differently")
		}
	})
}

func TestUnknownFieldsOfEnvelopesAreKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventgen.Envelope().Draw(t, "envelope")
		newer := newerBytes(t, events.AppendEnvelope(nil, &e), new(eventsv1.Envelope))
		got, err := events.DecodeEnvelope(newer)
		if err != nil {
			t.Fatal(err)
		}
		if b := events.AppendEnvelope(nil, &got); !bytes.Equal(b, newer) {
			t.Fatalf("written again as\n%x instead of\n%x", b, newer)
		}
	})
}

func newerBytes(t *rapid.T, b []byte, message proto.Message) []byte {
	if err := proto.Unmarshal(b, message); err != nil {
		t.Fatal(err)
	}
	aged(t, message.ProtoReflect())
	newer, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return newer
}

func TestUnknownFieldsPassThroughHistories(t *testing.T) {
	t.Parallel()
	info, records := billing()
	body := events.AppendEvent(nil, events.TimerFired{Step: 4})
	extended := protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 5)
	records[0].Unknown = &events.Unknown{Fields: extended, Parts: []events.UnknownPart{{Field: 13, Index: 1, Bytes: body}}}
	b, err := events.MarshalHistory(info, records)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := events.UnmarshalHistory(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records, got); diff != "" {
		t.Errorf("came back differently (-want +got):\n%s", diff)
	}
}

func TestUnknownKindsSayWhatToUpgrade(t *testing.T) {
	t.Parallel()
	alien := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), nil)
	record := events.AppendRecord(nil, &events.Record{Header: events.Header{Partition: 4, Seq: 12, Schema: 1}})
	record = protowire.AppendBytes(protowire.AppendTag(record, 13, protowire.BytesType), alien)
	envelope := protowire.AppendBytes(protowire.AppendTag([]byte{8, 1}, 8, protowire.BytesType), alien)
	for name, c := range map[string]struct {
		decode func() error
		want   string
	}{
		"event": {
			func() error { _, err := events.DecodeRecord(record); return err },
			"event kind 99 at partition 4, seq 12 (schema 1) is unknown to this build: upgrade the reader",
		},
		"command": {
			func() error { _, err := events.DecodeEnvelope(envelope); return err },
			"command kind 99 (schema 1) is unknown to this build: upgrade the engine",
		},
		"intent": {
			func() error { _, err := events.DecodeIntent(alien); return err },
			"intent kind 99 is unknown to this build: upgrade the engine to a version that knows the worker's SDK",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.decode()
			var unknown *events.UnknownKindError
			if !errors.As(err, &unknown) || unknown.Kind != 99 || unknown.What != name || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("decoding reports %v", err)
			}
		})
	}
}

func TestNewerSchemaIsFoundBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	record := typical()
	record.Schema = 3
	body := append(events.AppendRecord(nil, record), 0xff, 0xff) // what follows need not even make sense
	frame := events.AppendFrame(nil, record)
	envelope := []byte{8, 3, 0xff}
	for name, decode := range map[string]func() error{
		"record":   func() error { _, err := events.DecodeRecord(body); return err },
		"frame":    func() error { _, err := events.DecodeFrame(frame); return err },
		"envelope": func() error { _, err := events.DecodeEnvelope(envelope); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := decode()
			var newer *events.NewerSchemaError
			if !errors.As(err, &newer) || newer.Schema != 3 || !strings.Contains(err.Error(), "upgrade continuo") {
				t.Fatalf("decoding reports %v", err)
			}
			if name != "envelope" && (newer.Partition != record.Partition || newer.Seq != record.Seq) {
				t.Errorf("the error names %d, %d", newer.Partition, newer.Seq)
			}
		})
	}
}

func TestDamagedMessages(t *testing.T) {
	t.Parallel()
	deep := &events.Failure{Message: "bottom"}
	for range 15 {
		deep = &events.Failure{Cause: deep}
	}
	tooDeep := protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), events.AppendFailure(nil, deep))
	if _, err := events.DecodeFailure(events.AppendFailure(nil, deep)); err != nil {
		t.Errorf("16 failures in each other: %v", err)
	}
	two := append(events.AppendEvent(nil, events.TimerFired{Step: 1}), events.AppendEvent(nil, events.TimerFired{Step: 2})...)
	for name, c := range map[string]struct {
		decode func() error
		want   string
	}{
		"causes too deep":  {func() error { _, err := events.DecodeFailure(tooDeep); return err }, "more than 16 deep"},
		"two kinds":        {func() error { _, err := events.DecodeEvent(two); return err }, "two kinds"},
		"no kind":          {func() error { _, err := events.DecodeEvent(nil); return err }, "no kind"},
		"no command":       {func() error { _, err := events.DecodeEnvelope(nil); return err }, "no command"},
		"cut length":       {func() error { _, err := events.DecodePayload([]byte{0x12, 9, 1}); return err }, "claims 9 bytes; 1 are left"},
		"wrong type":       {func() error { _, err := events.DecodePayload([]byte{0x10, 1}); return err }, "wire type"},
		"field 0":          {func() error { _, err := events.DecodePayload([]byte{0, 1}); return err }, "field number 0"},
		"number too large": {func() error { _, err := events.DecodeAnswer([]byte{7 << 3, 0x80, 0x02}); return err }, "status is 256"},
		"short run id":     {func() error { _, err := events.DecodeAnswer([]byte{6<<3 | 2, 2, 1, 1}); return err }, "run_id has 2 bytes"},
		"too long":         {func() error { _, err := events.DecodeRecord(make([]byte, events.MaxDecodeBytes+1)); return err }, "the limit is 8388608"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.decode()
			var corrupt *events.CorruptError
			if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decoding reports %v", err)
			}
		})
	}
}

// Every flipped bit of a frame is found, and so is every cut.
func TestRotIsFound(t *testing.T) {
	t.Parallel()
	first, second := typical(), typical()
	second.Seq += 5
	frame := events.AppendFrame(nil, first, second)
	for i := range len(frame) * 8 {
		rotten := bytes.Clone(frame)
		rotten[i/8] ^= 1 << (i % 8)
		_, err := events.DecodeFrame(rotten)
		var corrupt *events.CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("with bit %d flipped decoding reports %v", i, err)
		}
		position := i / 8
		if position >= 44 && position < len(frame)/2 && (corrupt.Partition != first.Partition || corrupt.Seq != first.Seq) {
			t.Fatalf("with bit %d of the first body flipped the error names %d, %d", i, corrupt.Partition, corrupt.Seq)
		}
	}
	for n := range len(frame) {
		if _, err := events.DecodeFrame(frame[:n]); err == nil {
			t.Fatalf("a frame cut to %d bytes was accepted", n)
		}
	}
	if _, err := events.DecodeFrame(append(bytes.Clone(frame), 0)); err == nil {
		t.Fatal("a frame with a byte too many was accepted")
	}
	head := events.AppendFrame(nil, first)
	for name, joined := range map[string][]byte{
		"a frame after a frame": append(bytes.Clone(head), events.AppendFrame(nil, second)...),
		"a record twice":        append(bytes.Clone(frame[:len(frame)-len(events.AppendFrame(nil, second))]), head...),
	} {
		if _, err := events.DecodeFrame(joined); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestFrameRoutesWithoutBodies(t *testing.T) {
	t.Parallel()
	first, second := typical(), typical()
	second.Seq += 5
	second.Events = []events.Event{events.RunCompleted{}}
	second.Answers = nil
	f, err := events.OpenFrame(events.AppendFrame(nil, first, second))
	if err != nil {
		t.Fatal(err)
	}
	if f.Len() != 2 || f.First() != events.RouteOf(first) || f.Last() != events.RouteOf(second) {
		t.Errorf("the frame has %d records from %+v to %+v", f.Len(), f.First(), f.Last())
	}
	for framed := range f.All() {
		want := events.RouteHasEvents | events.RouteHasEffects
		if framed.Seq == first.Seq {
			want |= events.RouteHasAnswers | events.RouteOpensWork
		} else {
			want |= events.RouteEndsRun
		}
		if framed.Flags != want || framed.RunID != first.RunID {
			t.Errorf("record %d has flags %b, want %b", framed.Seq, framed.Flags, want)
		}
	}
}

// A flag that says less than Effects would make a scheduler miss work.
func TestRouteFlagsAgreeWithEffects(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := eventgen.Record().Draw(t, "record")
		effects := events.Effects(nil, r)
		opens, ends := false, false
		for _, e := range effects {
			switch e.(type) {
			case events.OpenTask, events.OpenActivation:
				opens = true
			case events.EndRun:
				ends = true
			}
		}
		flags := events.RouteOf(r).Flags
		if flags.Has(events.RouteHasEffects) != (len(effects) > 0) || flags.Has(events.RouteOpensWork) != opens || flags.Has(events.RouteEndsRun) != ends {
			t.Fatalf("flags %b for effects %v", flags, effects)
		}
	})
}
