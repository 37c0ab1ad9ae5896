package row

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A percentile is the value of that rank, at most 2 % (or 1 µs) too high; counting apart and merging is the same as
// counting together; the encoding gives back what it was made of.
func TestPercentiles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, 1e9), rapid.Int64Range(0, 1e14)), 1, 60).Draw(t, "took")
		var all, left, right Steps
		for i, µs := range took {
			all.Add(&Outcome{Kind: TaskDone, Took: µs})
			half := &left
			if i%2 == 0 {
				half = &right
			}
			half.Add(&Outcome{Kind: TaskDone, Took: µs})
		}
		left.Merge(&right)
		if !reflect.DeepEqual(left, all) {
			t.Fatalf("merged %+v, want %+v", left, all)
		}
		back, err := DecodeSteps(AppendSteps(nil, &all))
		if err != nil || !reflect.DeepEqual(back, all) {
			t.Fatalf("decoded %+v (%v), want %+v", back, err, all)
		}
		slices.Sort(took)
		for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
			exact := took[max(1, int(math.Ceil(q*float64(len(took)))))-1]
			got := all.Percentile(q)
			if capped := min(exact, bounds[len(bounds)-1]); got < capped || float64(got) > float64(capped)*1.02+1 {
				t.Fatalf("p%g of %v is %d, want %d", q*100, took, got, exact)
			}
		}
	})
}

func FuzzDecodeSteps(f *testing.F) {
	s := Steps{Failed: 1}
	s.Add(&Outcome{Kind: TaskDone, Took: 77})
	f.Add(AppendSteps(nil, &s))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSteps(b)
		if err != nil {
			return
		}
		s.Percentile(0.99)
		if again, err := DecodeSteps(AppendSteps(nil, &s)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v became %+v (%v)", s, again, err)
		}
	})
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"card 4711 of 12:30 is declined\nstack": "card # of #:# is declined",
		"":                                      "",
		"été 3":                                 "été #",
	} {
		if got := Fingerprint(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
	if got := Fingerprint(string(slices.Repeat([]rune{'é'}, 500))); len(got) != maxMessage {
		t.Errorf("%d bytes, want %d", len(got), maxMessage)
	}
}

func TestFloor(t *testing.T) {
	t.Parallel()
	if got := Floor(-1, Minute); got != -Minute {
		t.Errorf("the minute before 1970 began at %d", got)
	}
	if got := Floor(Minute, Minute); got != Minute {
		t.Errorf("a minute begins at %d", got)
	}
}
