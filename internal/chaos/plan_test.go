package chaos

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPlan: the same seed gives the same faults, as many of each kind as asked for, in order and in time.
func TestPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed, p := rapid.Uint64().Draw(t, "seed"), planned{kills: rapid.IntRange(0, 300).Draw(t, "kills"), over: 10 * time.Second}
		p.counts[onService], p.counts[onWorker] = rapid.IntRange(1, 8).Draw(t, "services"), rapid.IntRange(0, 5).Draw(t, "workers")
		if rapid.Bool().Draw(t, "cluster") {
			p.counts[onBroker], p.counts[onReadStore] = 1, 1
			p.stops, p.restarts, p.away = rapid.IntRange(0, 9).Draw(t, "stops"), rapid.IntRange(0, 9).Draw(t, "restarts"), time.Minute
		}
		faults := plan(seed, p)
		if !reflect.DeepEqual(faults, plan(seed, p)) {
			t.Fatal("the same seed gives other faults")
		}
		if !slices.IsSortedFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) }) {
			t.Error("not in order")
		}
		var kills, pauses, restarts, away int
		for _, f := range faults {
			switch {
			case f.at < 0 || f.at >= p.over || f.on.n < 0 || f.on.n >= p.counts[f.on.kind]:
				t.Errorf("%+v is outside", f)
			case f.pause > 0:
				pauses++
			case f.on.kind == onBroker:
				restarts++
			case f.on.kind == onReadStore:
				away++
			default:
				kills++
			}
			if f.again > 0 {
				kills++
			}
		}
		if kills != p.kills || pauses != p.kills/6+p.stops || restarts != p.restarts || away > 0 != (p.away > 0) {
			t.Errorf("%d kills, %d pauses, %d restarts and %d times without the read store of %+v", kills, pauses, restarts, away, p)
		}
	})
}
