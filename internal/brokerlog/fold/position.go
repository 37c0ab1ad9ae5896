package fold

import (
	"cmp"
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Position is the place of a message in one partition of a plain log, given by the broker and rising from message to message.
// The zero value lies before every message. Kafka needs Entry alone (offset+1); Pulsar has a ledger (+1), an entry and an index
// in a batch. A position means nothing in another log: a copy or a restored log has others.
type Position struct {
	Segment uint64
	Entry   uint64
	Index   uint32
}

// Compare returns -1, 0 or 1 when p lies before, at or after q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Segment, q.Segment), cmp.Compare(p.Entry, q.Entry), cmp.Compare(p.Index, q.Index))
}

// IsZero reports whether p lies before every message.
func (p Position) IsZero() bool { return p == Position{} }

// String returns "segment/entry/index".
func (p Position) String() string { return fmt.Sprintf("%d/%d/%d", p.Segment, p.Entry, p.Index) }

// Message is what a plain log holds at a position.
type Message struct {
	At   Position
	Body []byte
}

// Counter is a number that counts commands between two partitions, for the one at the other end.
type Counter struct {
	Partition events.Partition
	N         uint64
}

// counters are ordered by partition; partitions that are not there count 0.
type counters []Counter

func (c counters) find(p events.Partition) (int, bool) {
	for i := range c {
		if c[i].Partition >= p {
			return i, c[i].Partition == p
		}
	}
	return len(c), false
}

func (c counters) of(p events.Partition) uint64 {
	if i, ok := c.find(p); ok {
		return c[i].N
	}
	return 0
}

func (c *counters) set(p events.Partition, n uint64) {
	i, ok := c.find(p)
	if !ok {
		*c = append(*c, Counter{})
		copy((*c)[i+1:], (*c)[i:])
	}
	(*c)[i] = Counter{p, n}
}
