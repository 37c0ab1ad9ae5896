package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Features of the embedded journal.
var Features = journal.Features{Durable: true}

type journalPort struct{ *Store }

// Journal returns the journal.
func (s *Store) Journal() journal.Journal { return journalPort{s} }

func (j journalPort) Partitions() int { return len(j.parts) }

func (j journalPort) Features() journal.Features { return Features }

func (j journalPort) Send(command events.Envelope, done func(error)) error {
	if events.FromClient(command.Command) {
		if err := j.disk.admit(); err != nil {
			return err
		}
	}
	return j.parts[events.PartitionOf(command.Namespace, command.WorkflowID, len(j.parts))].box.Put(command, done)
}

func (j journalPort) Bounds(p events.Partition) (first, last events.Seq) {
	part := j.parts[p]
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.first, part.last
}

func (j journalPort) Hold(reader string, at []journal.Position) error {
	if err := j.usable(); err != nil {
		return err
	}
	defer j.committer.rows.RUnlock()
	touched := slices.Clone(j.parts)
	if len(at) > 0 {
		touched = slices.DeleteFunc(touched, func(p *partition) bool {
			return !slices.ContainsFunc(at, func(position journal.Position) bool { return position.Partition == p.id })
		})
	}
	for _, part := range touched { // no trim passes a position while it is written
		part.mu.Lock()
	}
	defer func() {
		for _, part := range touched {
			part.mu.Unlock()
		}
	}()
	b := j.db.NewBatch()
	defer b.Close() //nolint:errcheck // a batch that was applied, or is not wanted, has nothing to report
	var err error
	for _, position := range at {
		part := j.parts[position.Partition]
		next := max(position.Next, 1)
		if next < part.first {
			return fmt.Errorf("hold of %s at %d in partition %d, which begins at %d: %w", reader, next, part.id, part.first, journal.ErrTrimmed)
		}
		err = errors.Join(err, b.Set(holdKey(part.id, reader), appendSeq(nil, next), nil))
	}
	if len(at) == 0 {
		for _, part := range touched {
			err = errors.Join(err, b.Delete(holdKey(part.id, reader), nil))
		}
	}
	if err != nil {
		return fmt.Errorf("adding the hold of %s to a batch: %w", reader, err)
	}
	if err := j.guard(func() error { return b.Commit(pebble.NoSync) }); err != nil {
		return err
	}
	if len(at) == 0 {
		for _, part := range touched {
			delete(part.holds, reader)
		}
	}
	for _, position := range at {
		j.parts[position.Partition].holds[reader] = max(position.Next, 1)
	}
	return nil
}

func (j journalPort) Holds(reader string) ([]journal.Position, error) {
	if j.isGone() {
		return nil, journal.ErrClosed
	}
	var at []journal.Position
	for _, part := range j.parts {
		part.mu.Lock()
		if next, ok := part.holds[reader]; ok {
			at = append(at, journal.Position{Partition: part.id, Next: next})
		}
		part.mu.Unlock()
	}
	return at, nil
}

func (j journalPort) Follow(_ context.Context, from []journal.Position) (journal.Reader, error) {
	if j.isGone() {
		return nil, journal.ErrClosed
	}
	r := &reader{store: j.Store, ready: make(chan struct{}, 1), closed: make(chan struct{})}
	r.positions = make([]following, len(from))
	for i, at := range from {
		r.positions[i] = following{reader: r, part: j.parts[at.Partition], next: max(at.Next, 1)}
	}
	for i := range r.positions {
		at := &r.positions[i]
		part := at.part
		part.mu.Lock()
		first := part.first
		if at.next >= first {
			part.readers = append(part.readers, at)
		}
		part.mu.Unlock()
		if at.next < first {
			r.Close()
			return nil, behind(journal.Position{Partition: part.id, Next: at.next}, first)
		}
	}
	r.wake()
	return r, nil
}

func behind(at journal.Position, first events.Seq) error {
	return fmt.Errorf("reading partition %d from %d, which begins at %d: %w", at.Partition, at.Next, first, journal.ErrTrimmed)
}

// trimChunk is how many records one batch of a trim deletes.
const trimChunk = 10_000

// Trim moves First and deletes the records that no history keeps. It moves in chunks, so that a crash leaves First where
// the deletions are.
func (j journalPort) Trim(p events.Partition, below events.Seq) error {
	part := j.parts[p]
	part.trimming.Lock()
	defer part.trimming.Unlock()
	for {
		done, err := j.trimChunk(part, below)
		if done || err != nil {
			return err
		}
	}
}

func (j journalPort) trimChunk(part *partition, below events.Seq) (done bool, err error) {
	if err := j.usable(); err != nil {
		return false, err
	}
	lower := seqKey(famGarbage, part.id, 0)
	var dead []events.Seq
	err = scan(j.db, lower, seqKey(famGarbage, part.id, below), func(key, _ []byte) (bool, error) {
		if len(dead) == trimChunk {
			return false, nil
		}
		seq, ok := seqOf(key)
		if !ok {
			return false, damaged(key, "the key is not that of a record")
		}
		dead = append(dead, seq)
		return true, nil
	})
	j.committer.rows.RUnlock()
	if err != nil {
		return false, err
	}
	target := below
	if len(dead) == trimChunk {
		target = min(target, dead[len(dead)-1]+1)
	}
	reached, moved := part.moveFirst(target)
	if !moved {
		return true, nil
	}
	b := j.db.NewBatch()
	if err := b.Set(prefix(famFirst, part.id), appendSeq(nil, reached), nil); err != nil {
		return false, err
	}
	for _, seq := range dead {
		if seq >= reached {
			break
		}
		if err := b.Delete(seqKey(famEvent, part.id, seq), nil); err != nil {
			return false, err
		}
	}
	if err := b.DeleteRange(lower, seqKey(famGarbage, part.id, reached), nil); err != nil {
		return false, err
	}
	return reached < target || target == below, j.write(b)
}

// moveFirst moves First towards below as far as holds and the end of the log permit.
func (p *partition) moveFirst(below events.Seq) (first events.Seq, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	below = min(below, p.last+1)
	for _, next := range p.holds {
		below = min(below, next)
	}
	if below <= p.first {
		return p.first, false
	}
	p.first = below
	return below, true
}

// appendRecord adds the rows of a record to a step's batch: the frame, and its place in the history of its run or a note
// that no history keeps it.
func appendRecord(b *pebble.Batch, r *events.Record, frame []byte) error {
	if err := b.Set(seqKey(famEvent, r.Partition, r.Seq), frame, nil); err != nil {
		return err
	}
	if r.RunID.IsZero() || len(r.Events) == 0 {
		return b.Set(seqKey(famGarbage, r.Partition, r.Seq), nil, nil)
	}
	var place [2 * binary.MaxVarintLen64]byte
	return b.Set(historyKey(r.Partition, r.RunID, r.First), appendPlace(place[:0], r.Seq, len(r.Events)), nil)
}
