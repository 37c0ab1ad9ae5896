package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

type archivePort struct{ *Store }

var _ archive.Finder = archivePort{}

// Archive returns the archive: an index of the log, which keeps the records of a run until they are forgotten.
func (s *Store) Archive() archive.Archive { return archivePort{s} }

// place is where a record of a history is.
type place struct {
	seq   events.Seq
	first events.EventNumber
	last  events.EventNumber
}

func (a archivePort) History(
	ctx context.Context, p events.Partition, run events.RunID, from, to events.EventNumber, limitBytes int,
) (records []*events.Record, next events.EventNumber, err error) {
	if err := a.usable(); err != nil {
		return nil, 0, err
	}
	defer a.committer.rows.RUnlock()
	view := a.db.NewSnapshot() // so that Forget takes nothing away between the index and its records
	defer view.Close()         //nolint:errcheck // a view that was only read has nothing to report
	lower := runKey(famHistory, p, run)
	it, err := view.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return nil, 0, readError(lower, err)
	}
	size, seen := 0, false
	// The record with event from begins at or before it.
	ok := from > 1 && it.SeekLT(historyKey(p, run, from+1))
	if !ok {
		ok = it.First()
	}
	for ; ok && ctx.Err() == nil; ok = it.Next() {
		var at place
		if at, err = readHistoryRow(it.Key(), it.Value()); err != nil {
			break
		}
		seen = true
		if at.last < from {
			continue
		}
		if to != 0 && at.first > to {
			break
		}
		if len(records) > 0 && size >= limitBytes {
			next = at.first
			break
		}
		var record tailRecord
		if record, err = a.recordAt(view, p, run, at); err != nil {
			break
		}
		records = append(records, record.record)
		size += record.size
		if to != 0 && at.last >= to {
			break // the next row may be in a block that is not in memory
		}
	}
	if closeErr := it.Close(); err == nil && closeErr != nil {
		err = readError(lower, closeErr)
	}
	if err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return nil, 0, err
	case !seen:
		return nil, 0, fmt.Errorf("run %s: %w", run, archive.ErrNotFound)
	}
	return records, next, nil
}

func readHistoryRow(key, value []byte) (place, error) {
	_, first, ok := historyOf(key)
	if !ok {
		return place{}, damaged(key, "the key does not name a record of a history")
	}
	seq, count, err := readPlace(key, value)
	return place{seq: seq, first: first, last: first + count - 1}, err
}

// recordAt reads a record of a history.
func (a archivePort) recordAt(view pebble.Reader, p events.Partition, run events.RunID, at place) (tailRecord, error) {
	found, ok, err := a.logged(view, p, at.seq)
	switch key := seqKey(famEvent, p, at.seq); {
	case err != nil:
		return tailRecord{}, err
	case !ok:
		return tailRecord{}, damaged(key, "the record is missing although the history index names it")
	case found.record.RunID != run || found.record.First != at.first || found.record.Last() != at.last:
		return tailRecord{}, damaged(key, "the record is not the one that the history index names")
	}
	return found, nil
}

// Record needs one row, which lies among others of its time; a history needs the row of its index, too.
func (a archivePort) Record(_ context.Context, p events.Partition, run events.RunID, at events.Seq) (*events.Record, error) {
	if err := a.usable(); err != nil {
		return nil, err
	}
	defer a.committer.rows.RUnlock()
	found, ok, err := a.logged(a.db, p, at)
	if err != nil || !ok || found.record.RunID != run {
		return nil, err
	}
	return found.record, nil
}

// logged reads a record of the log, from memory if it is recent; ok is false if it is not there.
func (a archivePort) logged(view pebble.Reader, p events.Partition, seq events.Seq) (found tailRecord, ok bool, err error) {
	part := a.parts[p]
	part.mu.Lock()
	recent := part.fromTail(seq, 1)
	part.mu.Unlock()
	if len(recent) == 1 {
		return recent[0], true, nil
	}
	key := seqKey(famEvent, p, seq)
	value, closer, err := view.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return found, false, nil
	case err != nil:
		return found, false, readError(key, err)
	}
	found.size = len(value)
	found.record, err = readRecord(p, seq, value)
	return found, err == nil, errors.Join(err, closer.Close())
}

// Append does nothing: a commit has indexed the records, and a trim keeps them.
func (a archivePort) Append(context.Context, events.Partition, []*events.Record) error { return nil }

// forgetChunk is how many records one batch of Forget deletes.
const forgetChunk = 10_000

// Forget deletes the index of a run and those of its records that are trimmed; the log's readers still need the others,
// which go with the trim.
func (a archivePort) Forget(ctx context.Context, p events.Partition, run events.RunID) error {
	part := a.parts[p]
	part.trimming.Lock()
	defer part.trimming.Unlock()
	part.mu.Lock()
	first := part.first
	part.mu.Unlock()
	for {
		b, err := a.forgetChunk(p, run, first)
		if err != nil {
			return err
		}
		more := b.Count() >= 2*forgetChunk
		if err := a.write(b); err != nil || !more {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (a archivePort) forgetChunk(p events.Partition, run events.RunID, first events.Seq) (*pebble.Batch, error) {
	if err := a.usable(); err != nil {
		return nil, err
	}
	defer a.committer.rows.RUnlock()
	b := a.db.NewBatch()
	lower := runKey(famHistory, p, run)
	err := scan(a.db, lower, after(lower), func(key, value []byte) (bool, error) {
		at, err := readHistoryRow(key, value)
		if err != nil {
			return false, err
		}
		if err := b.Delete(key, nil); err != nil {
			return false, err
		}
		if at.seq < first {
			err = b.Delete(seqKey(famEvent, p, at.seq), nil)
		} else {
			err = b.Set(seqKey(famGarbage, p, at.seq), nil, nil)
		}
		return b.Count() < 2*forgetChunk, err
	})
	return b, err
}
