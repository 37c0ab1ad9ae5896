package sim

import "time"

// Shrink looks for the least that still fails: fewer kinds of faults, fewer workflows, a shorter storm. It runs the seed up
// to tries times and returns options and result of the smallest failing run it found; of a seed that does not fail, those
// given.
func Shrink(seed uint64, o Options, failed Result, tries int) (Options, Result) {
	trace := o.Trace
	o.Trace = nil
	if !failed.Failed() {
		return o, failed
	}
	attempt := func(smaller Options) bool {
		if tries--; tries < 0 {
			return false
		}
		r := Run(seed, smaller)
		if r.Failed() {
			o, failed = smaller, r
		}
		return r.Failed()
	}
	for progress := true; progress && tries > 0; {
		progress = false
		for i := range lastFault {
			smaller := o
			smaller.Faults = failed.Faults &^ (1 << i)
			smaller.NoFaults = smaller.Faults == 0
			if failed.Faults&(1<<i) != 0 && attempt(smaller) {
				progress = true
			}
		}
		for _, n := range []int{1, failed.Workflows / 4, failed.Workflows / 2, failed.Workflows - 1} {
			smaller := o
			if smaller.Workflows = n; n > 0 && n < failed.Workflows && attempt(smaller) {
				progress = true
				break
			}
		}
		for _, d := range []time.Duration{failed.Storm / 8, failed.Storm / 2, failed.Storm * 3 / 4} {
			smaller := o
			if smaller.Storm = d; d > 0 && attempt(smaller) {
				progress = true
				break
			}
		}
	}
	o.Trace = trace
	return o, failed
}
