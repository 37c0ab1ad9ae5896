package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// recordsPerTurn is how many records are read at a time.
const recordsPerTurn = 256

// lookEvery is how soon damage that a query has found is repaired while there is nothing to write.
const lookEvery = time.Second

// A model that cannot be written (its disk is full, say) is tried again after 1 s, doubling up to 30 s.
const (
	firstRetry = time.Second
	maxRetry   = 30 * time.Second
)

// Run follows the log and writes the model until ctx ends; it returns nil then, after writing what it has read. An error
// means that the log or the archive cannot be read. Trouble with the model itself is logged and overcome: by trying again,
// or by making the model anew.
//
// A model that is [readmodel.Renewable] is also built anew beside itself when somebody asks for it.
func (p *Projector) Run(ctx context.Context) error {
	p.mu.Lock()
	p.began = p.now()
	p.mu.Unlock()
	if model, ok := p.deps.Model.(readmodel.Renewable); ok {
		ctx, cancel := context.WithCancel(ctx)
		var renewing sync.WaitGroup
		renewing.Go(func() { p.renewals(ctx, model) })
		defer renewing.Wait()
		defer cancel()
	}
	timer := p.deps.Clock.NewTimer(maxRetry)
	defer timer.Stop()
	delay := firstRetry
	for {
		began := p.now()
		err := p.gate.live(ctx, p.life)
		switch {
		case err == nil && ctx.Err() == nil, errors.Is(err, errRebuild): // the model was exchanged, or dropped
			continue
		case !errors.Is(err, readmodel.ErrUnavailable):
			return err
		}
		p.suffer(err)
		if p.now().Sub(began) > maxRetry {
			delay = firstRetry
		}
		p.deps.Logger.LogAttrs(ctx, slog.LevelError, "read model is not available", slog.Any("error", err), slog.Duration("retry_after", delay))
		timer.Reset(delay)
		select {
		case <-timer.C():
		case <-ctx.Done():
			return nil
		}
		delay = min(2*delay, maxRetry)
	}
}

// life follows the log until something ends that. errRebuild says that the model was dropped.
func (p *Projector) life(ctx context.Context) error {
	err := stopped(ctx, p.live(ctx))
	if !errors.Is(err, errRebuild) && !errors.Is(err, readmodel.ErrDamaged) {
		return err
	}
	p.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "read model is dropped and built anew", slog.Any("error", err))
	if err := p.deps.Model.Reset(ctx); err != nil {
		return stopped(ctx, fmt.Errorf("drop the read model: %w", err))
	}
	p.mu.Lock()
	p.stats.Rebuilds++
	p.mu.Unlock()
	return errRebuild
}

// stopped turns the error of a projector whose context is over into nil.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// live goes on from where the model is until something ends it.
func (p *Projector) live(ctx context.Context) error {
	reader, err := p.follow(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := stopped(ctx, p.loop(ctx, reader)); err != nil {
		return err
	}
	if out := p.Turn(Input{Now: p.now(), Hurry: true}); out.Write {
		if err := p.last(context.WithoutCancel(ctx), out); err != nil {
			p.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "read model lacks what was read last; it is read again", slog.Any("error", err))
		}
	}
	return nil
}

// follow begins where the model is and holds and reads the log from there.
func (p *Projector) follow(ctx context.Context) (journal.Reader, error) {
	at, err := p.deps.Model.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("positions of the read model: %w", err)
	}
	p.suffer(nil)
	p.begin(at)
	if err := p.catchUp(ctx); err != nil {
		return nil, err
	}
	if err := p.hold(p.next); err != nil {
		return nil, err
	}
	var from []journal.Position
	for _, position := range p.next {
		from = append(from, journal.Position{Partition: position.Partition, Next: position.Next})
	}
	reader, err := p.deps.Log.Follow(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	return reader, nil
}

// last writes once, at a planned end.
func (p *Projector) last(ctx context.Context, out Output) error {
	stored, err := p.stored(ctx, out.Wanted)
	if err != nil {
		return err
	}
	return p.store(ctx, p.Write(stored))
}

func (p *Projector) now() events.Time { return events.TimeOf(p.deps.Clock.Now()) }

// readAll notes that the log has no more now.
func (p *Projector) readAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = p.now()
}

func (p *Projector) loop(ctx context.Context, reader journal.Reader) error {
	timer := p.deps.Clock.NewTimer(p.options.Delay)
	defer timer.Stop()
	hurry := false
	for ctx.Err() == nil {
		records, err := reader.TryNext(recordsPerTurn)
		if err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		if len(records) == 0 {
			p.readAll()
		}
		out := p.Turn(Input{Now: p.now(), Records: records, Hurry: hurry && len(records) == 0})
		for out.Write {
			if err := p.persist(ctx, out, timer); err != nil {
				return err
			}
			out = p.Turn(Input{Now: p.now(), Records: out.Rest})
		}
		if len(records) > 0 {
			continue
		}
		if _, err := p.deps.Model.Positions(ctx); errors.Is(err, readmodel.ErrDamaged) {
			return err // a query has found damage, and there may be nothing to write for a long time
		}
		hurry = p.wait(ctx, timer, out.Wake, reader)
	}
	return ctx.Err()
}

// readEvery is how often the log is read while a batch collects. Each read takes what has come since: being woken by every
// commit would cost more than reading, and the log keeps what is younger than this in memory.
const readEvery = 50 * time.Millisecond

// wait returns when something may have come and is to be read, at the given time if there is one, and after lookEvery at
// the latest. It reports whether somebody is in a hurry.
func (p *Projector) wait(ctx context.Context, timer clock.Timer, until events.Time, reader journal.Reader) (hurry bool) {
	alarm, ready := lookEvery, reader.Ready()
	if until != 0 {
		alarm, ready = max(0, min(until.Sub(p.now()), p.options.Delay, readEvery)), nil
	}
	timer.Reset(alarm)
	select {
	case <-ctx.Done():
	case <-ready:
	case <-p.nudges:
		return true
	case <-timer.C():
	}
	return false
}

// persist writes what was collected. It tries until that succeeds, the model is found damaged, or ctx ends. A write that is under way
// then is finished: one that breaks off looks like that of another projector to who exchanges the model.
func (p *Projector) persist(ctx context.Context, out Output, timer clock.Timer) error {
	var stored []row.Run
	err := p.retry(ctx, timer, func() (err error) {
		stored, err = p.stored(ctx, out.Wanted)
		return err
	})
	if err != nil {
		return err
	}
	batch := p.Write(stored)
	return p.retry(ctx, timer, func() error { return p.store(context.WithoutCancel(ctx), batch) })
}

func (p *Projector) retry(ctx context.Context, timer clock.Timer, do func() error) error {
	for delay := firstRetry; ; delay = min(2*delay, maxRetry) {
		err := do()
		if err == nil || errors.Is(err, readmodel.ErrDamaged) || errors.Is(err, journal.ErrClosed) || ctx.Err() != nil {
			return err
		}
		p.suffer(err)
		p.deps.Logger.LogAttrs(ctx, slog.LevelError, "read model cannot be written", slog.Any("error", err), slog.Duration("retry_after", delay))
		timer.Reset(delay)
		select {
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stored returns the rows that the batch builds upon, with the history that lies between them and the batch.
func (p *Projector) stored(ctx context.Context, wanted []events.RunID) ([]row.Run, error) {
	p.gaps = projection.Facts{Events: p.keepsEvents(), Source: projection.Gaps}
	rows, ask := p.known.take(p.room[:0], wanted)
	if len(ask) > 0 {
		asked, err := p.deps.Model.Rows(ctx, ask)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			rows = asked // as they are: when much is asked for, little is known
		} else {
			rows = append(rows, asked...)
		}
	}
	for _, gap := range p.Gaps(rows) {
		i := slices.IndexFunc(rows, func(r row.Run) bool { return r.RunID == gap.RunID })
		if i < 0 {
			i = len(rows)
			rows = append(rows, row.Run{})
		}
		if err := p.fold(ctx, &rows[i], gap, &p.gaps); err != nil {
			return nil, err
		}
	}
	// Of what even the archive does not know there is nothing to build upon.
	return slices.DeleteFunc(rows, func(r row.Run) bool { return r.RunID.IsZero() }), nil
}

// historyBytes is how much history of a run is read at a time.
const historyBytes = 1 << 20

// fold brings a row up to the end of a gap, as far as the archive knows, and collects what it passes by.
func (p *Projector) fold(ctx context.Context, run *row.Run, gap projection.Gap, facts *projection.Facts) error {
	for from := gap.From; from != 0; {
		records, next, err := p.deps.Archive.History(ctx, gap.Partition, gap.RunID, from, gap.To, historyBytes)
		if errors.Is(err, archive.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("history of run %s: %w", gap.RunID, err)
		}
		for _, r := range records {
			facts.Fold(run, r)
		}
		from = next
	}
	return nil
}
