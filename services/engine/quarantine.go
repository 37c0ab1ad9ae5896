package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// maxParked bounds the commands kept for a quarantined run; the oldest are dropped first. Workers and timers send theirs
// again.
const maxParked = 1_000

// maxReasonBytes bounds the reason of a quarantine.
const maxReasonBytes = 1_000

// guarded runs f over the state of one run and turns its panic into an error, so that a defect stops that run alone.
func (p *partition) guarded(run events.RunID, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.deps.Logger.Error("the state machine panicked", slog.String("run_id", run.String()),
				slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// breakRun quarantines the run of an entry, whose next event has the given number.
func (p *partition) breakRun(e *entry, next events.EventNumber, reason string, at events.Time) {
	if len(reason) > maxReasonBytes {
		reason = reason[:maxReasonBytes]
	}
	p.deps.Logger.Error("the run is quarantined", slog.String("run_id", e.id.String()),
		slog.String("workflow_id", string(e.workflowID)), slog.String("reason", reason))
	e.run, e.idle = nil, false
	e.broken = &broken{reason: reason, since: at, next: next}
	e.dirty = true
	p.unrecorded = append(p.unrecorded, e)
}

// repair builds a run whose row is damaged, or was written by another build, from its history. If that fails too, the run is quarantined.
func (p *partition) repair(ctx context.Context, e *entry, damage error) error {
	run, last, err := p.rebuild(ctx, e.id, 0)
	var unfit *unfitError
	switch {
	case err == nil:
		if errors.Is(damage, machine.ErrVersion) {
			p.deps.Logger.Debug("a run's row is of another version and is built again from its history",
				slog.String("run_id", e.id.String()), slog.String("reason", damage.Error()))
		} else {
			p.deps.Logger.Warn("a run's row was damaged and is built again from its history",
				slog.String("run_id", e.id.String()), slog.String("error", damage.Error()))
		}
		e.run, e.namespace, e.workflowID, e.seq, e.dirty = run, run.Namespace(), run.WorkflowID(), max(e.seq, last.Seq), true
		return nil
	case errors.As(err, &unfit), errors.Is(err, archive.ErrNotFound):
		if last != nil {
			e.namespace, e.workflowID = last.Namespace, last.WorkflowID
			e.seq = max(e.seq, last.Seq)
			p.breakRun(e, last.Last()+1, fmt.Sprintf("%v; %v", damage, err), p.time)
			return nil
		}
		// Not even its workflow is known, so nothing can be written about it.
		p.deps.Logger.Error("a run's row is damaged and it has no history", slog.String("run_id", e.id.String()),
			slog.String("error", damage.Error()))
		e.broken = &broken{reason: fmt.Sprintf("%v; %v", damage, err), since: p.time, recorded: true}
		return nil
	default:
		return err
	}
}

// unfitError says that an event of a run's own history does not fit.
type unfitError struct{ err error }

func (u *unfitError) Error() string { return u.err.Error() }

// rebuildBytes is how much history is read at a time.
const rebuildBytes = 1 << 20

// rebuild folds the history of a run up to event number to, 0 meaning all. It returns the newest record it saw, also with
// an unfitError.
func (p *partition) rebuild(ctx context.Context, id events.RunID, to events.EventNumber) (run *machine.Run, last *events.Record, err error) {
	var unfit error
	for from := events.EventNumber(1); ; {
		records, next, err := p.deps.Archive.History(ctx, p.id, id, from, to, rebuildBytes)
		if err != nil {
			return nil, last, err
		}
		for _, r := range records {
			if run == nil {
				run = machine.NewRun(r.Header)
			}
			if unfit == nil {
				unfit = p.guarded(id, func() error { return foldInto(run, r, to) })
			}
			last = r
		}
		if next == 0 {
			break
		}
		from = next
	}
	switch {
	case unfit != nil:
		return nil, last, &unfitError{unfit}
	case run == nil:
		return nil, nil, fmt.Errorf("run %s: %w", id, archive.ErrNotFound)
	}
	return run, last, nil
}

// foldInto applies the events of a record that a run does not have yet, up to event number to (0: all).
func foldInto(run *machine.Run, r *events.Record, to events.EventNumber) error {
	for i, e := range r.Events {
		n := r.First + events.EventNumber(i)
		if n < run.Next() || (to != 0 && n > to) {
			continue
		}
		if err := run.Apply(e, n, r.Time); err != nil {
			return err
		}
	}
	return nil
}

// decideBroken answers a command to a quarantined run, and parks what comes from inside.
func (p *partition) decideBroken(ctx context.Context, g *group, env events.Envelope) error {
	e, a := g.entry, g.answer(env, events.Quarantined, "the run is quarantined: "+g.entry.broken.reason)
	switch c := env.Command.(type) {
	case events.GetRun:
		a.Code, a.Message, a.Status = events.OK, "", events.StatusRunning
	case events.ReleaseRun:
		return p.release(ctx, g, env, c)
	default:
		if !events.FromClient(env.Command) {
			e.broken.park(env)
		}
	}
	p.reply(g, a)
	return nil
}

func (b *broken) park(env events.Envelope) {
	env.Session, env.N, env.RequestID = 0, 0, ""
	if len(b.parked) >= maxParked {
		b.parked = b.parked[1:]
		b.dropped++
	}
	b.parked = append(b.parked, env)
}

// release builds the run again from its history and, if that works now, lets it go on with the commands that were parked.
func (p *partition) release(ctx context.Context, g *group, env events.Envelope, c events.ReleaseRun) error {
	e := g.entry
	if len(g.events) > 0 || !e.broken.recorded {
		p.reply(g, g.answer(env, events.Unavailable, "the run was quarantined this moment; release it again"))
		return nil
	}
	run, _, err := p.rebuild(ctx, e.id, 0)
	var unfit *unfitError
	switch {
	case errors.As(err, &unfit), errors.Is(err, archive.ErrNotFound):
		p.reply(g, g.answer(env, events.Quarantined, "the run still cannot be applied: "+err.Error()))
		return nil
	case err != nil:
		return err
	}
	parked := e.broken.parked
	p.deps.Logger.Info("the run is released", slog.String("run_id", e.id.String()),
		slog.Int("parked", len(parked)), slog.Uint64("dropped", e.broken.dropped))
	e.run, e.broken = run, nil
	p.quarantines[e.id] = nil
	if err := p.decide(ctx, g, events.Envelope{
		Namespace: env.Namespace, WorkflowID: env.WorkflowID, RunID: e.id, RequestID: env.RequestID, Session: env.Session, N: env.N, Command: c,
	}); err != nil {
		return err
	}
	answered := len(g.answers)
	for _, old := range parked {
		if err := p.decide(ctx, g, old); err != nil {
			return err
		}
	}
	g.answers = g.answers[:answered] // those of parked commands were given when they came
	return nil
}

// recordBroken adds RunQuarantined to the records of the turn for every run that was quarantined since the last one.
func (p *partition) recordBroken() {
	for len(p.unrecorded) > 0 {
		e := p.unrecorded[0]
		p.unrecorded = p.unrecorded[1:]
		if e.broken == nil || e.broken.recorded {
			continue
		}
		g := p.groupOf(e)
		p.add(g, events.RunQuarantined{Reason: e.broken.reason})
		e.broken.next++
		e.broken.recorded = true
		p.quarantines[e.id] = &runstore.QuarantinedRun{
			RunID: e.id, WorkflowID: e.workflowID, Namespace: e.namespace, Reason: e.broken.reason, Since: e.broken.since,
		}
	}
}

// foldQuarantined takes over a quarantine of the past.
func (p *partition) foldQuarantined(e *entry, r *events.Record, q events.RunQuarantined, n events.EventNumber) {
	e.run, e.idle = nil, false
	e.broken = &broken{reason: q.Reason, since: r.Time, next: n + 1, recorded: true}
	p.quarantines[e.id] = &runstore.QuarantinedRun{
		RunID: e.id, WorkflowID: e.workflowID, Namespace: e.namespace, Reason: q.Reason, Since: r.Time,
	}
}

// foldReleased takes over a release of the past: the run is built from its history up to there.
func (p *partition) foldReleased(ctx context.Context, e *entry, r *events.Record, released events.RunReleased, n events.EventNumber) error {
	run, _, err := p.rebuild(ctx, e.id, n-1)
	if err == nil {
		err = p.guarded(e.id, func() error { return run.Apply(released, n, r.Time) })
	}
	var unfit *unfitError
	switch {
	case err == nil:
		e.run, e.broken = run, nil
		p.quarantines[e.id] = nil
		return nil
	case errors.As(err, &unfit) || errors.Is(err, archive.ErrNotFound) || run != nil:
		p.breakRun(e, n+1, fmt.Sprintf("its history could not be applied again: %v", err), r.Time)
		return nil
	}
	return err
}
