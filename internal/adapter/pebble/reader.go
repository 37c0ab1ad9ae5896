package pebble

import (
	"context"
	"sync"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// readBytes bounds what one call reads from the store.
const readBytes = 4 << 20

type reader struct {
	store     *Store
	positions []following
	turn      int // where the next round over the partitions begins
	ready     chan struct{}
	closing   sync.Once
	closed    chan struct{}
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
	select {
	case <-r.closed:
		return nil, journal.ErrClosed
	case <-r.store.gone:
		return nil, journal.ErrClosed
	default:
	}
	var records []*events.Record
	more := false
	for i := range r.positions {
		at := &r.positions[(r.turn+i)%len(r.positions)]
		left := limit - len(records)
		if left <= 0 {
			more = true
			break
		}
		var rest bool
		var err error
		if records, rest, err = r.store.read(records, at, left); err != nil {
			return nil, err
		}
		more = more || rest
	}
	r.turn++
	if more {
		r.wake()
	}
	return records, nil
}

func (r *reader) Close() {
	r.closing.Do(func() {
		close(r.closed)
		for _, at := range r.positions {
			at.part.leave(r)
		}
	})
}

// read appends up to limit durable records that come next, from memory if they are recent, and says whether there are more.
func (s *Store) read(records []*events.Record, at *following, limit int) (_ []*events.Record, more bool, err error) {
	p, before := at.part, len(records)
	p.mu.Lock()
	first, last := p.first, p.last
	stored := last - events.Seq(len(p.tail)) // what is later is in memory
	if at.next >= first {
		for _, t := range p.fromTail(at.next, limit) {
			records = append(records, t.record)
		}
		at.next += events.Seq(len(records) - before)
	}
	p.mu.Unlock()
	switch {
	case at.next < first:
		return nil, false, behind(journal.Position{Partition: p.id, Next: at.next}, first)
	case len(records) == before && at.next <= stored:
		found, err := s.readLog(p, at.next, stored, limit)
		if err != nil {
			return nil, false, err
		}
		records = append(records, found...)
		p.mu.Lock()
		at.next += events.Seq(len(found))
		p.mu.Unlock()
	}
	return records, at.next <= last, nil
}

// readLog reads records from the store.
func (s *Store) readLog(p *partition, from, to events.Seq, limit int) ([]*events.Record, error) {
	if err := s.usable(); err != nil {
		return nil, journal.ErrClosed
	}
	defer s.committer.rows.RUnlock()
	var records []*events.Record
	size, next := 0, from
	err := scan(s.db, seqKey(famEvent, p.id, from), seqKey(famEvent, p.id, to+1), func(key, value []byte) (bool, error) {
		if seq, ok := seqOf(key); !ok || seq != next {
			return false, nil // trimmed meanwhile, or damaged: seen below
		}
		record, err := readRecord(p.id, next, value)
		if err != nil {
			return false, err
		}
		records = append(records, record)
		next++
		size += len(value)
		return len(records) < limit && size < readBytes, nil
	})
	p.mu.Lock()
	first := p.first
	p.mu.Unlock()
	switch {
	case from < first:
		return nil, behind(journal.Position{Partition: p.id, Next: from}, first)
	case err != nil:
		return nil, err
	case len(records) == 0:
		return nil, damaged(seqKey(famEvent, p.id, from), "the record is missing")
	}
	return records, nil
}
