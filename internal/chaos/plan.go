package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is a kill or a pause that is to come.
type fault struct {
	at time.Duration // since the beginning of the storm
	// worker is the place of the worker; -1 means the server.
	worker int
	// pause is the length of a pause; 0 means that it is a kill.
	pause time.Duration
	// again kills a server once more, this long after its start, most often before it has recovered.
	again time.Duration
	// rest is how long a killed worker stays away.
	rest time.Duration
}

const onServer = -1

// Lengths of pauses. A long one is longer than the time that a worker has for an activation.
const (
	longPause  = 11 * time.Second
	shortPause = 2 * time.Second
)

// plan draws faults with the given number of kills, and for every six kills one pause, in the order in which they are due.
func plan(seed uint64, kills, workers int, over time.Duration) []fault {
	r := rand.New(rand.NewPCG(seed, 1))
	var faults []fault
	for done := 0; done < kills; done++ {
		f := fault{at: time.Duration(r.Int64N(int64(over))), worker: onServer}
		switch n := r.IntN(20); {
		case n < 5 || workers == 0:
		case n < 6 && done+1 < kills:
			f.again = time.Duration(1+r.IntN(250)) * time.Millisecond
			done++
		default:
			f.worker, f.rest = r.IntN(workers), time.Duration(r.IntN(300))*time.Millisecond
		}
		faults = append(faults, f)
	}
	for range kills / 6 {
		f := fault{at: time.Duration(r.Int64N(int64(over))), worker: onServer, pause: time.Duration(50+r.IntN(1500)) * time.Millisecond}
		if workers > 0 && r.IntN(5) > 0 {
			f.worker, f.pause = r.IntN(workers), time.Duration(50+r.Int64N(int64(shortPause/time.Millisecond)))*time.Millisecond
			if r.IntN(12) == 0 {
				f.pause = longPause
			}
		}
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return faults
}
