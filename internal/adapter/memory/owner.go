package memory

import (
	"context"
	"fmt"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

type owner struct {
	store     *Store
	partition events.Partition
	epoch     uint64
	last      events.Seq // when the ownership began
	lost      chan struct{}
	isLost    bool // guarded by disk.mu
	taken     []events.Envelope
	dones     []func(error) // empty, to be used again
}

func (j journalPort) Acquire(_ context.Context, p events.Partition) (journal.Owner, error) {
	if err := j.lock(); err != nil {
		return nil, journal.ErrClosed
	}
	if former := j.owners[p]; former != nil {
		former.lose()
	}
	part := j.disk.partitions[p]
	part.epoch++
	o := &owner{store: j.Store, partition: p, epoch: part.epoch, last: part.last(), lost: make(chan struct{})}
	j.owners[p] = o
	j.unlock()
	j.drain(p)
	return o, nil
}

func (o *owner) Epoch() uint64 { return o.epoch }

func (o *owner) ID() events.OwnerID { return events.OwnerID(o.store.life) }

func (o *owner) Last() events.Seq { return o.last }

func (o *owner) Wait(ctx context.Context) error {
	box := o.store.boxes[o.partition]
	for {
		o.store.disk.mu.Lock()
		err := o.over()
		o.store.disk.mu.Unlock()
		if err != nil {
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
	o.store.disk.mu.Lock()
	defer o.store.disk.mu.Unlock()
	if o.over() != nil {
		return nil
	}
	o.taken = o.store.boxes[o.partition].Take(o.taken[:0], limit)
	if len(o.taken) == 0 {
		return nil
	}
	return o.taken
}

func (o *owner) Commit(ctx context.Context, step journal.Step) error {
	err := o.commit(ctx, step)
	o.store.drain(o.partition)
	return err
}

func (o *owner) commit(ctx context.Context, step journal.Step) error {
	s, d := o.store, o.store.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := o.over(); err != nil {
		return err
	}
	part, box := d.partitions[o.partition], s.boxes[o.partition]
	err := ctx.Err()
	if err == nil {
		err = journal.CheckStep(step, o.partition, o.epoch, part.last(), box.Taken())
	}
	if err != nil {
		o.lose()
		return fmt.Errorf("%w: %w", journal.ErrLost, err)
	}
	fault := CommitOK
	if s.faults.Commit != nil {
		fault = s.faults.Commit(o.partition, step.Records)
	}
	if fault == CommitLost {
		o.lose()
		return fmt.Errorf("%w: the commit failed", journal.ErrLost)
	}
	if fault == CommitUnknown && mutant.On(mutant.TornStep) {
		step.Records = step.Records[:max(0, len(step.Records)-1)]
	}
	for _, r := range step.Records {
		part.records = append(part.records, r)
		if len(r.Events) > 0 && !r.RunID.IsZero() {
			history, _ := part.history.get(r.RunID)
			part.history.keep(r.RunID, append(history, r))
		}
	}
	d.undo.clear()
	if len(step.Records) > 0 {
		for _, r := range s.readers[o.partition] {
			r.wake()
		}
	}
	if fault == CommitUnknown {
		o.lose()
		return fmt.Errorf("%w: the outcome of the commit is unknown", journal.ErrLost)
	}
	dones := box.Consume(o.dones, step.Consumed)
	s.dones[o.partition].add(nil, dones)
	clear(dones)
	clear(o.taken)
	o.dones = dones[:0]
	return nil
}

func (o *owner) Release() {
	o.store.disk.mu.Lock()
	o.lose()
	o.store.disk.mu.Unlock()
	o.store.drain(o.partition)
}

// over returns why the ownership is over. The lock is held.
func (o *owner) over() error {
	switch {
	case o.store.ended:
		return errClosedLost
	case o.isLost && !mutant.On(mutant.FormerOwnerCommits):
		return fmt.Errorf("epoch %d of partition %d: %w", o.epoch, o.partition, journal.ErrLost)
	}
	return nil
}

// lose ends the ownership while the store lives. The lock is held.
func (o *owner) lose() {
	if o.isLost {
		return
	}
	o.end()
	s := o.store
	s.owners[o.partition] = nil
	s.dones[o.partition].add(fmt.Errorf("%w: the owner of partition %d gave up", journal.ErrLost, o.partition), s.boxes[o.partition].Abandon())
}

func (o *owner) end() {
	o.isLost = true
	close(o.lost)
}
