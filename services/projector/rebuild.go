package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// runsPerBatch is how many runs are read from the archive for one write.
const runsPerBatch = 200

// catchUp brings partitions whose log is trimmed beyond where the model is to the first record of the log.
func (p *Projector) catchUp(ctx context.Context) error {
	built := false
	if err := p.holdAll(); err != nil {
		return err
	}
	if err := p.clear(ctx); err != nil {
		return err
	}
	for i := range p.next {
		at := &p.next[i]
		first, last := p.deps.Log.Bounds(at.Partition)
		switch {
		case at.Next > last+1:
			return fmt.Errorf("%w: it is at %d of partition %d, whose log ends at %d", errRebuild, at.Next, at.Partition, last)
		case at.Next >= first:
			continue
		case at.Next > 1:
			return fmt.Errorf("%w: it is at %d of partition %d, whose log begins at %d", errRebuild, at.Next, at.Partition, first)
		}
		at.Next = first
		if err := p.rebuild(ctx, at.Partition); err != nil {
			return err
		}
		built = true
	}
	if !built {
		return nil
	}
	return p.store(ctx, readmodel.Batch{Positions: append([]readmodel.Position(nil), p.next...)})
}

// holdTries is how often a partition is held whose beginning another process moves.
const holdTries = 10

// holdAll holds the log from where the model is, or where the log begins, before anything is built. Another process may have
// moved that: it is known afterwards.
func (p *Projector) holdAll() error {
	for _, at := range p.next {
		var err error
		for range holdTries {
			first, _ := p.deps.Log.Bounds(at.Partition)
			err = p.hold([]readmodel.Position{{Partition: at.Partition, Next: max(at.Next, first)}})
			if !errors.Is(err, journal.ErrTrimmed) {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clear drops what a building that broke off has left, so that nothing is counted twice. A model that is built for some of its partitions
// only is dropped as a whole.
func (p *Projector) clear(ctx context.Context) error {
	begun, missing := false, false
	for _, at := range p.next {
		first, _ := p.deps.Log.Bounds(at.Partition)
		begun = begun || at.Next > 1
		missing = missing || at.Next <= 1 && first > 1
	}
	switch {
	case !missing:
		return nil
	case begun:
		return fmt.Errorf("%w: it lacks partitions whose log is trimmed", errRebuild)
	}
	return p.deps.Model.Reset(ctx)
}

// rebuild makes the rows of a partition from the archive. They may include more than the log before its first record;
// what is folded twice changes nothing.
func (p *Projector) rebuild(ctx context.Context, id events.Partition) error {
	lister, ok := p.deps.Archive.(archive.Lister)
	if !ok {
		p.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "read model has only the runs that the log still mentions: the archive cannot list runs",
			slog.Int("partition", int(id)))
		return nil
	}
	var after events.RunID
	facts := projection.Facts{Events: p.keepsEvents(), Source: projection.Archive}
	for {
		runs, err := lister.Runs(ctx, id, after, runsPerBatch)
		if err != nil {
			return fmt.Errorf("runs in the archive of partition %d: %w", id, err)
		}
		var rows []row.Run
		size := 0
		for _, run := range runs {
			var folded row.Run
			if err := p.fold(ctx, &folded, projection.Gap{Partition: id, RunID: run, From: 1}, &facts); err != nil {
				return err
			}
			if !folded.RunID.IsZero() {
				rows = append(rows, folded)
				size += bytesOf(&folded)
			}
			if size+facts.Bytes() >= p.options.Bytes {
				if err := p.applyNew(ctx, rows, &facts); err != nil {
					return err
				}
				rows, size = nil, 0
			}
		}
		if err := p.applyNew(ctx, rows, &facts); err != nil {
			return err
		}
		if len(runs) < runsPerBatch {
			return nil
		}
		after = runs[len(runs)-1]
	}
}

// applyNew writes rows that the model does not have.
func (p *Projector) applyNew(ctx context.Context, rows []row.Run, facts *projection.Facts) error {
	b := readmodel.Batch{Rows: rows, Begun: len(rows)}
	b.Outcomes, b.Events = facts.Take()
	return p.deps.Model.Apply(ctx, b)
}
