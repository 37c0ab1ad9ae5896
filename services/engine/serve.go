package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// How long a partition waits before it is recovered again, and before it looks again at a clock that jumped. A quiet
// engine looks at the clock each clockWatch.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	clockLook  = time.Second
	clockWatch = time.Minute
)

// serve owns a partition again and again until ctx ends. It returns an error when the journal is closed.
func (e *Engine) serve(ctx context.Context, id events.Partition) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		began := e.deps.Clock.Boot()
		err := stopping(e.own(ctx, id))
		if ctx.Err() != nil {
			e.report(id, func(h *Health) { h.State, h.Reason = Stopped, "the engine stops" })
			if err != nil && !errors.Is(err, context.Canceled) {
				e.deps.Logger.Warn("the partition was left in the middle of its work", slog.Int("partition", int(id)), slog.String("error", err.Error()))
			}
			return nil
		}
		var stop *stopError
		switch {
		case errors.Is(err, journal.ErrClosed):
			e.report(id, func(h *Health) { h.State, h.Reason = Stopped, err.Error() })
			return fmt.Errorf("partition %d: %w", id, err)
		case errors.As(err, &stop):
			e.deps.Logger.Error("the partition is stopped", slog.Int("partition", int(id)), slog.String("error", err.Error()))
			e.report(id, func(h *Health) { h.State, h.Reason = Stopped, err.Error() })
			<-ctx.Done()
			return nil
		}
		if errors.Is(err, journal.ErrMoved) {
			e.deps.Logger.Info("the partition moves to another process", slog.Int("partition", int(id)))
			pause = retryFirst
			continue
		}
		e.deps.Logger.Warn("the partition is recovered from the log", slog.Int("partition", int(id)), slog.String("error", err.Error()))
		e.report(id, func(h *Health) { h.State, h.Reason = Starting, err.Error() })
		if e.deps.Clock.Boot()-began > time.Minute {
			pause = retryFirst
		}
		if !e.sleep(ctx, pause) {
			return nil
		}
	}
}

// own acquires a partition and serves it until that fails or ctx ends.
func (e *Engine) own(ctx context.Context, id events.Partition) error {
	e.report(id, func(h *Health) { h.State = Standby })
	owner, err := e.deps.Log.Acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("acquiring: %w", err)
	}
	defer owner.Release()
	e.report(id, func(h *Health) { h.State = Starting })
	deps := e.deps
	deps.Logger = deps.Logger.With(slog.Int("partition", int(id)), slog.Uint64("epoch", owner.Epoch()))
	p, err := recoverPartition(ctx, id, owner, deps, e.options)
	if err != nil {
		return err
	}
	deps.Logger.Info("the partition runs here", slog.Uint64("records", uint64(p.seq)))
	now, err := e.now(ctx, id)
	if err != nil {
		return err
	}
	lasting := context.WithoutCancel(ctx) // a turn that has begun is not given up
	if err := e.commit(lasting, p, owner, p.begin(now)); err != nil {
		return err
	}
	var quiet patience
	defer quiet.end()
	for {
		runtime.Gosched() // whoever can run now may have a command, too
		now, err := e.now(ctx, id)
		if err != nil {
			return err
		}
		if err := e.turn(lasting, p, owner, now); err != nil {
			return err
		}
		if err := quiet.wait(ctx, owner, p.idle()); err != nil {
			if ctx.Err() != nil {
				return p.leave(lasting)
			}
			return err
		}
	}
}

// turn handles what waits, and what is due. Its context must not end, as that of commit.
func (e *Engine) turn(ctx context.Context, p *partition, owner journal.Owner, now events.Time) error {
	commands := owner.Take(e.options.Batch)
	if later, err := e.guard.now(); err == nil {
		now = later // a timer that was asked for since is due: at an earlier time it would be asked for in vain
	}
	began := e.deps.Clock.Boot()
	step, err := p.Turn(ctx, now, commands)
	if err != nil {
		return err
	}
	e.deps.Observer.Turned(p.id, len(commands), len(step.Records), e.deps.Clock.Boot()-began)
	return e.commit(ctx, p, owner, step)
}

// commit makes a step durable and lets it out. Its context must not end: the step would be given up.
func (e *Engine) commit(ctx context.Context, p *partition, owner journal.Owner, step journal.Step) error {
	if len(step.Records) > 0 || step.Consumed > 0 {
		began := e.deps.Clock.Boot()
		if err := owner.Commit(ctx, step); err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		e.deps.Observer.Committed(p.id, e.deps.Clock.Boot()-began)
	}
	if err := p.committed(ctx, step); err != nil {
		return err
	}
	e.report(p.id, func(h *Health) {
		h.State, h.Reason = Running, ""
		h.Epoch, h.Owner, h.Applied, h.Checkpoint, h.Turned = p.epoch, p.owner, p.seq, p.checkpoint, e.deps.Clock.Now()
	})
	return nil
}

// now returns the time for the next records. While the clock is in doubt the partition waits.
func (e *Engine) now(ctx context.Context, id events.Partition) (events.Time, error) {
	for {
		now, err := e.guard.now()
		if err == nil {
			return now, nil
		}
		e.report(id, func(h *Health) { h.State, h.Reason = Paused, err.Error() })
		if !e.sleep(ctx, clockLook) {
			return 0, ctx.Err()
		}
	}
}

// sleep waits and reports whether ctx goes on.
func (e *Engine) sleep(ctx context.Context, d time.Duration) bool {
	timer := e.deps.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// idle is how long the partition may wait for a command before its next turn is due.
func (p *partition) idle() time.Duration {
	if p.unflushed > 0 {
		return p.options.FlushEvery
	}
	return sweepEvery
}

// patience bounds waits for commands. One deadline serves all waits until it is over: one for each would cost about as much as
// a turn.
type patience struct {
	until  context.Context
	cancel context.CancelFunc
	most   time.Duration
}

// wait returns when a command waits or something may be due, after at most so long.
func (w *patience) wait(ctx context.Context, owner journal.Owner, most time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.until == nil || w.until.Err() != nil || w.most > most {
		w.end()
		w.until, w.cancel = context.WithTimeout(ctx, most)
		w.most = most
	}
	err := owner.Wait(w.until)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

func (w *patience) end() {
	if w.cancel != nil {
		w.cancel()
	}
}
