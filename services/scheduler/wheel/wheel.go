// Package wheel orders things by the time at which something has to be done about them.
//
// It is an indexed heap: setting, moving and removing cost O(log n), looking at the earliest costs nothing. Two things
// of the same time come in the order in which they were set, so that what a wheel does depends on its calls alone.
package wheel

import (
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Wheel holds one time per key. The zero value is not usable; see [New]. It has no bound of its own: whoever fills it
// decides what is near enough to be held.
type Wheel[K comparable] struct {
	heap  []*slot[K]
	index map[K]*slot[K]
	sets  uint64
}

// slot is where a key is in the heap: moving it does not touch the index.
type slot[K comparable] struct {
	at    events.Time
	order uint64
	key   K
	place int
}

// New returns an empty wheel.
func New[K comparable]() *Wheel[K] { return &Wheel[K]{index: make(map[K]*slot[K])} }

// Len returns the number of keys.
func (w *Wheel[K]) Len() int { return len(w.heap) }

// At returns the time of a key; ok is false if it has none.
func (w *Wheel[K]) At(key K) (at events.Time, ok bool) {
	s := w.index[key]
	if s == nil {
		return 0, false
	}
	return s.at, true
}

// Set gives a key a time, in place of the one it had.
func (w *Wheel[K]) Set(key K, at events.Time) {
	w.sets++
	s := w.index[key]
	if s == nil {
		s = &slot[K]{key: key, place: len(w.heap)}
		w.index[key] = s
		w.heap = append(w.heap, s)
	}
	s.at, s.order = at, w.sets
	w.settle(s.place)
}

// Remove forgets a key and reports whether it had a time.
func (w *Wheel[K]) Remove(key K) bool {
	s := w.index[key]
	if s == nil {
		return false
	}
	w.forget(s)
	return true
}

func (w *Wheel[K]) forget(s *slot[K]) {
	last := len(w.heap) - 1
	moved := w.heap[last]
	w.heap[last] = nil
	w.heap = w.heap[:last]
	delete(w.index, s.key)
	if s.place < last {
		w.put(s.place, moved)
		w.settle(s.place)
	}
}

// Next returns the earliest time; ok is false if the wheel is empty.
func (w *Wheel[K]) Next() (at events.Time, ok bool) {
	if len(w.heap) == 0 {
		return 0, false
	}
	return w.heap[0].at, true
}

// Pop removes and returns the earliest key if its time has come by now.
func (w *Wheel[K]) Pop(now events.Time) (key K, ok bool) {
	if len(w.heap) == 0 || w.heap[0].at > now {
		return key, false
	}
	first := w.heap[0]
	w.forget(first)
	return first.key, true
}

func (w *Wheel[K]) put(i int, s *slot[K]) {
	w.heap[i] = s
	s.place = i
}

// settle moves what is at i to where it belongs.
func (w *Wheel[K]) settle(i int) {
	if !w.up(i) {
		w.down(i)
	}
}

func (w *Wheel[K]) less(i, j int) bool {
	a, b := w.heap[i], w.heap[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (w *Wheel[K]) swap(i, j int) {
	a, b := w.heap[i], w.heap[j]
	w.put(i, b)
	w.put(j, a)
}

func (w *Wheel[K]) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !w.less(i, parent) {
			return moved
		}
		w.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (w *Wheel[K]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(w.heap); child++ {
			if w.less(child, least) && (child%2 == 1 || !mutant.On(mutant.WheelIgnoresRightChild)) {
				least = child
			}
		}
		if least == i {
			return
		}
		w.swap(i, least)
		i = least
	}
}
