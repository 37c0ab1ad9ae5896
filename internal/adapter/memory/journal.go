package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Features of the journal in memory. Records are durable because they outlive the life of a [Store].
var Features = journal.Features{Durable: true}

type journalPort struct{ *Store }

// Journal returns the journal.
func (s *Store) Journal() journal.Journal { return journalPort{s} }

type holdKey struct {
	reader    string
	partition events.Partition
}

// doneQueue calls done functions outside the store's lock, one at a time and in order.
type doneQueue struct {
	calling sync.Mutex
	waiting []doneCall // guarded by disk.mu
	spare   []doneCall // empty, to be used again
}

type doneCall struct {
	done func(error)
	err  error
}

func (q *doneQueue) add(err error, dones []func(error)) {
	for _, done := range dones {
		q.waiting = append(q.waiting, doneCall{done, err})
	}
}

// drain calls what waits in the queue of a partition. The lock is not held.
func (s *Store) drain(p events.Partition) {
	q := &s.dones[p]
	q.calling.Lock()
	defer q.calling.Unlock()
	s.disk.mu.Lock()
	if s.crashed || (s.faults.HoldDone && !s.ended) {
		s.disk.mu.Unlock()
		return
	}
	calls := q.waiting
	q.waiting = q.spare
	s.disk.mu.Unlock()
	for _, c := range calls {
		c.done(c.err)
	}
	clear(calls)
	q.spare = calls[:0]
}

func (j journalPort) Partitions() int { return len(j.boxes) }

func (j journalPort) Features() journal.Features { return Features }

func (j journalPort) Send(command events.Envelope, done func(error)) error {
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	if j.ended {
		return journal.ErrClosed
	}
	if j.faults.Send != nil {
		if err := j.faults.Send(command); err != nil {
			return err
		}
	}
	return j.boxes[events.PartitionOf(command.Namespace, command.WorkflowID, len(j.boxes))].Put(command, done)
}

func (j journalPort) Bounds(p events.Partition) (first, last events.Seq) {
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	part := j.disk.partitions[p]
	return part.first, part.last()
}

func (j journalPort) Hold(reader string, at []journal.Position) error {
	if err := j.lock(); err != nil {
		return err
	}
	defer j.unlock()
	for _, position := range at {
		if first := j.disk.partitions[position.Partition].first; max(position.Next, 1) < first {
			return fmt.Errorf("hold of %s at %d in partition %d, which begins at %d: %w", reader, position.Next, position.Partition, first, journal.ErrTrimmed)
		}
	}
	j.disk.undo.begin()
	for _, position := range at {
		j.disk.holds.put(holdKey{reader, position.Partition}, max(position.Next, 1))
	}
	if len(at) == 0 {
		for p := range j.boxes {
			j.disk.holds.delete(holdKey{reader, events.Partition(p)})
		}
	}
	return nil
}

func (j journalPort) Holds(reader string) ([]journal.Position, error) {
	if err := j.lock(); err != nil {
		return nil, err
	}
	defer j.unlock()
	var at []journal.Position
	for p := range events.Partition(len(j.boxes)) {
		if next, ok := j.disk.holds.get(holdKey{reader, p}); ok {
			at = append(at, journal.Position{Partition: p, Next: next})
		}
	}
	return at, nil
}

func (j journalPort) Trim(p events.Partition, below events.Seq) error {
	if err := j.lock(); err != nil {
		return err
	}
	defer j.unlock()
	part := j.disk.partitions[p]
	below = min(below, part.last()+1)
	for _, k := range j.disk.holds.keys(func(k holdKey) bool { return k.partition == p }, func(a, b holdKey) int { return cmp.Compare(a.reader, b.reader) }) {
		next, _ := j.disk.holds.get(k)
		if !mutant.On(mutant.TrimIgnoresHolds) {
			below = min(below, next)
		}
	}
	if below <= part.first {
		return nil
	}
	j.disk.undo.begin()
	first, records := part.first, part.records
	j.disk.undo.add(undoFunc(func() { part.first, part.records = first, records }))
	part.records = slices.Clone(records[below-first:])
	part.first = below
	return nil
}

func (j journalPort) Follow(_ context.Context, from []journal.Position) (journal.Reader, error) {
	if err := j.lock(); err != nil {
		return nil, journal.ErrClosed
	}
	defer j.unlock()
	for _, position := range from {
		if first := j.disk.partitions[position.Partition].first; max(position.Next, 1) < first {
			return nil, fmt.Errorf("reading partition %d from %d, which begins at %d: %w", position.Partition, position.Next, first, journal.ErrTrimmed)
		}
	}
	r := &reader{store: j.Store, positions: slices.Clone(from), ready: make(chan struct{}, 1), closed: make(chan struct{})}
	for i := range r.positions {
		at := &r.positions[i]
		at.Next = max(at.Next, 1)
		j.readers[at.Partition] = append(j.readers[at.Partition], r)
	}
	r.wake()
	return r, nil
}
