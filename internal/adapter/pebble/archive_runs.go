package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

var _ archive.Lister = archivePort{}

// Runs lists the runs of a partition that have a history. It steps from run to run, however long their histories are.
func (a archivePort) Runs(ctx context.Context, p events.Partition, above events.RunID, limit int) (runs []events.RunID, err error) {
	if err := a.usable(); err != nil {
		return nil, err
	}
	defer a.committer.rows.RUnlock()
	lower := prefix(famHistory, p)
	begin := lower
	if !above.IsZero() {
		begin = after(runKey(famHistory, p, above))
	}
	err = iterate(a.db, lower, after(lower), func(it *pebble.Iterator) error {
		for ok := it.SeekGE(begin); ok && len(runs) < limit && ctx.Err() == nil; {
			row, err := it.ValueAndErr()
			if err == nil {
				_, err = readHistoryRow(it.Key(), row)
			}
			if err != nil {
				return err
			}
			run, _, _ := historyOf(it.Key())
			runs = append(runs, run)
			ok = it.SeekGE(after(runKey(famHistory, p, run)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return runs, ctx.Err()
}
