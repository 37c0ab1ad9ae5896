package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// committer is the one place that writes records and epochs. Requests of all partitions queue while a sync is under way
// and go into the next batch together; there is no timer.
type committer struct {
	ready chan struct{}
	done  chan struct{} // closed when the goroutine has ended

	batches []*pebble.Batch // of a group; for the committer's goroutine alone

	mu       sync.Mutex
	queue    []*request
	stopping bool

	// rows is held for reading while rows are read or written; closed is set under it before the database is closed.
	rows   sync.RWMutex
	closed bool
}

// request is what a goroutine asks of the committer and waits for.
type request struct {
	kind  requestKind
	owner *owner
	step  journal.Step
	batch *pebble.Batch // of the step's rows; nil if it has none
	sizes []int         // of the step's frames

	err  error         // set before done has a value
	done chan struct{} // gets one value
}

func newRequest(kind requestKind, o *owner) *request {
	return &request{kind: kind, owner: o, done: make(chan struct{}, 1)}
}

type requestKind uint8

const (
	requestCommit requestKind = iota
	requestAcquire
	requestRelease
)

func (c *committer) init() {
	c.ready = make(chan struct{}, 1)
	c.done = make(chan struct{})
}

func (c *committer) wake() {
	if c.ready == nil {
		return // failed while opening
	}
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// enqueue hands a request to the committer.
func (c *committer) enqueue(r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return journal.ErrClosed
	}
	c.queue = append(c.queue, r)
	c.wake()
	return nil
}

func (c *committer) next(spare []*request) (group []*request, stopping bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	group, c.queue = c.queue, spare[:0]
	return group, c.stopping
}

// stopCommitter refuses new requests, waits for those queued and closes what waits for commands and records.
func (s *Store) stopCommitter() {
	c := &s.committer
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.wake()
	<-c.done
	c.rows.Lock()
	c.closed = true
	c.rows.Unlock()
}

func (s *Store) commitLoop() {
	c := &s.committer
	defer close(c.done)
	var spare []*request
	for {
		<-c.ready
		runtime.Gosched() // whoever can run now may have a request, too: fewer and larger batches
		group, stopping := c.next(spare)
		if len(group) > 0 {
			s.commitGroup(group)
		}
		clear(group)
		spare = group
		if failure := s.failure(); failure != nil {
			c.mu.Lock()
			c.stopping = true
			c.mu.Unlock()
			group, _ = c.next(nil)
			for _, r := range group {
				s.refuse(r, fmt.Errorf("%w: %w", journal.ErrLost, failure))
			}
			s.end(failure)
			return
		}
		if stopping {
			s.end(journal.ErrClosed)
			return
		}
	}
}

// end closes the mailboxes, owners and readers, for ever.
func (s *Store) end(why error) {
	for _, p := range s.parts {
		p.mu.Lock()
		former := p.owner
		p.owner = nil
		if former != nil {
			former.lose()
		}
		dones := p.box.Close()
		p.mu.Unlock()
		callDone(dones, fmt.Errorf("%w: %w", journal.ErrLost, why))
	}
	close(s.gone)
}

// commitGroup makes one batch durable and then lets its requests go, in their order.
func (s *Store) commitGroup(group []*request) {
	var batch *pebble.Batch
	add := func(b *pebble.Batch) {
		if batch == nil {
			batch = b
		} else if err := batch.Apply(b, nil); err != nil {
			s.fail(fmt.Errorf("merging batches: %w", err))
		}
	}
	batches := s.committer.batches[:0] // whoever is answered may use its request again
	for _, r := range group {
		if b := s.prepare(r); b != nil {
			add(b)
		}
		if r.batch != nil {
			batches = append(batches, r.batch)
		}
	}
	var err error
	if batch != nil && s.failure() == nil {
		began := s.options.Clock.Boot()
		size := batch.Len()
		durability := pebble.Sync
		if mutant.On(mutant.SyncSkipped) {
			durability = pebble.NoSync
		}
		err = s.guard(func() error { return batch.Commit(durability) })
		s.stats.synced(len(group), size, s.options.Clock.Boot()-began)
		s.disk.wrote(size)
	}
	if err == nil {
		err = s.failure()
	}
	if err == nil {
		if err = s.raise(group); err != nil {
			s.fail(err)
		}
	}
	for _, r := range group {
		switch {
		case err != nil:
			s.refuse(r, fmt.Errorf("%w: %w", journal.ErrLost, err))
		default:
			s.finish(r)
		}
	}
	for _, b := range batches {
		_ = b.Close() // an applied batch has nothing to report
	}
	clear(batches)
	s.committer.batches = batches
}

// prepare decides whether a request is due, in the order of the queue, and returns its rows.
func (s *Store) prepare(r *request) *pebble.Batch {
	p := r.owner.part
	switch r.kind {
	case requestAcquire:
		p.epoch++
		r.owner.epoch, r.owner.last = p.epoch, p.written
		p.writer = r.owner
		r.batch = s.db.NewBatch()
		r.err = r.batch.Set(prefix(famPartition, p.id), binary.BigEndian.AppendUint64(nil, p.epoch), nil)
		return r.batch
	case requestRelease:
		if p.writer == r.owner {
			p.writer = nil
		}
		return nil
	case requestCommit:
		if p.writer != r.owner {
			r.err = fmt.Errorf("epoch %d of partition %d: %w", r.owner.epoch, p.id, journal.ErrLost)
			return nil
		}
		if err := journal.CheckStep(r.step, p.id, r.owner.epoch, p.written, p.box.Taken()); err != nil {
			r.err = fmt.Errorf("%w: %w", journal.ErrLost, err)
			p.writer = nil
			return nil
		}
		p.written += events.Seq(len(r.step.Records))
		return r.batch
	}
	panic(fmt.Sprintf("pebble: request of kind %d", r.kind))
}

// finish lets out what a request has made durable.
func (s *Store) finish(r *request) {
	p := r.owner.part
	switch {
	case r.err != nil:
		s.giveUp(r.owner)
	case r.kind == requestAcquire:
		p.mu.Lock()
		former := p.owner
		p.owner = r.owner
		var dones []func(error)
		if former != nil {
			former.lose()
			dones = p.box.Abandon()
		}
		p.mu.Unlock()
		callDone(dones, lostTo(p.id, r.owner.epoch))
	case r.kind == requestRelease:
		s.giveUp(r.owner)
	default:
		p.show(r.step.Records, r.sizes)
		callDone(p.box.Consume(nil, r.step.Consumed), nil)
		s.stats.committed(len(r.step.Records))
	}
	r.done <- struct{}{}
}

// refuse answers a request that nothing came of.
func (s *Store) refuse(r *request, err error) {
	r.err = err
	s.giveUp(r.owner)
	r.done <- struct{}{}
}

// giveUp ends an ownership, if it is the present one, and answers what it has taken.
func (s *Store) giveUp(o *owner) {
	p := o.part
	p.mu.Lock()
	var dones []func(error)
	if p.owner == o {
		p.owner = nil
		dones = p.box.Abandon()
	}
	o.lose()
	p.mu.Unlock()
	callDone(dones, fmt.Errorf("%w: the owner of partition %d gave up", journal.ErrLost, p.id))
}

func lostTo(p events.Partition, epoch uint64) error {
	return fmt.Errorf("%w: partition %d has an owner of epoch %d", journal.ErrLost, p, epoch)
}

func callDone(dones []func(error), err error) {
	for _, done := range dones {
		done(err)
	}
}

// wait waits for the answer of the committer.
func (r *request) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-r.done
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats count what a store has done since it was opened.
type Stats struct {
	Commits     uint64  // steps made durable
	Syncs       uint64  // batches written and synced
	Grouped     uint64  // requests in those batches: Grouped/Syncs is the mean size of a group
	Records     uint64  // written
	Bytes       uint64  // of those batches
	SyncSeconds float64 // spent writing and syncing
}

type counters struct {
	commits, syncs, grouped, records, bytes, nanos atomic.Uint64
}

func (c *counters) synced(requests, bytes int, took time.Duration) {
	c.syncs.Add(1)
	c.grouped.Add(uint64(requests))
	c.bytes.Add(uint64(bytes))
	c.nanos.Add(uint64(max(took, 0)))
}

func (c *counters) committed(records int) {
	c.commits.Add(1)
	c.records.Add(uint64(records))
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Commits: c.commits.Load(), Syncs: c.syncs.Load(), Grouped: c.grouped.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(),
		SyncSeconds: time.Duration(c.nanos.Load()).Seconds(),
	}
}
