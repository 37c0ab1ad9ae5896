package fold_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

var update = flag.Bool("update", false, "write golden bytes of messages that have none")

// log is a random events log of one partition: owners that follow each other, whose frames are repeated, late and missing.
func log(t *rapid.T) []fold.Message {
	var all []fold.Message
	s := fold.NewState(0)
	for i := range rapid.IntRange(1, 40).Draw(t, "messages") {
		epoch, owner := s.Epoch()
		f := &fold.Frame{Epoch: max(epoch, 1), Owner: max(owner, 1)}
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case epoch == 0 || kind < 2:
			f.Open, f.Log, f.Owner = true, ours, events.OwnerID(rapid.IntRange(1, 3).Draw(t, "owner"))
			f.Epoch = epoch + 1 - uint64(rapid.IntRange(0, min(1, int(epoch))).Draw(t, "behind"))
			f.Epoch = max(f.Epoch, 1)
			f.Confirmed = s.Seq() - min(s.Seq(), events.Seq(rapid.IntRange(0, 1).Draw(t, "unread")))
		default:
			first := s.Seq() + 1 + events.Seq(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "gap"))
			f.First = first - min(first-1, events.Seq(rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "again")))
			f.Count = uint32(rapid.IntRange(1, 2).Draw(t, "count"))
			f.Confirmed = min(s.Seq(), f.First-1)
			f.Records = events.AppendFrame(nil, records(f.First, int(f.Count))...)
		}
		m := fold.Message{At: fold.Position{Segment: 1, Entry: uint64(i + 1)}, Body: fold.AppendFrame(nil, f)}
		s.Read(m)
		all = append(all, m)
	}
	return all
}

// A reader that goes on from its checkpoint, at any place, comes to the same verdicts and the same state as one that never
// stopped. Accepted records have no gaps, epochs do not fall, and what was accepted once is never taken back.
func TestCheckpointChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole, pieces := fold.NewState(0), fold.NewState(0)
		for _, m := range log(t) {
			before, epoch := whole.Seq(), epochOf(whole)
			v, f := whole.Read(m)
			if other, _ := pieces.Read(m); other != v {
				t.Fatalf("%v without a checkpoint, %v with one", v, other)
			}
			if v == fold.Accepted && f.First != before+1 || whole.Seq() < before || epochOf(whole) < epoch {
				t.Fatalf("%v: records %d…%d after %d, epoch %d after %d", v, f.First, f.Last(), before, epochOf(whole), epoch)
			}
			if v == fold.Halted {
				break
			}
			if rapid.Bool().Draw(t, "checkpoint") {
				var err error
				if pieces, _, err = fold.DecodeCheckpoint(fold.AppendCheckpoint(nil, pieces, nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if a, b := fold.AppendCheckpoint(nil, whole, nil), fold.AppendCheckpoint(nil, pieces, nil); !bytes.Equal(a, b) {
			t.Fatalf("states differ:\n%x\n%x", a, b)
		}
	})
}

func epochOf(s *fold.State) uint64 {
	epoch, _ := s.Epoch()
	return epoch
}

// samples are one message of each kind.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	opening := fold.AppendFrame(nil, &fold.Frame{Open: true, Epoch: 2, Owner: 7, Confirmed: 3, Log: ours})
	recs := fold.AppendFrame(nil, &fold.Frame{
		Epoch: 2, Owner: 7, Confirmed: 3, First: 4, Count: 2, In: fold.Position{Segment: 5, Entry: 6, Index: 7},
		Taken: []fold.Counter{{Partition: 1, N: 8}}, Sent: []fold.Forward{{To: 2, N: 1, Body: []byte("command")}},
		Records: events.AppendFrame(nil, records(4, 2)...),
	})
	s := fold.NewState(0)
	for i, b := range [][]byte{
		fold.AppendFrame(nil, &fold.Frame{Open: true, Epoch: 1, Owner: 6, Log: ours}),
		fold.AppendFrame(nil, &fold.Frame{Epoch: 1, Owner: 6, First: 1, Count: 3, Records: events.AppendFrame(nil, records(1, 3)...)}),
		opening, recs,
	} {
		if s.Read(fold.Message{At: fold.Position{Entry: uint64(i + 1)}, Body: b}); s.Halt() != nil {
			t.Fatal(s.Halt())
		}
	}
	return map[string][]byte{
		"opening":    opening,
		"records":    recs,
		"command":    fold.AppendCommand(nil, &fold.Command{Partition: 1, Body: []byte("command")}),
		"forwarded":  fold.AppendCommand(nil, &fold.Command{Partition: 1, Forwarded: true, Source: 2, N: 9, Confirmed: 8, Body: []byte("command")}),
		"checkpoint": fold.AppendCheckpoint(nil, s, []fold.Counter{{Partition: 2, N: 1}}),
	}
}

// The bytes of version 1 are frozen.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, b := range samples(t) {
		path, text := "testdata/golden/"+name+".hex", hex.EncodeToString(b)+"\n"
		want, err := os.ReadFile(path)
		if os.IsNotExist(err) && *update {
			err = os.WriteFile(path, []byte(text), 0o600)
			want = []byte(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != text {
			t.Errorf("%s is\n%sand was\n%s", name, text, want)
		}
	}
}

// Whatever is read is written again as it was, and nothing makes a decoder panic.
func FuzzFrame(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if frame, err := fold.DecodeFrame(b); err == nil && !bytes.Equal(fold.AppendFrame(nil, &frame), b) {
			t.Fatalf("%x is written as %x", b, fold.AppendFrame(nil, &frame))
		}
	})
}

func FuzzCommand(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := fold.DecodeCommand(b); err == nil && !bytes.Equal(fold.AppendCommand(nil, &c), b) {
			t.Fatalf("%x is written as %x", b, fold.AppendCommand(nil, &c))
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, acked, err := fold.DecodeCheckpoint(b); err == nil && !bytes.Equal(fold.AppendCheckpoint(nil, s, acked), b) {
			t.Fatalf("%x is written as %x", b, fold.AppendCheckpoint(nil, s, acked))
		}
	})
}

func seed(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
}
