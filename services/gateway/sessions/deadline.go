package sessions

import (
	"container/heap"

	"github.com/continuo-dev/continuo/pkg/events"
)

// deadlines is what is to be looked at and when. An entry is a reminder only: whoever is due says itself whether its time
// has come, so that a heartbeat need not touch the heap.
type deadlines struct {
	entries []*reminder
	order   uint64
}

// reminder is an entry of the heap, and a part of what it is of, which may take it back.
type reminder struct {
	at    events.Time
	order uint64 // breaks ties, so that outputs do not depend on the heap
	place int    // in the heap, from 1; 0 when it is not there
	of    due
}

// due is something with a deadline. expire acts if the time has come; it returns when to look again, 0 for never.
type due interface {
	expire(c *Core) events.Time
}

func (d *deadlines) Len() int { return len(d.entries) }

func (d *deadlines) Less(i, j int) bool {
	a, b := d.entries[i], d.entries[j]
	return a.at < b.at || (a.at == b.at && a.order < b.order)
}

func (d *deadlines) Swap(i, j int) {
	d.entries[i], d.entries[j] = d.entries[j], d.entries[i]
	d.entries[i].place, d.entries[j].place = i+1, j+1
}

func (d *deadlines) Push(x any) {
	if r, ok := x.(*reminder); ok {
		d.entries = append(d.entries, r)
		r.place = len(d.entries)
	}
}

func (d *deadlines) Pop() any {
	last := len(d.entries) - 1
	r := d.entries[last]
	d.entries[last] = nil
	d.entries = d.entries[:last]
	r.place = 0
	return r
}

func (d *deadlines) next() events.Time {
	if len(d.entries) == 0 {
		return 0
	}
	return d.entries[0].at
}

// add sets the reminder of something, in place of one that was set before.
func (d *deadlines) add(r *reminder, at events.Time, of due) {
	d.remove(r)
	d.order++
	r.at, r.order, r.of = at, d.order, of
	heap.Push(d, r)
}

// remove takes a reminder back; one that is not set is fine.
func (d *deadlines) remove(r *reminder) {
	if r.place > 0 {
		heap.Remove(d, r.place-1)
	}
}

// expire lets everything that is due act.
func (c *Core) expire() {
	if c.now < c.hearing {
		return
	}
	for len(c.deadlines.entries) > 0 && c.deadlines.entries[0].at <= c.now {
		r := c.deadlines.entries[0]
		again := r.of.expire(c)
		switch {
		case r.place == 0: // taken back meanwhile
		case again == 0:
			c.deadlines.remove(r)
		default:
			r.at = max(again, c.now+1)
			heap.Fix(&c.deadlines, r.place-1)
		}
	}
}
