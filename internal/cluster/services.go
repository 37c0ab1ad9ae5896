package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/adapter/segments"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// indexRoot is where the objects of the scheduler's index are.
const indexRoot = "index/"

// A batch for the read model ends with so many events or bytes: a store of columns takes large batches for the price of small
// ones.
const (
	batchEvents = 50_000
	batchBytes  = 64 << 20
)

// services makes the services of this process and adds them to the group.
func (p *Process) services() error {
	for _, role := range []struct {
		Role
		add func() error
	}{{Engine, p.addEngine}, {Scheduler, p.addScheduler}, {Projector, p.addProjector}, {Gateway, p.addGateway}} {
		if !p.options.Has(role.Role) {
			continue
		}
		if err := role.add(); err != nil {
			return fmt.Errorf("%s: %w", role.Role, err)
		}
	}
	p.group.Add("door", p.options.Door.Run)
	if p.http != nil && !p.options.Has(Gateway) {
		p.group.Add("http", func(ctx context.Context) error {
			return compose.ServeOperations(ctx, p.http, p.options.Door, p.registry, p.health, p.options.Logger)
		})
	}
	return nil
}

func (p *Process) logger(r Role) *slog.Logger {
	return p.options.Logger.With(slog.String("service", string(r)))
}

func (p *Process) addEngine() error {
	own, err := engine.New(engine.Deps{
		Log: p.journal, Runs: p.segments.RunStore(), Archive: p.segments.Archive(), Blobs: p.options.Blobs, Clock: p.clock,
		Logger: p.logger(Engine), Observer: p.metrics,
	}, engine.Options{
		Cluster: p.options.Cluster, Retention: p.options.RetentionHistory, Readers: []string{scheduler.Holder, projector.Holder},
	})
	if err != nil {
		return err
	}
	p.engine = own
	p.metrics.WatchEngine(own)
	p.group.Add(string(Engine), own.Run)
	return nil
}

func (p *Process) addScheduler() error {
	p.metrics.WatchScheduler(p.workingScheduler)
	p.group.Add(string(Scheduler), func(ctx context.Context) error {
		return p.alone(ctx, Scheduler, func(ctx context.Context) (err error) {
			index, err := segments.Open(segments.Options{
				Objects: objectstore.Within(p.options.Objects, indexRoot), Clock: p.clock, Logger: p.logger(Scheduler), Partitions: p.journal.Partitions(),
				Claims: true,
			})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, index.Close()) }()
			schedule := scheduler.New(scheduler.Deps{
				Log: p.journal, Commands: p.journal, Index: index.DueIndex(), Inbox: p.inbox, Clock: p.clock, Observer: p.metrics,
				Logger: p.logger(Scheduler), Partitions: compose.Partitions(p.journal.Partitions()),
			}, scheduler.Options{})
			p.set(func() { p.scheduler = schedule })
			defer p.set(func() { p.scheduler = nil })
			return schedule.Run(ctx)
		})
	})
	return nil
}

func (p *Process) addProjector() error {
	p.metrics.WatchProjector(p.workingProjector)
	p.group.Add(string(Projector), func(ctx context.Context) error {
		return p.alone(ctx, Projector, func(ctx context.Context) error {
			project := projector.New(projector.Deps{
				Log: p.journal, Archive: p.segments.Archive(), Model: p.options.Model, Clock: p.clock, Logger: p.logger(Projector),
				Partitions: compose.Partitions(p.journal.Partitions()),
			}, projector.Options{Delay: p.options.ProjectEvery, Events: batchEvents, Bytes: batchBytes})
			p.set(func() { p.projector = project })
			defer p.set(func() { p.projector = nil })
			return project.Run(ctx)
		})
	})
	return nil
}

func (p *Process) addGateway() error {
	door, err := gateway.New(gateway.Deps{
		Sender: p.journal, Follower: p.journal, Partitions: p.journal.Partitions(), Archive: p.segments.Archive(), Inbox: p.inbox,
		Reader: p.options.Model, Blobs: p.options.Blobs, Clock: p.clock, Log: p.logger(Gateway), Metrics: p.registry, Health: p.health,
		Backlog: func() []gateway.QueueBacklog {
			if s := p.workingScheduler(); s != nil {
				return compose.Backlog(s)
			}
			return nil
		},
		Cluster: p.clusterState, Tracer: p.options.Tracer,
	}, gateway.Options{
		GRPC: p.grpc, HTTP: p.http, Door: p.options.Door, Version: p.options.Version, Build: compose.Revision(), CommandsLogged: p.journal.Features().CommandsLogged,
		MaxPayloadBytes: int(p.options.MaxPayloadBytes), DrainTimeout: p.options.DrainTimeout,
	})
	if err != nil {
		return err
	}
	p.group.Add(string(Gateway), door.Run)
	return nil
}

// alone runs a service while this process is the one of its role that works, and stands by otherwise. There is one thing to
// work on: all partitions together, which is number 0.
func (p *Process) alone(ctx context.Context, r Role, run func(ctx context.Context) error) error {
	members := p.members[r]
	for ctx.Err() == nil {
		err := members.Await(ctx, 0)
		switch {
		case ctx.Err() != nil, errors.Is(err, membership.ErrLeft):
			return nil //nolint:nilerr // who waited for its turn ends in order
		case err != nil:
			return err
		}
		p.logger(r).Info("this process works now")
		members.Begin(0)
		mine, cancel := context.WithCancel(ctx)
		go func() {
			members.Lost(mine, 0)
			cancel()
		}()
		err = run(mine)
		cancel()
		members.End(0)
		switch {
		case errors.Is(err, journal.ErrLost): // this process was taken to be dead
			p.logger(r).Warn("another process has taken over what this one worked on", slog.String("error", err.Error()))
			continue
		case err != nil:
			return err
		}
		p.logger(r).Info("this process stands by")
	}
	return nil
}

func (p *Process) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *Process) workingScheduler() *scheduler.Scheduler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scheduler
}

func (p *Process) workingProjector() *projector.Projector {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.projector
}
