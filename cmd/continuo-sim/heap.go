package main

import "runtime/debug"

// heapBytes is how much memory is filled for each worker before it is collected. What lives of a seed is a fifth of it at
// most.
const heapBytes = 256 << 20

// prepare sets memory up for seeds, which fill it fast and leave it soon: room is cheaper than collecting. What lives does not
// matter for when it is collected: a heap whose goal goes up and down is given back to the kernel and asked for again page by page.
func prepare(workers int) {
	bytes := heapBytes * max(workers, 1)
	hugePages(bytes)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(int64(bytes))
}
