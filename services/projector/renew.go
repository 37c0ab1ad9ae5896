package projector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// RenewalHolder is the name of the hold on the log of a model that is built beside the one that answers.
const RenewalHolder = "projector-renewal"

const (
	// renewEvery is how often it is looked whether somebody wants the model built anew.
	renewEvery = 5 * time.Second
	// renewLook is how often it is looked how far the new model is.
	renewLook = 250 * time.Millisecond
	// renewLag is how many records the new model may lack when the old one stops being written.
	renewLag = 10_000
	// renewPause is how long the old one may stand still for the new one.
	renewPause = 30 * time.Second
)

// gate lets one at a time write the model: the projector, life after life, or who exchanges it.
type gate struct {
	door chan struct{} // has a value while nobody waits for the turn or exchanges
	turn chan struct{} // has a value while nobody has it

	mu   sync.Mutex
	stop context.CancelFunc // ends the life under way
}

func newGate() *gate {
	g := &gate{door: make(chan struct{}, 1), turn: make(chan struct{}, 1), stop: func() {}}
	g.door <- struct{}{}
	g.turn <- struct{}{}
	return g
}

// live runs a life when it is its turn.
func (g *gate) live(ctx context.Context, life func(context.Context) error) error {
	select {
	case <-g.door:
	case <-ctx.Done():
		return nil
	}
	<-g.turn // whoever has it has the door, too
	defer func() { g.turn <- struct{}{} }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.stop = cancel
	g.mu.Unlock()
	g.door <- struct{}{}
	return life(ctx)
}

// take ends the life under way, and gives the turn to the caller, who gives it back. It fails when ctx ends.
func (g *gate) take(ctx context.Context) (giveBack func(), err error) {
	select {
	case <-g.door:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	<-g.turn // a life that was told to stop ends
	return func() {
		g.turn <- struct{}{}
		g.door <- struct{}{}
	}, nil
}

// renewals builds the model anew whenever somebody wants that, until ctx ends.
func (p *Projector) renewals(ctx context.Context, model readmodel.Renewable) {
	timer := p.deps.Clock.NewTimer(renewEvery)
	defer timer.Stop()
	if err := p.deps.Log.Hold(RenewalHolder, nil); err != nil { // of a building that broke off
		p.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "the log may be kept for a building that broke off", slog.Any("error", err))
	}
	for {
		select {
		case <-timer.C():
		case <-ctx.Done():
			return
		}
		wish, err := model.RebuildAsked(ctx)
		if err == nil && wish > 0 {
			p.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "read model is built anew beside the old one, because somebody asked for it")
			if err = p.renew(ctx, model, wish); err == nil {
				p.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "the new read model has taken the place of the old one")
			}
		}
		if err != nil && ctx.Err() == nil {
			p.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "read model was not built anew; it is tried again", slog.Any("error", err))
		}
		timer.Reset(renewEvery)
	}
}

// renew builds a model beside the one that answers and exchanges them.
func (p *Projector) renew(ctx context.Context, model readmodel.Renewable, wish uint64) (err error) {
	beside, err := model.Beside(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if c, ok := beside.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}()
	deps := p.deps
	deps.Model = plain{beside}
	builder := New(deps, p.options)
	builder.holder = RenewalHolder
	builds, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- builder.Run(builds) }()
	running := true
	end := func() error {
		stop()
		if !running {
			return nil
		}
		running = false
		return <-ended
	}
	defer func() {
		err = errors.Join(err, end())
		err = errors.Join(err, p.deps.Log.Hold(RenewalHolder, nil))
	}()

	if err := p.until(ctx, 0, ended, &running, func() bool { return builder.near(renewLag) }); err != nil {
		return err
	}
	giveBack, err := p.gate.take(ctx)
	if err != nil {
		return err
	}
	defer giveBack()
	has, err := model.Positions(ctx)
	if err != nil {
		return fmt.Errorf("positions of the read model: %w", err)
	}
	if err := p.until(ctx, renewPause, ended, &running, func() bool { return builder.includes(has) }); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if err := model.Exchange(ctx, beside, wish); err != nil {
		return err
	}
	p.mu.Lock()
	p.stats.Rebuilds++
	p.mu.Unlock()
	return nil
}

// plain is a model that is not built anew beside itself.
type plain struct{ readmodel.Model }

// KeepsEvents passes on what the model wants.
func (m plain) KeepsEvents() bool {
	h, ok := m.Model.(readmodel.Historian)
	return ok && h.KeepsEvents()
}

// until returns when something holds, the building has ended, it takes too long, or ctx has ended.
func (p *Projector) until(ctx context.Context, atMost time.Duration, ended <-chan error, running *bool, holds func() bool) error {
	timer := p.deps.Clock.NewTimer(renewLook)
	defer timer.Stop()
	for began := p.now(); !holds(); {
		if atMost > 0 && p.now().Sub(began) > atMost {
			return fmt.Errorf("the new read model did not come up to the old one within %s", atMost)
		}
		select {
		case <-timer.C():
			timer.Reset(renewLook)
		case err := <-ended:
			*running = false
			if err == nil {
				err = context.Canceled
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// near reports whether the model lacks few records of the log only.
func (p *Projector) near(records uint64) bool {
	lag := uint64(0)
	for _, at := range p.Stats().Partitions {
		if first, _ := p.deps.Log.Bounds(at.Partition); at.Next < first {
			return false // it is made from the archive
		}
		lag += at.LagRecords
	}
	return lag <= records
}

// includes reports whether the model has everything that one at the given positions has.
func (p *Projector) includes(positions []readmodel.Position) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, wanted := range positions {
		for _, at := range p.applied {
			if at.Partition == wanted.Partition && at.Next < wanted.Next {
				return false
			}
		}
	}
	return true
}
