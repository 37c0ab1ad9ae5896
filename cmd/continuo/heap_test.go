package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestGarbageIsCollectedLaterWhileTheHeapIsSmall(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 12800, 1 << 20: 12800, 16 << 20: 800, 60 << 20: 200, 128 << 20: 100, 1 << 40: 100} {
		if got := collectAt(live); got != want {
			t.Errorf("with %d bytes in use the heap grows by %d %%, want %d", live, got, want)
		}
	}
	afterCollection(100)
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for range 1000 {
		runtime.GC() // runs the cleanup some time later
		runtime.Gosched()
		if metrics.Read(percent); percent[0].Value.Uint64() > 100 {
			return
		}
	}
	t.Errorf("after 1,000 collections the heap still grows by %d %%", percent[0].Value.Uint64())
}
