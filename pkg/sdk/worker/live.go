package worker

import (
	"context"
	"sync"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

// liveRun is the code of one run in this worker's memory. One activation at a time drives it.
type liveRun struct {
	id   string
	run  *replay.Run
	done outcomes
	// steps are the running steps, by number, that have goroutines of their own; nil before the first.
	steps map[events.Step]context.CancelCauseFunc
	bytes int
	lost  bool // its code does not come back: do not touch the run

	prev, next *liveRun // in the cache
}

// outcomes are those of steps that wait to be given to the code, at most one of each running step.
type outcomes struct {
	wake chan struct{} // has a value when there may be one

	mu    sync.Mutex
	ended []replay.StepOutcome
}

func (o *outcomes) put(outcome replay.StepOutcome) {
	o.mu.Lock()
	o.ended = append(o.ended, outcome)
	o.mu.Unlock()
	o.signal()
}

func (o *outcomes) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest; false means that there is none.
func (o *outcomes) take() (outcome replay.StepOutcome, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ended) == 0 {
		return replay.StepOutcome{}, false
	}
	outcome = o.ended[0]
	o.ended = o.ended[1:]
	return outcome, true
}

// cache keeps live runs between their activations, the most recently used ones, bounded by count and bytes. It is guarded
// by the worker's lock. A run that an activation drives is not in it.
type cache struct {
	maxRuns, maxBytes int
	bytes             int
	runs              map[string]*liveRun
	ends              liveRun // of the ring of runs: the most recently used one is next, the least recently used one before
}

func newCache(maxRuns, maxBytes int) *cache {
	c := &cache{maxRuns: maxRuns, maxBytes: maxBytes, runs: map[string]*liveRun{}}
	c.ends.next, c.ends.prev = &c.ends, &c.ends
	return c
}

// take removes a run from the cache and returns it; nil if it is not there.
func (c *cache) take(id string) *liveRun {
	l := c.runs[id]
	if l != nil {
		c.remove(l)
	}
	return l
}

// put adds a run and returns those that had to make room for it.
func (c *cache) put(l *liveRun) (evicted []*liveRun) {
	if old := c.take(l.id); old != nil {
		evicted = append(evicted, old)
	}
	l.bytes = l.run.Bytes()
	c.runs[l.id] = l
	l.prev, l.next = &c.ends, c.ends.next
	l.prev.next, l.next.prev = l, l
	c.bytes += l.bytes
	for len(c.runs) > c.maxRuns || (c.bytes > c.maxBytes && len(c.runs) > 1) {
		evicted = append(evicted, c.remove(c.ends.prev))
	}
	return evicted
}

// clear empties the cache and returns what was in it.
func (c *cache) clear() (all []*liveRun) {
	for len(c.runs) > 0 {
		all = append(all, c.remove(c.ends.next))
	}
	return all
}

func (c *cache) remove(l *liveRun) *liveRun {
	l.prev.next, l.next.prev = l.next, l.prev
	l.prev, l.next = nil, nil
	delete(c.runs, l.id)
	c.bytes -= l.bytes
	return l
}
