package memory

import (
	"context"
	"slices"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

var _ archive.Lister = archivePort{}

// Runs lists the runs of a partition.
func (a archivePort) Runs(_ context.Context, p events.Partition, after events.RunID, limit int) ([]events.RunID, error) {
	if err := a.lock(); err != nil {
		return nil, err
	}
	defer a.unlock()
	above := func(run events.RunID) bool { return compareRunIDs(run, after) > 0 }
	byID := func(a, b events.RunID) int { return compareRunIDs(a, b) }
	runs := a.disk.partitions[p].history.keys(above, byID)
	return slices.Clone(runs[:min(limit, len(runs))]), nil
}
