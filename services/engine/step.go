package engine

import (
	"context"
	"time"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Stepper is one ownership of a partition that is driven by hand: a simulator calls, turn by turn and in its own time,
// what [Engine.Run] calls on goroutines. It is used by one goroutine. After an error it is of no more use but Release.
type Stepper struct {
	engine *Engine
	core   *partition
	owner  journal.Owner
}

// Own acquires a partition, builds its state and commits the first record of the ownership. It waits for nothing: while
// the clock is in doubt the error is a [*ClockError].
func (e *Engine) Own(ctx context.Context, id events.Partition) (*Stepper, error) {
	owner, err := e.deps.Log.Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	s := &Stepper{engine: e, owner: owner}
	if err := s.begin(ctx, id); err != nil {
		owner.Release()
		return nil, err
	}
	return s, nil
}

func (s *Stepper) begin(ctx context.Context, id events.Partition) (err error) {
	now, err := s.engine.guard.now()
	if err != nil {
		return err
	}
	if s.core, err = recoverPartition(ctx, id, s.owner, s.engine.deps, s.engine.options); err != nil {
		return err
	}
	return s.engine.commit(context.WithoutCancel(ctx), s.core, s.owner, s.core.begin(now))
}

// Turn handles what waits, and what is due. Its context must not end: the turn would be given up, and with it the
// ownership. While the clock is in doubt it does nothing, and the error is a [*ClockError] that does not end the ownership.
func (s *Stepper) Turn(ctx context.Context) error {
	now, err := s.engine.guard.now()
	if err != nil {
		return err
	}
	return s.engine.turn(ctx, s.core, s.owner, now)
}

// Idle returns how long the partition may wait for a command before its next turn is due.
func (s *Stepper) Idle() time.Duration { return s.core.idle() }

// Leave writes all rows and ends the ownership, as a planned end does.
func (s *Stepper) Leave(ctx context.Context) error {
	defer s.owner.Release()
	return s.core.leave(ctx)
}

// Release ends the ownership without writing anything.
func (s *Stepper) Release() { s.owner.Release() }

// Seq returns the newest record that the state includes.
func (s *Stepper) Seq() events.Seq { return s.core.seq }

// State appends the encoded state of a run to dst, and reports whether it is quarantined, which has no state. It returns nil if
// the run is not known.
func (s *Stepper) State(ctx context.Context, run events.RunID, dst []byte) (state []byte, quarantined bool, err error) {
	e, ok := s.core.runs[run]
	if !ok {
		row, err := s.core.deps.Runs.Run(ctx, s.core.id, run)
		if err != nil || row == nil {
			return nil, false, err
		}
		if e, err = decodeEntry(run, row); err != nil {
			return nil, false, err
		}
	}
	if e.broken != nil {
		return nil, true, nil
	}
	return e.run.AppendTo(dst), false, nil
}

// Rebuilt builds the partition's state a second time from its checkpoint and the records after it, beside the one that
// works and without taking anything from it. Only State and Seq of the result are of use.
func (s *Stepper) Rebuilt(ctx context.Context) (*Stepper, error) {
	core, err := recoverPartition(ctx, s.core.id, onlooker{s.owner, s.core.seq}, s.engine.deps, s.engine.options)
	if err != nil {
		return nil, err
	}
	return &Stepper{engine: s.engine, core: core, owner: s.owner}, nil
}

// onlooker is an ownership as it would begin now.
type onlooker struct {
	journal.Owner
	last events.Seq
}

func (o onlooker) Last() events.Seq { return o.last }

// Partition returns the partition that is owned.
func (s *Stepper) Partition() events.Partition { return s.core.id }
