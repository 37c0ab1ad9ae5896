package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Holder is the name of the scheduler's hold on the log.
const Holder = "scheduler"

// What one turn takes in at most, so that deliveries of one are not held up by the next.
const (
	recordsPerTurn = 512
	reportsPerTurn = 512
)

// maxWait bounds a wait for the next due time, because the wall clock may jump.
const maxWait = 10 * time.Second

// Start reads how far the index is and holds the log from there on. It returns where to follow the log from. Run calls it
// itself.
func (s *Scheduler) Start(ctx context.Context) ([]journal.Position, error) {
	var from []journal.Position
	for _, p := range s.parts {
		next, err := s.deps.Index.Position(ctx, p.id)
		if err != nil {
			return nil, fmt.Errorf("due index of partition %d: %w", p.id, err)
		}
		next = max(next, 1)
		first, last := s.deps.Log.Bounds(p.id)
		if next > last+1 {
			return nil, fmt.Errorf("due index of partition %d is at %d, but its log ends at %d: they do not belong together", p.id, next, last)
		}
		if next < first {
			return nil, fmt.Errorf("due index of partition %d is at %d: %w (it begins at %d)", p.id, next, journal.ErrTrimmed, first)
		}
		if next > 1 && mutant.On(mutant.SchedulerResumesLate) {
			next++
		}
		s.mu.Lock()
		p.next, p.saved, p.target = next, next, last
		s.mu.Unlock()
		from = append(from, journal.Position{Partition: p.id, Next: next})
	}
	if err := s.deps.Log.Hold(Holder, from); err != nil {
		return nil, fmt.Errorf("hold the log: %w", err)
	}
	return from, nil
}

// Run folds the log and gives work away until ctx ends; it returns nil then. It saves what is open before it returns. Any
// other end is an error: a scheduler that is made anew goes on from the index.
func (s *Scheduler) Run(ctx context.Context) error {
	st, err := s.Open(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer st.Close()
	if err := ended(ctx, s.loop(ctx, st)); err != nil {
		return err
	}
	return st.Flush(context.WithoutCancel(ctx))
}

// ended turns the error of a scheduler whose context is over into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Scheduler) now() events.Time { return events.TimeOf(s.deps.Clock.Now()) }

func (s *Scheduler) loop(ctx context.Context, st *Stepper) error {
	timer := s.deps.Clock.NewTimer(maxWait)
	defer timer.Stop()
	for ctx.Err() == nil {
		busy, wake, err := st.Step(ctx)
		if err != nil {
			return err
		}
		if !busy {
			s.wait(ctx, timer, wake, st.reader, st.reports)
		}
	}
	return ctx.Err()
}

// wait returns when something may have come, or at the given time; 0 means never.
func (s *Scheduler) wait(ctx context.Context, timer clock.Timer, until events.Time, reader journal.Reader, reports inbox.Reports) {
	var alarm <-chan time.Time
	if until != 0 {
		left := until.Sub(s.now())
		if left <= 0 {
			return
		}
		timer.Reset(min(left, maxWait))
		alarm = timer.C()
	}
	select {
	case <-ctx.Done():
	case <-reader.Ready():
	case <-reports.Ready():
	case <-s.fires.freed:
	case <-alarm:
	}
}

// do does what a turn wants. It returns what the index found and what gateways did not take.
func (s *Scheduler) do(ctx context.Context, out Output) ([]Found, []inbox.Report, error) {
	if err := s.keep(ctx, out.Saves); err != nil {
		return nil, nil, err
	}
	found := make([]Found, 0, len(out.Queries))
	for _, q := range out.Queries {
		items, err := s.deps.Index.Due(ctx, q.Partition, q.Kind, q.After, q.Until, q.Limit)
		if err != nil {
			return nil, nil, fmt.Errorf("due index of partition %d: %w", q.Partition, err)
		}
		found = append(found, Found{Query: q, Items: items})
	}
	var refused []inbox.Report
	for _, d := range out.Deliveries {
		err := s.deps.Inbox.Deliver(d.Session, d.Items)
		if err == nil || errors.Is(err, inbox.ErrGone) { // its end is reported, and gives everything away again
			continue
		}
		s.deps.Logger.LogAttrs(ctx, slog.LevelError, "gateway takes less than its credits",
			slog.Uint64("session", uint64(d.Session)), slog.Int("deliveries", len(d.Items)), slog.Any("error", err))
		refused = append(refused, refusal(d))
	}
	for _, command := range out.Commands {
		s.fires.begin()
		if err := s.deps.Commands.Send(command, s.fires.done); err != nil {
			s.fires.done(err)
			return nil, nil, fmt.Errorf("ask for a timer: %w", err)
		}
	}
	return found, refused, nil
}

// refusal is the report that takes deliveries back; the credits that were too many stay used.
func refusal(d Deliveries) inbox.Report {
	r := inbox.Report{Session: d.Session}
	for _, item := range d.Items {
		if t := item.Task; t != nil {
			r.Returned = append(r.Returned, inbox.Running{Worker: item.Worker, RunID: t.Task.Run, Step: t.Task.Step, Attempt: t.Attempt})
			continue
		}
		a := item.Activation
		r.Returned = append(r.Returned, inbox.Running{
			Worker: item.Worker, RunID: a.RunID, Activation: a.Activation.Activation, Attempt: a.Activation.Attempt,
		})
	}
	return r
}

// keep writes to the index, and lets the log forget what the index has.
func (s *Scheduler) keep(ctx context.Context, saves []Save) error {
	for _, save := range saves {
		deletes, err := s.rowsOf(ctx, save)
		if err != nil {
			return fmt.Errorf("due index of partition %d: %w", save.Partition, err)
		}
		if err := s.deps.Index.Save(ctx, save.Partition, save.Next, save.Puts, deletes); err != nil {
			return fmt.Errorf("due index of partition %d: %w", save.Partition, err)
		}
		if err := s.deps.Log.Hold(Holder, []journal.Position{{Partition: save.Partition, Next: save.Next}}); err != nil {
			return fmt.Errorf("hold the log: %w", err)
		}
	}
	return nil
}

// maxRowsOfRuns bounds the rows of ended runs that are read, and deleted, at a time.
const maxRowsOfRuns = 4096

// rowsOf returns the keys that a save deletes, those of ended runs included.
func (s *Scheduler) rowsOf(ctx context.Context, save Save) ([]dueindex.Key, error) {
	runs := save.Ended
	for len(runs) > 0 {
		keys, err := s.deps.Index.OfRuns(ctx, save.Partition, runs, maxRowsOfRuns)
		if err != nil {
			return nil, err
		}
		if len(keys) < maxRowsOfRuns {
			return append(save.Deletes, keys...), nil
		}
		// More than one save should hold: these go first, at the old position, where deleting them again is harmless.
		at, err := s.deps.Index.Position(ctx, save.Partition)
		if err != nil {
			return nil, err
		}
		if err := s.deps.Index.Save(ctx, save.Partition, at, nil, keys); err != nil {
			return nil, err
		}
		runs = runs[slices.Index(runs, keys[len(keys)-1].RunID):]
	}
	return save.Deletes, nil
}
