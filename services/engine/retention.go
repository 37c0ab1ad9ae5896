package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of forgetting ended runs.
const (
	// DefaultRetention is how long an ended run is kept.
	DefaultRetention = 30 * 24 * time.Hour
	// MinRetention keeps a run's row long enough to recognize a repeated start.
	MinRetention = 24 * time.Hour
	sweepEvery   = time.Minute
	sweepLimit   = 100 // runs per turn
)

func endedOf(e *entry) runstore.Ended {
	return runstore.Ended{RunID: e.id, WorkflowID: e.workflowID, Namespace: e.namespace}
}

// sweepDue reports whether it is time to look for runs to forget.
func (p *partition) sweepDue() bool { return p.time.Sub(p.swept) >= sweepEvery }

// sweep says RunPurged of ended runs whose time is over. Their rows, history and payloads are deleted after the commit.
// One sweep is bounded; a full one is followed by the next at once.
func (p *partition) sweep(ctx context.Context) error {
	if !p.sweepDue() {
		return nil
	}
	over, err := p.deps.Runs.Ended(ctx, p.id, p.time, sweepLimit)
	if err != nil {
		return err
	}
	for _, ended := range over {
		e, err := p.load(ctx, ended.RunID)
		if err != nil {
			return err
		}
		if e != nil && e.broken == nil && !e.run.Purged() {
			g, run := p.groupOf(e), e.run
			if err := p.guarded(e.id, func() error { return run.Apply(events.RunPurged{}, run.Next(), p.time) }); err != nil {
				return fmt.Errorf("run %s is among the ended ones: %w", e.id, err)
			}
			p.add(g, events.RunPurged{})
		}
		p.forgetting = append(p.forgetting, ended)
	}
	if len(over) < sweepLimit {
		p.swept = p.time
	}
	return nil
}

// forget deletes what is left of the runs purged by durable records. What cannot be deleted now is found again by a later
// sweep.
func (p *partition) forget(ctx context.Context) error {
	if len(p.forgetting) == 0 {
		return nil
	}
	var c runstore.Changes
	for _, ended := range p.forgetting {
		if err := p.forgetRun(ctx, ended); err != nil {
			p.deps.Logger.Warn("an ended run could not be deleted; it is tried again", slog.String("run_id", ended.RunID.String()),
				slog.String("error", err.Error()))
			p.swept = p.time
			continue
		}
		c.DeleteRuns = append(c.DeleteRuns, ended.RunID)
		c.DeleteNewest = append(c.DeleteNewest, runstore.NewestRow{
			Namespace: ended.Namespace, WorkflowID: ended.WorkflowID, Newest: runstore.Newest{RunID: ended.RunID},
		})
		if ended.Forget != 0 {
			c.DeleteEnded = append(c.DeleteEnded, ended)
		}
		delete(p.runs, ended.RunID)
		if key := (workflowKey{ended.Namespace, ended.WorkflowID}); p.newest[key].RunID == ended.RunID {
			delete(p.newest, key)
		}
	}
	p.forgetting = nil
	if err := p.deps.Runs.Write(ctx, p.id, c); err != nil {
		return fmt.Errorf("deleting rows of partition %d: %w", p.id, err)
	}
	return nil
}

func (p *partition) forgetRun(ctx context.Context, ended runstore.Ended) error {
	if err := p.deps.Blobs.DeleteRun(ctx, string(ended.Namespace), ended.RunID.String()); err != nil {
		return err
	}
	return p.deps.Archive.Forget(ctx, p.id, ended.RunID)
}
