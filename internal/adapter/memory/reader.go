package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

type reader struct {
	store     *Store
	positions []journal.Position
	turn      int // where the next round over the partitions begins
	ready     chan struct{}
	closed    chan struct{}
	isClosed  bool // guarded by disk.mu
}

func (r *reader) Ready() <-chan struct{} { return r.ready }

func (r *reader) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *reader) Next(ctx context.Context, limit int) ([]*events.Record, error) {
	for {
		records, err := r.TryNext(limit)
		if err != nil || records != nil {
			return records, err
		}
		select {
		case <-r.ready:
		case <-r.closed:
			return nil, journal.ErrClosed
		case <-r.store.gone:
			return nil, journal.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *reader) TryNext(limit int) ([]*events.Record, error) {
	if err := r.store.lock(); err != nil {
		return nil, journal.ErrClosed
	}
	defer r.store.unlock()
	if r.isClosed {
		return nil, journal.ErrClosed
	}
	var records []*events.Record
	more := false
	for i := range r.positions {
		at := &r.positions[(r.turn+i)%len(r.positions)]
		part := r.store.disk.partitions[at.Partition]
		if at.Next < part.first {
			return nil, fmt.Errorf("reading partition %d from %d, which begins at %d: %w", at.Partition, at.Next, part.first, journal.ErrTrimmed)
		}
		if at.Next > part.last() {
			continue
		}
		found := part.records[at.Next-part.first:]
		n := min(len(found), limit-len(records))
		if records == nil {
			records = found[:n:n] // never changes: a log only grows, and trimming makes a new one
		} else {
			records = append(records, found[:n]...)
		}
		at.Next += events.Seq(n)
		more = more || n < len(found)
	}
	r.turn++
	if more {
		r.wake()
	}
	return records, nil
}

func (r *reader) Close() {
	r.store.disk.mu.Lock()
	defer r.store.disk.mu.Unlock()
	if r.isClosed {
		return
	}
	r.isClosed = true
	close(r.closed)
	for p, readers := range r.store.readers {
		r.store.readers[p] = slices.DeleteFunc(readers, func(other *reader) bool { return other == r })
	}
}
