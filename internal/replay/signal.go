package replay

import (
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// inbox holds the signals of one name that have come and were not taken, and who asked for the next ones.
//
// Signals are handed out in the order in which they came, each to the first who takes one. Claims are the futures of those
// who asked, in the order in which they did; the n-th claim is ready when n signals lie there.
type inbox struct {
	name     events.SignalName
	asked    bool // the code looked for one
	taken    uint64
	received uint64
	pending  []arrival
	claims   []*Future
}

type arrival struct {
	index uint64 // among all ends of the run
	input events.Payload
}

func (r *Run) inbox(name events.SignalName) *inbox {
	i, ok := slices.BinarySearchFunc(r.inboxes, name, func(in *inbox, name events.SignalName) int {
		return strings.Compare(string(in.name), string(name))
	})
	if !ok {
		r.inboxes = slices.Insert(r.inboxes, i, &inbox{name: name})
	}
	return r.inboxes[i]
}

// signal takes a signal in. One that was taken before the run's last continuation is skipped.
func (r *Run) signal(e events.SignalReceived) {
	in := r.inbox(e.Name)
	if e.Index <= in.received {
		return
	}
	in.received = e.Index
	r.index++
	r.bytes += len(e.Input.Data)
	in.pending = append(in.pending, arrival{r.index, e.Input})
	if n := len(in.pending); n <= len(in.claims) {
		r.wake(in.claims[n-1])
	}
}

// Next asks for the next signal of a name. A fiber that asks again before it has taken one gets the same future.
func (r *Run) Next(name events.SignalName) *Future {
	f, err := r.enter("Next")
	if err != nil {
		return r.Failed(err)
	}
	for _, c := range f.claims {
		if c.name == string(name) {
			return c
		}
	}
	c := &Future{run: r, kind: kindSignal, name: string(name)}
	r.claim(f, c)
	return c
}

// TryNext takes a signal that lies there and that nobody else has asked for; false means there is none.
func (r *Run) TryNext(name events.SignalName) (events.Payload, bool, error) {
	f, err := r.enter("TryNext")
	if err != nil {
		return events.Payload{}, false, err
	}
	for _, c := range f.claims {
		if c.name == string(name) {
			if !c.Ready() {
				return events.Payload{}, false, nil
			}
			r.take(c)
			return c.result, true, nil
		}
	}
	in := r.inbox(name)
	in.asked = true
	if len(in.pending) <= len(in.claims) {
		return events.Payload{}, false, nil
	}
	return in.pop(r).input, true, nil
}

func (in *inbox) pop(r *Run) arrival {
	a := in.pending[0]
	if len(in.pending) > 1 {
		in.pending = in.pending[1:]
	} else {
		clear(in.pending)
		in.pending = in.pending[:0] // the next one has room
	}
	in.taken++
	r.bytes -= len(a.input.Data)
	return a
}

func (r *Run) claim(f *fiber, c *Future) {
	in := r.inbox(events.SignalName(c.name))
	in.asked = true
	in.claims = append(in.claims, c)
	f.claims = append(f.claims, c)
	c.owner = f
}

// claimAgain renews claims that were given back when the fiber that made them ended.
func (r *Run) claimAgain(f *fiber, futures []*Future) {
	for _, c := range futures {
		if c.kind == kindSignal && !c.ended && c.owner == nil {
			r.claim(f, c)
		}
	}
}

// unclaim gives a claim back; the next in line may become ready by that.
func (r *Run) unclaim(c *Future) {
	in := r.inbox(events.SignalName(c.name))
	i := slices.Index(in.claims, c)
	in.claims = slices.Delete(in.claims, i, i+1)
	c.owner.claims = slices.DeleteFunc(c.owner.claims, func(o *Future) bool { return o == c })
	c.owner = nil
	if n := len(in.pending); i < n && n <= len(in.claims) {
		r.wake(in.claims[n-1])
	}
}

// claimIndex tells when a claim became ready, if it has.
func (r *Run) claimIndex(c *Future) (uint64, bool) {
	in := r.inbox(events.SignalName(c.name))
	i := slices.Index(in.claims, c)
	if i < 0 || i >= len(in.pending) {
		return 0, false
	}
	return in.pending[i].index, true
}

// signalIndex is the number, among all signals of its name, of the one that makes a claim ready.
func (r *Run) signalIndex(c *Future) uint64 {
	in := r.inbox(events.SignalName(c.name))
	return in.taken + uint64(slices.Index(in.claims, c)) + 1
}

// take hands the next signal to a ready claim; other futures are left as they are.
func (r *Run) take(c *Future) {
	if c.kind != kindSignal || c.ended {
		return
	}
	in := r.inbox(events.SignalName(c.name))
	a := in.pop(r)
	in.claims = slices.DeleteFunc(in.claims, func(o *Future) bool { return o == c })
	c.owner.claims = slices.DeleteFunc(c.owner.claims, func(o *Future) bool { return o == c })
	c.ended, c.index, c.result = true, a.index, a.input
}

// reads counts the signals taken, by name, with 0 for names that the code asked for in vain: the run must not end before
// it has seen what came meanwhile.
func (r *Run) reads() []events.SignalRead {
	var reads []events.SignalRead
	for _, in := range r.inboxes {
		if in.asked || in.taken > 0 {
			reads = append(reads, events.SignalRead{Name: in.name, Count: in.taken})
		}
	}
	return reads
}
