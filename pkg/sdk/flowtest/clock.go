package flowtest

import (
	"container/heap"
	"context"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// item is something that happens at a time.
type item struct {
	due   events.Time
	order uint64
	do    func()
	index int // in the heap; -1 when it is not there
}

// timeline holds what is to happen, by time and then in the order in which it was set.
type timeline struct {
	items items
	count uint64
}

func (t *timeline) len() int     { return len(t.items) }
func (t *timeline) first() *item { return t.items[0] }

func (t *timeline) add(due events.Time, do func()) *item {
	t.count++
	i := &item{due: due, order: t.count, do: do}
	heap.Push(&t.items, i)
	return i
}

func (t *timeline) remove(i *item) {
	if i != nil && i.index >= 0 {
		heap.Remove(&t.items, i.index)
	}
}

func (t *timeline) pop() *item { return heap.Pop(&t.items).(*item) }

type items []*item

func (s items) Len() int { return len(s) }
func (s items) Less(i, j int) bool {
	return s[i].due < s[j].due || s[i].due == s[j].due && s[i].order < s[j].order
}

func (s items) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *items) Push(x any) {
	i := x.(*item)
	i.index = len(*s)
	*s = append(*s, i)
}

func (s *items) Pop() any {
	old := *s
	i := old[len(old)-1]
	*s, i.index = old[:len(old)-1], -1
	return i
}

// Advance lets d pass: timers fire, retries happen, time runs out, each at its time and in their order.
func (e *Env) Advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	e.advanceTo(e.now.Add(d))
}

// AdvanceTo lets time pass until t; a t in the past does nothing.
func (e *Env) AdvanceTo(t time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	e.advanceTo(events.TimeOf(t))
}

// AdvanceUntil lets time pass from one thing that happens to the next until done reports true. It ends the test when
// nothing is left to happen.
func (e *Env) AdvanceUntil(done func() bool) {
	e.t.Helper()
	for !done() {
		e.mu.Lock()
		e.settle()
		left := e.timeline.len() > 0
		if left {
			e.advanceTo(e.timeline.first().due)
		}
		e.mu.Unlock()
		if !left && !done() {
			e.t.Fatalf("flowtest: nothing is left to happen at %s, and what AdvanceUntil waits for has not", e.Now().Format(time.RFC3339Nano))
		}
	}
}

// settle lets everything happen that can without time passing, whoever does it.
func (e *Env) settle() {
	e.work()
	for e.working && e.wait(context.Background()) {
	}
}

func (e *Env) advanceTo(t events.Time) {
	for e.timeline.len() > 0 && e.timeline.first().due <= t {
		i := e.timeline.pop()
		e.now = max(e.now, i.due)
		i.do()
		e.work()
	}
	e.now = max(e.now, t)
}
