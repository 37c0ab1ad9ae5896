package chaos

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPlan: the same seed gives the same faults, as many kills as asked for, in order and in time.
func TestPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed, kills, workers := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 300).Draw(t, "kills"), rapid.IntRange(0, 5).Draw(t, "workers")
		const over = 10 * time.Second
		faults := plan(seed, kills, workers, over)
		if !reflect.DeepEqual(faults, plan(seed, kills, workers, over)) {
			t.Fatal("the same seed gives other faults")
		}
		if !slices.IsSortedFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) }) {
			t.Error("not in order")
		}
		got, pauses := 0, 0
		for _, f := range faults {
			switch {
			case f.at < 0 || f.at >= over || f.worker < onServer || f.worker >= workers:
				t.Errorf("%+v is outside", f)
			case f.pause > 0:
				pauses++
			default:
				got++
			}
			if f.again > 0 {
				got++
			}
		}
		if got != kills || pauses != kills/6 {
			t.Errorf("%d kills and %d pauses of %d kills", got, pauses, kills)
		}
	})
}
