package main

import (
	"os"
	"runtime"
)

// fewProcessors is how many processors are so few that a goroutine which computes holds up many others.
const fewProcessors = 4

// shareProcessors lets twice as many threads run Go code as there are processors, where these are few. The runtime lets a goroutine
// compute for 10 ms before another one is run in its place; a few that do, such as the writing of the read model and of the store's
// tables, make everybody else wait for that long at every step. The kernel divides processors among threads in shorter turns.
//
// It concerns the whole process. A GOMAXPROCS in the environment takes precedence, and so does a limit of the process's group,
// which more threads would only reach sooner.
func shareProcessors() {
	if n := threads(runtime.NumCPU(), runtime.GOMAXPROCS(0), os.Getenv("GOMAXPROCS")); n > 0 {
		runtime.GOMAXPROCS(n)
	}
}

// threads returns how many threads are to run Go code; 0 leaves it to the runtime.
func threads(processors, now int, wish string) int {
	if wish != "" || now != processors || processors > fewProcessors {
		return 0
	}
	return 2 * processors
}
