package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// start makes the services and runs them: the engine first, the gateway last, so that the gateway stops first.
func (s *Suite) start(ctx context.Context, o Options, blobs blobstore.Store) error {
	log, registry, now := s.store.Journal(), prometheus.NewRegistry(), clock.Real()
	box := memory.NewInbox()
	observed := compose.NewMetrics(registry)
	watchStore(observed, s.store)
	own, err := engine.New(engine.Deps{
		Log: log, Runs: s.store.RunStore(), Archive: s.store.Archive(), Blobs: blobs, Clock: now,
		Logger: o.Log.With(slog.String("service", "engine")), Observer: observed,
	}, engine.Options{Cluster: s.store.Format().Cluster, Retention: o.RetentionHistory, Readers: []string{scheduler.Holder, projector.Holder}})
	if err != nil {
		return err
	}
	schedule := scheduler.New(scheduler.Deps{
		Log: log, Commands: log, Index: s.store.DueIndex(), Inbox: box, Clock: now, Observer: observed,
		Logger: o.Log.With(slog.String("service", "scheduler")), Partitions: compose.Partitions(log.Partitions()),
	}, scheduler.Options{})
	project := projector.New(projector.Deps{
		Log: log, Archive: s.store.Archive(), Model: s.model, Clock: now, Logger: o.Log.With(slog.String("service", "projector")),
		Partitions: compose.Partitions(log.Partitions()),
	}, projector.Options{})
	observed.WatchDoor(o.Door)
	observed.WatchEngine(own)
	observed.WatchScheduler(func() *scheduler.Scheduler { return schedule })
	observed.WatchProjector(func() *projector.Projector { return project })
	door, err := gateway.New(gateway.Deps{
		Sender: log, Follower: log, Partitions: log.Partitions(), Archive: s.store.Archive(), Inbox: box, Reader: prompt{s.model, project}, Blobs: blobs,
		Clock: now, Log: o.Log.With(slog.String("service", "gateway")), Metrics: registry,
		Health:  func() []gateway.Component { return health(s.store, own, schedule, project) },
		Backlog: func() []gateway.QueueBacklog { return compose.Backlog(schedule) }, Tracer: o.Tracer,
		Cluster: func(context.Context) (gateway.ClusterState, error) { return clusterState(log, own) },
	}, gateway.Options{
		GRPC: s.grpc, HTTP: s.http, Door: o.Door, Version: o.Version, Build: compose.Revision(), CommandsLogged: log.Features().CommandsLogged,
		MaxPayloadBytes: int(o.MaxPayloadBytes), DrainTimeout: o.DrainTimeout,
	})
	if err != nil {
		return err
	}
	s.group.Add("store", func(ctx context.Context) error { return untilFatal(ctx, s.fatal) })
	s.group.Add("engine", own.Run)
	s.group.Add("scheduler", schedule.Run)
	s.group.Add("projector", project.Run)
	s.group.Add("gateway", door.Run)
	s.group.Add("door", o.Door.Run)
	s.group.Start(context.WithoutCancel(ctx))
	s.serving = true
	return s.untilReady(ctx, own, schedule, now)
}

// prompt is a read model whose projector writes at once when somebody waits for it.
type prompt struct {
	readmodel.Reader

	project *projector.Projector
}

// WaitFor returns when the model includes the record.
func (m prompt) WaitFor(ctx context.Context, p events.Partition, seq events.Seq) error {
	m.project.Nudge()
	return m.Reader.WaitFor(ctx, p, seq)
}

// untilFatal ends when the store can no longer be written: nothing may be acknowledged then.
func untilFatal(ctx context.Context, fatal <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal:
		return fmt.Errorf("the store cannot be written any more; everything acknowledged is safe, see the disk and start again: %w", err)
	}
}

// readyPoll is how often a starting suite is asked whether it is ready.
const readyPoll = 2 * time.Millisecond

// untilReady waits until every partition runs and work is given out.
func (s *Suite) untilReady(ctx context.Context, own *engine.Engine, schedule *scheduler.Scheduler, now clock.Clock) error {
	timer := now.NewTimer(readyPoll)
	defer timer.Stop()
	for {
		waiting := ""
		for _, p := range own.Health() {
			switch {
			case p.State == engine.Stopped:
				return fmt.Errorf("partition %d cannot be recovered: %s; see 'continuo store check'", p.Partition, p.Reason)
			case p.State != engine.Running:
				waiting = fmt.Sprintf("partition %d is %s", p.Partition, p.State)
			}
		}
		if waiting == "" && schedule.Stats().Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the start was given up while %s: %w", cmp.Or(waiting, "the scheduler recovers"), ctx.Err())
		case <-s.group.Stopping():
			return errors.New("a service failed at its start") // which one and why comes from the group
		case <-timer.C():
			timer.Reset(readyPoll)
		}
	}
}

// health tells the gateway how the parts beside it are.
func health(store *pebble.Store, own *engine.Engine, schedule *scheduler.Scheduler, project *projector.Projector) []gateway.Component {
	parts := []gateway.Component{{Name: "engine", Ready: true, Detail: "all partitions run"}, {Name: "disk", Ready: true}, {Name: "scheduler", Ready: schedule.Stats().Ready}}
	for _, p := range own.Health() {
		if p.State != engine.Running {
			parts[0].Ready, parts[0].Detail = false, fmt.Sprintf("partition %d is %s: %s", p.Partition, p.State, p.Reason)
		}
	}
	disk := store.DiskState()
	parts[1].Detail = fmt.Sprintf("%d bytes free, %d reserved", disk.FreeBytes, disk.ReserveBytes)
	if disk.Full {
		parts[1].Ready, parts[1].Detail = false, "client commands are refused: only "+parts[1].Detail
	}
	if !parts[2].Ready {
		parts[2].Detail = "the log is being read"
	}
	model := compose.ProjectorHealth(project)
	model.Ready, model.Degraded = true, !model.Ready // what is not a query does not wait for it
	return append(parts, model)
}

// Done is closed when the suite begins to stop: by Close, or because a part of it failed.
func (s *Suite) Done() <-chan struct{} { return s.group.Stopping() }

// Close stops the services, the gateway first, closes the store, and returns why the suite stopped if it was not asked
// to. A throw-away directory is deleted. Calling it again returns the same.
func (s *Suite) Close() error {
	s.closing.Do(func() { s.closed = s.release() })
	return s.closed
}

// release undoes as much of a start as was done.
func (s *Suite) release() error {
	var errs []error
	if s.serving {
		s.group.Stop()
		errs = append(errs, s.group.Wait())
	} else {
		for _, l := range []interface{ Close() error }{s.grpc, s.http} {
			if l != nil {
				errs = append(errs, l.Close())
			}
		}
	}
	if s.model != nil {
		errs = append(errs, s.model.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.temporary != "" {
		errs = append(errs, os.RemoveAll(s.temporary))
	}
	return errors.Join(errs...)
}

// HTTPAddr and GRPCAddr return the addresses served; "in-process" where none was asked for.
func (s *Suite) HTTPAddr() string { return s.http.Addr().String() }

// GRPCAddr returns the gRPC address served; "in-process" where none was asked for.
func (s *Suite) GRPCAddr() string { return s.grpc.Addr().String() }
