package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// readBytes is how much history is read at a time, in encoded bytes.
const readBytes = 256 << 10

// stretch reads records of a run as [archive.Archive] does, up to an event that the tail has shown: those that came lately
// from memory.
func (g *Gateway) stretch(
	ctx context.Context, p events.Partition, run events.RunID, from, to events.EventNumber, limit int,
) (records []*events.Record, next events.EventNumber, err error) {
	if records, ok := g.recent.history(run, from, to); ok {
		return records, 0, nil
	}
	return g.deps.Archive.History(ctx, p, run, from, to, limit)
}

// replayed is stretch for an activation. What its worker has to be given of a run that has waited is in the record that opened it,
// often, or at least the end of it.
func (g *Gateway) replayed(
	ctx context.Context, given given, from, to events.EventNumber, limit int,
) (records []*events.Record, next events.EventNumber, err error) {
	p, run := given.partition, given.open.RunID
	if records, ok := g.recent.history(run, from, to); ok {
		return records, 0, nil
	}
	if finder, ok := g.deps.Archive.(archive.Finder); ok && given.open.Activation.Base == 0 {
		opener, err := finder.Record(ctx, p, run, given.from)
		if err != nil {
			return nil, 0, err
		}
		if opener != nil && opener.First <= from && opener.Last() >= to {
			g.recent.found(opener)
			return []*events.Record{opener}, 0, nil
		}
	}
	records, next, err = g.deps.Archive.History(ctx, p, run, from, to, limit)
	if err == nil && next == 0 && len(records) > 0 {
		g.recent.found(records[len(records)-1])
	}
	return records, next, err
}

// eventAt reads one event of a run and the record it is in.
func (g *Gateway) eventAt(ctx context.Context, p events.Partition, run events.RunID, number events.EventNumber) (events.Event, *events.Record, error) {
	records, _, err := g.stretch(ctx, p, run, number, number, 1)
	if err != nil {
		return nil, nil, fmt.Errorf("read event %d of run %s: %w", number, run, err)
	}
	for _, r := range records {
		if number >= r.First && number <= r.Last() {
			return r.Events[number-r.First], r, nil
		}
	}
	return nil, nil, fmt.Errorf("read event %d of run %s: %w", number, run, archive.ErrNotFound)
}

// walk calls visit for every event of a run numbered from first to last (0: the newest), until visit returns false.
func (g *Gateway) walk(
	ctx context.Context, p events.Partition, run events.RunID, first, last events.EventNumber,
	visit func(r *events.Record, number events.EventNumber, e events.Event) bool,
) error {
	for next := first; next != 0; {
		records, after, err := g.deps.Archive.History(ctx, p, run, next, last, readBytes)
		if err != nil {
			return fmt.Errorf("read the history of run %s: %w", run, err)
		}
		for _, r := range records {
			for i, e := range r.Events {
				number := r.First + events.EventNumber(i)
				if number < next || (last != 0 && number > last) {
					continue
				}
				if !visit(r, number, e) {
					return nil
				}
			}
		}
		next = after
	}
	return nil
}

// taskPast reads what is needed to hand out an attempt of a task. from is the number of its TaskScheduled, 0 when that
// has to be looked for.
func (g *Gateway) taskPast(ctx context.Context, p events.Partition, task events.TaskID, attempt events.Attempt, from events.EventNumber) (sessions.TaskPast, error) {
	var past sessions.TaskPast
	err := g.walk(ctx, p, task.Run, max(from, 1), 0, func(r *events.Record, _ events.EventNumber, e events.Event) bool {
		past.Add(e, r.Time, task.Step, attempt)
		return !past.Over
	})
	if err == nil && past.Scheduled == nil && !past.Over {
		return past, fmt.Errorf("task %s is not in the history of its run", task)
	}
	if errors.Is(err, archive.ErrNotFound) {
		past.Over = true // the run is forgotten
		return past, nil
	}
	return past, err
}

// activationOver reports whether the history has the end of an activation's attempt.
func (g *Gateway) activationOver(ctx context.Context, p events.Partition, open *events.OpenActivation) (bool, error) {
	over := false
	err := g.walk(ctx, p, open.RunID, open.Number+1, 0, func(_ *events.Record, _ events.EventNumber, e events.Event) bool {
		over = sessions.EndsActivation(e, open.Activation.Activation, open.Activation.Attempt)
		return !over
	})
	if errors.Is(err, archive.ErrNotFound) {
		return true, nil
	}
	return over, err
}

// How long a delivery waits for the record that it comes from, and how often that is looked for.
const (
	recordPatience = 5 * time.Second
	recordLook     = 2 * time.Millisecond
)

// awaitRecord returns when the log has a record as this process reads it: the scheduler of another process may have read it,
// and delivered what it opened, earlier. Before that, what is not in the archive is not over; it is not there yet.
func (g *Gateway) awaitRecord(ctx context.Context, p events.Partition, seq events.Seq) error {
	has := func() bool { _, last := g.deps.Follower.Bounds(p); return last >= seq }
	if has() {
		return nil
	}
	patience, look := g.deps.Clock.NewTimer(recordPatience), g.deps.Clock.NewTimer(recordLook)
	defer patience.Stop()
	defer look.Stop()
	for !has() {
		select {
		case <-look.C():
			look.Reset(recordLook)
		case <-patience.C():
			_, last := g.deps.Follower.Bounds(p)
			return fmt.Errorf("a delivery comes from record %d of partition %d, and this process has read %d after %v", seq, p, last, recordPatience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// workflowType returns the type of a run.
func (g *Gateway) workflowType(ctx context.Context, p events.Partition, run events.RunID) (events.WorkflowType, error) {
	from, err := g.beginning(ctx, p, run)
	return from.name, err
}

// beginning returns how a run began.
func (g *Gateway) beginning(ctx context.Context, p events.Partition, run events.RunID) (from beginning, err error) {
	if known, ok := g.types.get(run); ok {
		return known, nil
	}
	e, _, err := g.eventAt(ctx, p, run, 1)
	if err != nil {
		return from, err
	}
	started, ok := e.(events.RunStarted)
	if !ok {
		return from, fmt.Errorf("the history of run %s begins with %T", run, e)
	}
	from = beginning{started.Type, started.Trace}
	g.types.put(run, from)
	return from, nil
}
