package segments

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The keys of histories are
//
//	run 16                deleted: the run is forgotten, wherever its records are
//	run 16, first event 8 encoded record
const historyKeyBytes = 16 + 8

// readLimit is how many records are read from the log at a time.
const readLimit = 1_000

type archivePort struct{ store *Store }

var (
	_ archive.Archive = archivePort{}
	_ archive.Lister  = archivePort{}
)

var errNoLog = errors.New("segments: histories need Options.Log")

func historyKey(run events.RunID, first events.EventNumber) []byte {
	return binary.BigEndian.AppendUint64(run[:len(run):len(run)], uint64(first))
}

// Append takes records of the owner into the histories. Records that are there already are passed over, and what is missing
// before one of them is read from the log.
func (a archivePort) Append(ctx context.Context, p events.Partition, records []*events.Record) error {
	o := a.store.owned[p]
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.ready(ctx); err != nil {
		return err
	}
	for _, r := range records {
		if err := o.archiveBelow(ctx, r.Seq); err != nil {
			return err
		}
		if err := o.archive(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// archive takes the next record, unless it is there. The lock is held.
func (o *owned) archive(ctx context.Context, r *events.Record) error {
	if r.Seq != o.kept {
		return nil
	}
	o.kept++
	if len(r.Events) == 0 || r.RunID.IsZero() || o.forgotten.has(r.RunID) {
		return nil
	}
	value := events.AppendRecord(nil, r)
	o.histories = append(o.histories, row{key: string(historyKey(r.RunID, r.First)), value: value})
	if o.buffered += historyKeyBytes + len(value); o.buffered < spillHistories {
		return nil
	}
	if err := o.spillHistories(ctx); err != nil {
		o.failed = err
		return err
	}
	o.store.wake()
	return nil
}

// archiveBelow takes the records below next that are not there from the log. The lock is held.
func (o *owned) archiveBelow(ctx context.Context, next events.Seq) error {
	if o.kept >= next {
		return nil
	}
	if o.store.options.Log == nil {
		o.kept = next
		return nil
	}
	return o.store.read(ctx, o.id, o.kept, next-1, func(r *events.Record) error { return o.archive(ctx, r) })
}

// read calls visit with the records of a partition from from to to, which must be in the log.
func (s *Store) read(ctx context.Context, p events.Partition, from, to events.Seq, visit func(*events.Record) error) error {
	if from > to {
		return nil
	}
	if _, last := s.options.Log.Bounds(p); to > last {
		return fmt.Errorf("records %d to %d of partition %d are wanted for histories, and its log ends at %d", from, to, p, last)
	}
	reader, err := s.options.Log.Follow(ctx, []journal.Position{{Partition: p, Next: from}})
	if err != nil {
		return fmt.Errorf("reading records %d to %d of partition %d: %w", from, to, p, err)
	}
	defer reader.Close()
	for from <= to {
		records, err := reader.Next(ctx, readLimit)
		if err != nil {
			return fmt.Errorf("reading records %d to %d of partition %d: %w", from, to, p, err)
		}
		for _, r := range records {
			if from = r.Seq + 1; r.Seq > to {
				break
			}
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget deletes the history of a run, which gets no more records. Its records that are not yet in the histories will not be.
func (a archivePort) Forget(ctx context.Context, p events.Partition, run events.RunID) error {
	o := a.store.owned[p]
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.ready(ctx); err != nil {
		return err
	}
	o.histories = slices.DeleteFunc(o.histories, func(r row) bool { return r.key[:len(run)] == string(run[:]) })
	o.histories = append(o.histories, row{key: string(run[:]), deleted: true})
	o.forgotten.add(run)
	return nil
}
