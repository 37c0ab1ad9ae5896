package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

type archivePort struct{ *Store }

// Archive returns the archive: an index of the log that keeps what the log trims.
func (s *Store) Archive() archive.Archive { return archivePort{s} }

func (a archivePort) History(
	_ context.Context, p events.Partition, run events.RunID, from, to events.EventNumber, limitBytes int,
) (records []*events.Record, next events.EventNumber, err error) {
	if err := a.lock(); err != nil {
		return nil, 0, err
	}
	history, ok := a.disk.partitions[p].history.get(run)
	a.unlock() // what a history holds never changes
	if !ok {
		return nil, 0, fmt.Errorf("run %s: %w", run, archive.ErrNotFound)
	}
	begin, _ := slices.BinarySearchFunc(history, from, func(r *events.Record, from events.EventNumber) int { return cmp.Compare(r.Last(), from) })
	history = history[begin:]
	size := 0
	var frame []byte
	for i, r := range history {
		switch {
		case to != 0 && r.First > to:
			return history[:i:i], 0, nil
		case i > 0 && size >= limitBytes:
			return history[:i:i], r.First, nil
		}
		if limitBytes < len(history)*events.MaxRecordBytes { // else all of it fits, however large its records are
			frame = events.AppendRecord(frame[:0], r)
			size += len(frame)
		}
	}
	return slices.Clip(history), 0, nil
}

func (a archivePort) Append(context.Context, events.Partition, []*events.Record) error { return nil }

func (a archivePort) Forget(_ context.Context, p events.Partition, run events.RunID) error {
	if err := a.lock(); err != nil {
		return err
	}
	defer a.unlock()
	a.disk.undo.begin()
	a.disk.partitions[p].history.delete(run)
	return nil
}
