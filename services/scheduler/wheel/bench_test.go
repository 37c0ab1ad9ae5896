package wheel

import (
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// BenchmarkSetPop keeps 10,000 keys as wide as those of timers and, each round, takes the earliest and sets it again.
func BenchmarkSetPop(b *testing.B) {
	type key [48]byte
	w := New[key]()
	for i := range 10_000 {
		w.Set(key{byte(i), byte(i >> 8)}, events.Time(i))
	}
	for i := 0; b.Loop(); i++ {
		k, ok := w.Pop(events.Time(i + 20_000))
		if !ok {
			b.Fatal("nothing is due")
		}
		w.Set(k, events.Time(i+10_000))
	}
}
