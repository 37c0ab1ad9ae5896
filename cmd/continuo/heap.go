package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// heapRoom is how much a server allocates at least from one garbage collection to the next. The runtime's own rule, to
// collect when the heap has doubled, makes a busy server with little in memory collect several times a second.
const heapRoom = 128 << 20

var heapOnce sync.Once

// keepHeapRoom makes the runtime collect garbage when as much was allocated as is in use, but no earlier than after
// heapRoom. It concerns the whole process and lasts until its end; a GOGC in the environment takes precedence.
func keepHeapRoom() {
	if os.Getenv("GOGC") == "" {
		heapOnce.Do(func() { afterCollection(100) })
	}
}

// afterCollection adjusts the percentage after each collection: that is when the cell, which nothing refers to, is found.
func afterCollection(set int) {
	type cell struct{ _ [64]byte } // too large to share a block with others
	runtime.AddCleanup(&cell{}, func(set int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if percent := collectAt(live[0].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		afterCollection(set)
	}, set)
}

// collectAt returns the growth in percent of what is in use that gives heapRoom, in steps, so that it rarely changes.
func collectAt(live uint64) int {
	const step = 25
	percent := heapRoom * 100 / max(live, 1<<20)
	return int(max(percent/step*step, 100))
}
