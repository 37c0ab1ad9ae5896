package brokerjournal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// maxAhead bounds the bytes that are read from the past before their reader takes them; one frame more may come.
const maxAhead = 2 << 20

// reader is one reading of several partitions.
type reader struct {
	journal *Journal
	ready   chan struct{}
	closed  chan struct{}
	closing sync.Once

	mu      sync.Mutex // Close may come at any time
	cursors []cursor
	turn    int // where the next round over the partitions begins
}

// cursor is where a reader is in one partition.
type cursor struct {
	partition *partition
	next      events.Seq
	past      *past // reads what is no longer in memory; nil while that is not needed
}

// Follow reads partitions from the given positions on.
func (j *Journal) Follow(ctx context.Context, from []journal.Position) (journal.Reader, error) {
	r := &reader{journal: j, ready: make(chan struct{}, 1), closed: make(chan struct{})}
	for _, at := range from {
		p := j.partitions[at.Partition]
		if err := p.refresh(ctx); err != nil {
			return nil, j.over(err)
		}
		next := max(at.Next, 1)
		if _, _, err := p.at(next); err != nil {
			return nil, j.over(err)
		}
		r.cursors = append(r.cursors, cursor{partition: p, next: next})
	}
	for i := range r.cursors {
		r.cursors[i].partition.watch(r)
	}
	r.wake()
	return r, nil
}

func (r *reader) wake() { signal(r.ready) }

// Ready has a value when records may be there.
func (r *reader) Ready() <-chan struct{} { return r.ready }

// Next waits for records.
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
		case <-r.journal.ctx.Done():
			return nil, journal.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TryNext returns what is there.
func (r *reader) TryNext(limit int) ([]*events.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closed:
		return nil, journal.ErrClosed
	default:
	}
	var records []*events.Record
	for i := range r.cursors {
		c := &r.cursors[(r.turn+i)%len(r.cursors)]
		for len(records) < limit {
			found, err := c.take(r, limit-len(records))
			if err != nil {
				return nil, r.journal.over(err)
			}
			if len(found) == 0 {
				break
			}
			records = append(records, found...)
		}
	}
	r.turn++
	if len(records) >= limit {
		r.wake() // there may be more
	}
	return records, nil
}

// Close ends the reading.
func (r *reader) Close() {
	r.closing.Do(func() {
		close(r.closed)
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range r.cursors {
			r.cursors[i].partition.unwatch(r)
			r.cursors[i].stop()
		}
	})
}

// take returns up to limit records of one frame.
func (c *cursor) take(r *reader, limit int) ([]*events.Record, error) {
	e, known, err := c.partition.at(c.next)
	switch {
	case err != nil:
		return nil, err
	case known:
		c.stop()
	case c.past == nil:
		c.past = c.partition.readPast(r, c.next)
		return nil, nil
	default:
		if e, err = c.past.at(c.next); err != nil {
			return nil, err
		}
	}
	if e == nil {
		return nil, nil
	}
	records, err := e.from(c.next)
	if err != nil {
		return nil, err
	}
	records = records[:min(limit, len(records))]
	c.next += events.Seq(len(records))
	return records, nil
}

func (c *cursor) stop() {
	if c.past != nil {
		c.past.cancel()
		c.past = nil
	}
}

// past reads records of a partition from the broker again, from the newest checkpoint before them on.
type past struct {
	partition *partition
	next      events.Seq
	wake      func()
	ctx       context.Context
	cancel    context.CancelFunc
	room      chan struct{}

	mu    sync.Mutex
	ahead []*entry
	bytes int // of ahead
	err   error
}

func (p *partition) readPast(r *reader, next events.Seq) *past {
	b := &past{partition: p, next: next, wake: r.wake, room: make(chan struct{}, 1)}
	b.ctx, b.cancel = context.WithCancel(p.journal.ctx)
	p.journal.all.Go(func() {
		defer b.cancel()
		if err := b.read(); err != nil {
			b.mu.Lock()
			b.err = asJournal(p.id, err)
			b.mu.Unlock()
			b.wake()
		}
	})
	return b
}

// at returns the frame with a record, nil if it is not read yet, and forgets those before it.
func (b *past) at(next events.Seq) (*entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := slices.IndexFunc(b.ahead, func(e *entry) bool { return e.last >= next })
	if n < 0 {
		n = len(b.ahead)
	}
	for _, e := range b.ahead[:n] {
		b.bytes -= len(e.frame)
	}
	clear(b.ahead[:n])
	b.ahead = b.ahead[n:]
	if n > 0 {
		signal(b.room)
	}
	if len(b.ahead) > 0 {
		return b.ahead[0], nil
	}
	return nil, b.err
}

// read reads until it is told to stop.
func (b *past) read() error {
	id := b.partition.id
	state, err := b.partition.journal.kept.newest(b.ctx, id, b.next-1)
	if err != nil {
		return err
	}
	r, err := b.partition.journal.options.Log.Read(b.ctx, brokerlog.Events, id, state.At())
	if err != nil {
		return fmt.Errorf("reading partition %d from record %d: %w", id, b.next, err)
	}
	defer r.Close()
	for {
		messages, err := r.Next(b.ctx, readLimit)
		if err != nil {
			return err
		}
		for _, m := range messages {
			verdict, f := state.Read(m)
			switch {
			case verdict == fold.Halted:
				return state.Halt()
			case verdict == fold.Accepted && f.Last() >= b.next && !b.put(entryOf(&f)):
				return nil
			}
		}
	}
}

// put adds a frame when there is room; it reports false when nobody wants it any more.
func (b *past) put(e *entry) bool {
	for {
		b.mu.Lock()
		if b.bytes < maxAhead {
			b.ahead, b.bytes = append(b.ahead, e), b.bytes+len(e.frame)
			b.mu.Unlock()
			b.wake()
			return true
		}
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-b.ctx.Done():
			return false
		}
	}
}

// refresh looks whether another process has moved the beginning of the partition.
func (p *partition) refresh(ctx context.Context) error {
	first, err := p.journal.kept.first(ctx, p.id)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = max(p.first, first)
	if p.err != nil && !errors.Is(p.err, journal.ErrClosed) {
		return p.err
	}
	return nil
}
