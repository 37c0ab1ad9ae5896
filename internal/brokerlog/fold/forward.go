package fold

import (
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxUnforwarded bounds the commands that a forwarder holds for one destination; [Forwarder.Full] says when to pause reading.
const MaxUnforwarded = 10_000

// Forwarder carries the commands that a partition gives out to the commands logs of the others. It may be started anywhere
// and any number of times at once, because destinations take each number once: an old one beside a new one only sends twice.
//
// There is a cursor for each destination, so that one that does not take appends holds up no other.
type Forwarder struct {
	state *State
	pairs []pair // by destination
	mark  *State // becomes a checkpoint when all it gave out is acknowledged
}

// pair is what is on its way to one destination.
type pair struct {
	to    events.Partition
	acked uint64 // all up to here are in the commands log, at places in order
	life  uint64 // counts failures
	queue []Forward
	sent  int      // the first ones of queue are sent
	done  []uint64 // acknowledged above acked+1, ascending
}

// Ticket names one sending of one command. What is learned of an earlier sending says nothing of the place of a later one.
type Ticket struct {
	To   events.Partition
	N    uint64
	life uint64
}

// NewForwarder begins on the state and the cursors of a checkpoint, which belong to it from then on; on [NewState] and nil at
// the beginning of a log.
func NewForwarder(s *State, acked []Counter) *Forwarder {
	f := &Forwarder{state: s}
	for _, c := range acked {
		f.pair(c.Partition).acked = c.N
	}
	return f
}

// State returns the fold that the forwarder reads with. It is for looking at.
func (f *Forwarder) State() *State { return f.state }

// Read takes the next message of the events log and queues what it gives out.
func (f *Forwarder) Read(m Message) Verdict {
	v, frame := f.state.Read(m)
	if v != Accepted {
		return v
	}
	for _, s := range frame.Sent {
		if p := f.pair(s.To); s.N > p.acked {
			p.queue = append(p.queue, Forward{To: s.To, N: s.N, Body: slices.Clone(s.Body)})
		}
	}
	return v
}

// Full reports whether a destination has MaxUnforwarded commands waiting: reading should pause.
func (f *Forwarder) Full() bool {
	return slices.ContainsFunc(f.pairs, func(p pair) bool { return len(p.queue) >= MaxUnforwarded })
}

// Idle reports whether everything that was read is acknowledged.
func (f *Forwarder) Idle() bool {
	return !slices.ContainsFunc(f.pairs, func(p pair) bool { return len(p.queue) > 0 })
}

// Next returns the next command to append to the commands log of a destination; false when there is none. Commands of one
// destination must be appended in this order.
func (f *Forwarder) Next(to events.Partition) ([]byte, Ticket, bool) {
	p := f.pair(to)
	if p.sent == len(p.queue) {
		return nil, Ticket{}, false
	}
	s := p.queue[p.sent]
	p.sent++
	command := Command{Partition: to, Forwarded: true, Source: f.state.partition, N: s.N, Confirmed: p.acked, Body: s.Body}
	return AppendCommand(nil, &command), Ticket{To: to, N: s.N, life: p.life}, true
}

// Acked tells that a command is durable in the log of its destination.
func (f *Forwarder) Acked(t Ticket) {
	p := f.pair(t.To)
	if t.N <= p.acked || t.life != p.life && !mutant.On(mutant.OldSendingCounts) {
		return
	}
	if at, found := slices.BinarySearch(p.done, t.N); !found {
		p.done = slices.Insert(p.done, at, t.N)
	}
	for len(p.done) > 0 && len(p.queue) > 0 && p.done[0] == p.queue[0].N {
		p.acked, p.done, p.queue = p.done[0], p.done[1:], p.queue[1:]
		p.sent = max(p.sent-1, 0)
	}
}

// Failed tells that a sending has failed or that its outcome is unknown: everything from the first unacknowledged command on
// is sent again, in order.
func (f *Forwarder) Failed(t Ticket) {
	p := f.pair(t.To)
	if t.life != p.life {
		return
	}
	p.life++
	p.sent, p.done = 0, nil
	if mutant.On(mutant.FailedForwardSkipped) {
		p.queue = slices.DeleteFunc(p.queue, func(s Forward) bool { return s.N == t.N })
	}
}

// Checkpoint returns a state with nothing before it unacknowledged, and the cursors to begin with on it; false when there is
// none that is newer than the last one. The events log must be kept from behind the state's position on until a newer
// checkpoint is durable. To be called now and then: each call that finds nothing new sets the goal of the next ones.
func (f *Forwarder) Checkpoint() (*State, []Counter, bool) {
	if f.mark == nil {
		f.mark = f.state.Clone()
	}
	for _, p := range f.pairs {
		if p.acked < f.mark.sent.of(p.to) && !mutant.On(mutant.ForwardCheckpointAhead) {
			return nil, nil, false
		}
	}
	settled := f.mark
	f.mark = nil
	var acked counters
	for _, p := range f.pairs {
		if p.acked > 0 {
			acked.set(p.to, max(p.acked, settled.sent.of(p.to)))
		}
	}
	return settled, acked, true
}

// pair returns the pair of a destination, and makes it if there is none.
func (f *Forwarder) pair(to events.Partition) *pair {
	at, found := slices.BinarySearchFunc(f.pairs, to, func(p pair, to events.Partition) int { return int(p.to) - int(to) })
	if !found {
		f.pairs = slices.Insert(f.pairs, at, pair{to: to})
	}
	return &f.pairs[at]
}
