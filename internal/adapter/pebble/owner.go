package pebble

import (
	"context"
	"fmt"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

type owner struct {
	store *Store
	part  *partition
	epoch uint64     // set by the committer before Acquire returns
	last  events.Seq // likewise

	// Of one commit after the other: the user makes them one at a time.
	commit request
	frame  []byte
	taken  []events.Envelope

	lost   chan struct{}
	isLost bool // guarded by part.mu
}

func newOwnership(s *Store, p *partition) *owner {
	return &owner{store: s, part: p, lost: make(chan struct{}), commit: request{done: make(chan struct{}, 1)}}
}

func (j journalPort) Acquire(ctx context.Context, p events.Partition) (journal.Owner, error) {
	o := newOwnership(j.Store, j.parts[p])
	r := newRequest(requestAcquire, o)
	if err := j.committer.enqueue(r); err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		o.Release()
		return nil, err
	}
	return o, nil
}

func (o *owner) Epoch() uint64 { return o.epoch }

func (o *owner) ID() events.OwnerID { return o.store.owner }

func (o *owner) Last() events.Seq { return o.last }

// lose ends the ownership for its user. part.mu is held.
func (o *owner) lose() {
	if !o.isLost {
		o.isLost = true
		close(o.lost)
	}
}

// over returns why the ownership is over.
func (o *owner) over() error {
	o.part.mu.Lock()
	defer o.part.mu.Unlock()
	if !o.isLost {
		return nil
	}
	if o.store.isGone() {
		return fmt.Errorf("%w: %w", journal.ErrLost, journal.ErrClosed)
	}
	return fmt.Errorf("epoch %d of partition %d: %w", o.epoch, o.part.id, journal.ErrLost)
}

func (o *owner) Wait(ctx context.Context) error {
	box := o.part.box
	for {
		if err := o.over(); err != nil {
			box.Wake() // this may have taken the next owner's wake-up
			return err
		}
		if box.Waiting() > 0 {
			return nil
		}
		select {
		case <-box.Ready():
		case <-o.lost:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *owner) Take(limit int) []events.Envelope {
	o.part.mu.Lock()
	defer o.part.mu.Unlock()
	if o.isLost {
		return nil
	}
	o.taken = o.part.box.Take(o.taken[:0], limit)
	if len(o.taken) == 0 {
		return nil
	}
	return o.taken
}

func (o *owner) Commit(ctx context.Context, step journal.Step) error {
	if err := o.over(); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		r := &o.commit
		*r = request{kind: requestCommit, owner: o, step: step, sizes: r.sizes[:0], done: r.done}
		if err = o.encode(r); err == nil {
			if err = o.store.committer.enqueue(r); err == nil {
				err = r.wait(ctx)
				if err == nil {
					r.step, r.batch = journal.Step{}, nil
					clear(o.taken)
					return nil
				}
			}
		}
	}
	o.giveUp()
	return fmt.Errorf("%w: %w", journal.ErrLost, err)
}

// encode writes the rows of a step into a batch, on the goroutine of the owner.
func (o *owner) encode(r *request) error {
	records := r.step.Records
	if len(records) == 0 {
		return nil
	}
	r.batch = o.store.db.NewBatch()
	for _, record := range records {
		if o.frame = events.AppendFrame(o.frame[:0], record); len(o.frame) > events.MaxDecodeBytes {
			return fmt.Errorf("record %d of partition %d has %d bytes; the limit is %d", record.Seq, o.part.id, len(o.frame), events.MaxDecodeBytes)
		}
		if err := appendRecord(r.batch, record, o.frame); err != nil {
			return fmt.Errorf("adding record %d of partition %d to a batch: %w", record.Seq, o.part.id, err)
		}
		r.sizes = append(r.sizes, len(o.frame))
	}
	return nil
}

// giveUp ends the ownership at once and lets the committer answer what was taken, in its turn.
func (o *owner) giveUp() *request {
	o.part.mu.Lock()
	o.lose()
	o.part.mu.Unlock()
	r := newRequest(requestRelease, o)
	if o.store.committer.enqueue(r) != nil {
		return nil // the store closes and answers everything
	}
	return r
}

func (o *owner) Release() {
	if r := o.giveUp(); r != nil {
		<-r.done
	}
}
