package worker

import (
	"container/list"
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
	order             *list.List // of *liveRun, most recently used first
	runs              map[string]*list.Element
}

func newCache(maxRuns, maxBytes int) *cache {
	return &cache{maxRuns: maxRuns, maxBytes: maxBytes, order: list.New(), runs: map[string]*list.Element{}}
}

// take removes a run from the cache and returns it; nil if it is not there.
func (c *cache) take(id string) *liveRun {
	e, ok := c.runs[id]
	if !ok {
		return nil
	}
	return c.remove(e)
}

// put adds a run and returns those that had to make room for it.
func (c *cache) put(l *liveRun) (evicted []*liveRun) {
	if old := c.take(l.id); old != nil {
		evicted = append(evicted, old)
	}
	l.bytes = l.run.Bytes()
	c.runs[l.id] = c.order.PushFront(l)
	c.bytes += l.bytes
	for c.order.Len() > c.maxRuns || (c.bytes > c.maxBytes && c.order.Len() > 1) {
		evicted = append(evicted, c.remove(c.order.Back()))
	}
	return evicted
}

// clear empties the cache and returns what was in it.
func (c *cache) clear() (all []*liveRun) {
	for c.order.Len() > 0 {
		all = append(all, c.remove(c.order.Front()))
	}
	return all
}

func (c *cache) remove(e *list.Element) *liveRun {
	l, _ := c.order.Remove(e).(*liveRun)
	delete(c.runs, l.id)
	c.bytes -= l.bytes
	return l
}
