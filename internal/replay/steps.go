package replay

import (
	"cmp"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// openSteps are the open calls, timers and steps of a run, in the order of their numbers, which is that in which they were
// begun. Ended ones stay until they are the greater part.
type openSteps struct {
	futures []*Future
	ended   int
}

func (o *openSteps) add(f *Future) { o.futures = append(o.futures, f) }

// get returns the open future of a step, nil if there is none.
func (o *openSteps) get(s events.Step) *Future {
	i, ok := slices.BinarySearchFunc(o.futures, s, func(f *Future, s events.Step) int { return cmp.Compare(f.step, s) })
	if !ok || o.futures[i].ended {
		return nil
	}
	return o.futures[i]
}

// forget is told that one of the futures has ended.
func (o *openSteps) forget() {
	if o.ended++; 2*o.ended > len(o.futures) {
		o.futures = slices.DeleteFunc(o.futures, func(f *Future) bool { return f.ended })
		o.ended = 0
	}
}

func (o *openSteps) len() int { return len(o.futures) - o.ended }

// all returns the open futures of now.
func (o *openSteps) all() []*Future {
	if o.len() == 0 {
		return nil
	}
	open := make([]*Future, 0, o.len())
	for _, f := range o.futures {
		if !f.ended {
			open = append(open, f)
		}
	}
	return open
}
