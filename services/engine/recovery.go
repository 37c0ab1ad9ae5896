package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// foldLimit is how many records are read at a time while recovering.
const foldLimit = 1_000

// recallRecords is how many records before the checkpoint are read for their answers.
const recallRecords = 2_000

// stopError says that a partition cannot go on by itself: somebody has to act.
type stopError struct{ err error }

func (s *stopError) Error() string { return s.err.Error() }
func (s *stopError) Unwrap() error { return s.err }

// recoverPartition builds a partition's state from its newest checkpoint and the records after it, up to the last one that
// was durable when the ownership began.
func recoverPartition(ctx context.Context, id events.Partition, owner journal.Owner, deps Deps, options Options) (*partition, error) {
	begun := deps.Clock.Boot()
	p := newPartition(id, deps, options)
	p.epoch, p.owner = owner.Epoch(), owner.ID()
	checkpoint, err := deps.Runs.Checkpoint(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	if err := p.restore(checkpoint.State); err != nil {
		return nil, &stopError{fmt.Errorf("the checkpoint of partition %d: %w", id, err)}
	}
	p.checkpoint = max(checkpoint.Next, 1)
	p.seq = p.checkpoint - 1
	folded, err := p.foldTail(ctx, owner.Last())
	if errors.Is(err, journal.ErrTrimmed) {
		if now, failed := deps.Runs.Checkpoint(ctx, id); failed == nil && now.Next > p.checkpoint {
			return nil, fmt.Errorf("another process owns the partition, and has trimmed its log: %v", err) //nolint:errorlint // trimmed is no reason to stop then
		}
	}
	if err != nil {
		return nil, stopping(err)
	}
	for _, e := range p.runs {
		e.settle()
	}
	p.unflushed = folded
	took := deps.Clock.Boot() - begun
	deps.Logger.Debug("partition recovered", slog.Int("partition", int(id)), slog.Uint64("epoch", p.epoch),
		slog.Uint64("seq", uint64(p.seq)), slog.Int("records", folded), slog.Int("runs", len(p.runs)), slog.Duration("took", took))
	deps.Observer.Recovered(id, folded, took)
	return p, nil
}

// stopping marks the errors that trying again does not mend.
func stopping(err error) error {
	var newer *events.NewerSchemaError
	var unknown *events.UnknownKindError
	var corrupt *events.CorruptError
	if errors.Is(err, journal.ErrTrimmed) || errors.Is(err, journal.ErrDamaged) || errors.As(err, &newer) || errors.As(err, &unknown) || errors.As(err, &corrupt) {
		return &stopError{err}
	}
	return err
}

// foldTail reads the log from the checkpoint to last and returns how many records that were. It begins a little earlier,
// where the log still has it, to know the answers of commands that the transport may repeat.
func (p *partition) foldTail(ctx context.Context, last events.Seq) (folded int, err error) {
	if p.seq > last {
		return 0, &stopError{fmt.Errorf("the rows of partition %d include record %d, and its log ends at %d: they are not of one store", p.id, p.seq, last)}
	}
	first, _ := p.deps.Log.Bounds(p.id)
	from := p.seq + 1
	if recall := max(first, p.seq-min(p.seq, recallRecords)+1); recall < from {
		from = recall
	}
	if from > last {
		return 0, nil
	}
	reader, err := p.deps.Log.Follow(ctx, []journal.Position{{Partition: p.id, Next: from}})
	if err != nil {
		return 0, fmt.Errorf("reading the log from %d: %w", from, err)
	}
	defer reader.Close()
	for at := from - 1; at < last; {
		records, err := reader.Next(ctx, foldLimit)
		if err != nil {
			return folded, fmt.Errorf("reading the log from %d: %w", at+1, err)
		}
		if err := p.deps.Archive.Append(ctx, p.id, records); err != nil {
			return folded, fmt.Errorf("archiving records: %w", err)
		}
		for _, r := range records {
			at = r.Seq
			switch {
			case r.Seq > last:
			case r.Seq <= p.seq && folded == 0:
				p.recall(r)
			default:
				if err := p.fold(ctx, r); err != nil {
					return folded, fmt.Errorf("folding record %d: %w", r.Seq, err)
				}
				folded++
			}
		}
	}
	return folded, nil
}

// recall remembers the answers of a record that the checkpoint includes.
func (p *partition) recall(r *events.Record) {
	for _, a := range r.Answers {
		p.recent.add(a)
	}
}

// fold takes one record of the past into the state, as the turn that wrote it left it.
func (p *partition) fold(ctx context.Context, r *events.Record) error {
	switch {
	case r.Schema > events.Schema:
		return &events.NewerSchemaError{Partition: p.id, Seq: r.Seq, Schema: r.Schema}
	case r.Seq != p.seq+1:
		return &stopError{fmt.Errorf("the log has record %d where %d is due", r.Seq, p.seq+1)}
	case r.Time < p.time:
		return &stopError{fmt.Errorf("record %d is of %d, before the record that precedes it (%d)", r.Seq, r.Time, p.time)}
	}
	p.seq, p.time = r.Seq, r.Time
	if err := p.foldRun(ctx, r); err != nil {
		return err
	}
	for _, a := range r.Answers {
		p.handled(a, r.Time)
	}
	return nil
}

func (p *partition) foldRun(ctx context.Context, r *events.Record) error {
	if r.RunID.IsZero() {
		for _, e := range r.Events {
			if began, ok := e.(events.EpochStarted); ok {
				if err := p.checkLog(began); err != nil {
					return err
				}
			}
		}
		return nil
	}
	e, err := p.load(ctx, r.RunID)
	if err != nil {
		return err
	}
	if e == nil {
		if len(r.Events) == 0 || r.First != 1 {
			return nil // of a run that was forgotten since
		}
		e = &entry{namespace: r.Namespace, workflowID: r.WorkflowID, id: r.RunID, run: machine.NewRun(r.Header)}
		p.runs[e.id] = e
		newest, taken, err := p.newestRun(ctx, r.Namespace, r.WorkflowID)
		if err != nil {
			return err
		}
		if taken && newest.RunID != e.id {
			p.follows(e.id, newest.RunID, r.Time)
		}
	}
	for _, ev := range r.Events {
		p.note(&r.Header, ev)
	}
	if e.seq >= r.Seq || e.seq > 0 && mutant.On(mutant.TailNotFolded) {
		return nil
	}
	for i, ev := range r.Events {
		if err := p.foldEvent(ctx, e, r, ev, r.First+events.EventNumber(i)); err != nil {
			return err
		}
	}
	if len(r.Events) > 0 || slices.ContainsFunc(r.Answers, keeps) {
		e.seq, e.dirty = r.Seq, true
		e.settle()
	}
	for _, a := range r.Answers {
		if keeps(a) && !mutant.On(mutant.ForgetAnswersAtRecovery) {
			if err := p.keep(ctx, e, a, r.Time); err != nil {
				return err
			}
		}
	}
	return nil
}

// foldEvent applies one event of the past to a run. One that does not fit quarantines the run.
func (p *partition) foldEvent(ctx context.Context, e *entry, r *events.Record, ev events.Event, n events.EventNumber) error {
	switch ev := ev.(type) {
	case events.RunQuarantined:
		p.foldQuarantined(e, r, ev, n)
		return nil
	case events.RunReleased:
		return p.foldReleased(ctx, e, r, ev, n)
	case events.RunPurged:
		p.forgetting = append(p.forgetting, endedOf(e))
	default:
	}
	if e.broken != nil {
		e.broken.next = n + 1
		return nil
	}
	if err := p.guarded(e.id, func() error { return e.run.Apply(ev, n, r.Time) }); err != nil {
		p.breakRun(e, n+1, fmt.Sprintf("its log could not be applied: %v", err), r.Time)
	}
	return nil
}
