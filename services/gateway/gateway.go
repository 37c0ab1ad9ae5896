// Package gateway is the one door of the suite: gRPC and REST for clients, streams for workers, queries, health and
// metrics.
//
// What it decides is in the pure package sessions. This shell has one goroutine that turns it ([Gateway.loop]): worker
// streams, clients' calls, the mailbox of the schedulers and the tail of the log feed it, and what it says goes out by
// queues that do not block.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// Deps are the ports and tools of a gateway. All are needed except Health, Backlog, Cluster and Tracer.
type Deps struct {
	Sender   journal.Sender
	Follower journal.Follower
	// Partitions is the number of partitions of the log.
	Partitions int
	Archive    archive.Archive
	Inbox      inbox.Inbox
	Reader     readmodel.Reader
	Blobs      blobstore.Store
	Clock      clock.Clock
	Log        *slog.Logger
	Metrics    *prometheus.Registry
	// Health tells how the components beside this gateway are; nil means there are none.
	Health func() []Component
	// Backlog tells what waits in the queues; nil means unknown.
	Backlog func() []QueueBacklog
	// Tracer makes spans of requests; nil means that there are none.
	Tracer *telemetry.Tracer
	// Cluster tells who owns the partitions; nil means unknown.
	Cluster func(ctx context.Context) (ClusterState, error)
}

// Component is a part of the process as health shows it.
type Component struct {
	// Name is short and stable, such as "engine" or "disk".
	Name  string
	Ready bool
	// Degraded says that the process serves although something is wrong with the part, because sending its requests to another
	// process would not help: readiness tells, and stays.
	Degraded bool
	// Detail says in plain words why it is not ready, or how it is.
	Detail string
}

// ClusterState is what the process knows of the partitions of the log and of the processes that work on them. Lags are counted by
// the gateway.
type ClusterState struct {
	// Scheduler and Projector name the processes that work; "" means that none is known.
	Scheduler, Projector string
	Partitions           []PartitionState
	// Saved is how far the scheduler's index is stored.
	Saved []journal.Position
}

// PartitionState is what is known of a partition.
type PartitionState struct {
	Partition events.Partition
	// Owner names the process; "" means that none is known.
	Owner string
	Epoch uint64
	// State is running, starting, paused, stopped, unowned or halted; Reason says why it is not running.
	State, Reason string
	// Checkpoint is the first record that a new owner would read; 0 means that it is not known.
	Checkpoint events.Seq
}

// QueueBacklog is what waits for workers in one queue.
type QueueBacklog struct {
	Queue       events.TaskQueue
	Tasks       int64
	Activations int64
}

// Gateway is one life of a gateway.
type Gateway struct {
	deps    Deps
	options Options
	session events.SessionID
	core    *sessions.Core // of the loop alone
	began   struct {
		wall time.Time
		boot time.Duration
	}
	in      inputs
	calls   callTable
	conns   connTable
	types   typeCache
	recent  recent
	watches watchers
	tail    tailState
	workers presence
	metrics *metrics
	// deadline is that of every activation, as it goes on the wire.
	deadline *durationpb.Duration

	admission admission

	nextCall    atomic.Uint64
	nextConn    atomic.Uint64
	draining    atomic.Bool
	openStreams atomic.Int64
	openCalls   atomic.Int64
	drained     chan struct{} // closed when draining begins
	stopped     chan struct{} // closed when the loop has ended
}

// New makes a gateway; Run runs it. It fails when a port is missing or an option makes no sense.
func New(deps Deps, options Options) (*Gateway, error) {
	if err := deps.check(); err != nil {
		return nil, err
	}
	if err := options.setDefaults(); err != nil {
		return nil, err
	}
	g := &Gateway{
		deps: deps, options: options, session: options.Session,
		core: sessions.New(sessions.Config{
			Session: options.Session, Partitions: deps.Partitions, Grace: options.Grace, ActivationDeadline: options.ActivationDeadline,
			MaxCalls: options.MaxOpenCalls,
		}),
		drained: make(chan struct{}), stopped: make(chan struct{}), deadline: durationpb.New(options.ActivationDeadline),
	}
	g.began.wall, g.began.boot = deps.Clock.Now(), deps.Clock.Boot()
	g.in.wake = make(chan struct{}, 1)
	g.calls.open = make(map[sessions.Call]*call)
	g.conns.open = make(map[sessions.Conn]*conn)
	g.types.of = make(map[events.RunID]beginning)
	g.recent.reset()
	g.watches.runs = make(map[events.RunID]*watch)
	g.tail.begin = make([]events.Seq, deps.Partitions)
	g.workers.sessions = make(map[events.SessionID]*announced)
	var err error
	if g.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, err
	}
	return g, nil
}

func (d *Deps) check() error {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Sender", d.Sender == nil},
		{"Follower", d.Follower == nil},
		{"Partitions", d.Partitions <= 0},
		{"Archive", d.Archive == nil},
		{"Inbox", d.Inbox == nil},
		{"Reader", d.Reader == nil},
		{"Blobs", d.Blobs == nil},
		{"Clock", d.Clock == nil},
		{"Log", d.Log == nil},
		{"Metrics", d.Metrics == nil},
	} {
		if part.missing {
			return fmt.Errorf("gateway: %s is missing", part.name)
		}
	}
	return nil
}

// Session returns the gateway's session: its stamp on commands and its name in the inbox.
func (g *Gateway) Session() events.SessionID { return g.session }

// Run serves until ctx ends, then drains: it takes nothing new, tells its streams, lets open calls finish within
// Options.DrainTimeout, and closes its listeners. It returns nil after that, and an error when it cannot begin or
// something it stands on fails.
func (g *Gateway) Run(ctx context.Context) error {
	for _, at := range []struct {
		setting string
		net.Listener
	}{{"grpc_addr", g.options.GRPC}, {"http_addr", g.options.HTTP}} {
		if err := g.options.Door.Check(at.setting, at.Listener); err != nil {
			return err
		}
	}
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	tail, err := g.openTail(ctx)
	if err != nil {
		return err
	}
	defer func() { tail.Close() }()
	mailbox, err := g.deps.Inbox.Open(base, g.session)
	if err != nil {
		return fmt.Errorf("open the gateway's mailbox: %w", err)
	}
	defer mailbox.Close()
	reports, err := g.deps.Inbox.Reports(base)
	if err != nil {
		return fmt.Errorf("follow the workers: %w", err)
	}
	defer reports.Close()

	var parts sync.WaitGroup
	parts.Go(func() {
		defer g.calls.end(errStopping)
		defer close(g.stopped)
		if err := g.loop(base, &tail, mailbox); err != nil {
			cancel(err)
		}
	})
	parts.Go(func() { g.followWorkers(base, reports) })
	server := g.grpcServer()
	web := &http.Server{
		Handler: g.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(g.deps.Log.Handler(), slog.LevelDebug), // of connections, such as failed handshakes
	}
	parts.Go(func() {
		if err := server.Serve(g.options.GRPC); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			cancel(fmt.Errorf("serve gRPC: %w", err))
		}
	})
	parts.Go(func() {
		if err := ServeHTTP(web, g.options.HTTP, g.options.Door); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve HTTP: %w", err))
		}
	})
	g.deps.Log.Info("gateway serves",
		slog.String("grpc", g.options.GRPC.Addr().String()), slog.String("http", g.options.HTTP.Addr().String()))

	select {
	case <-ctx.Done():
	case <-base.Done():
	}
	g.drain(base, server, web)
	failed := context.Cause(base)
	cancel(nil)
	parts.Wait()
	return failed
}

// drain ends the serving within the time given for it.
func (g *Gateway) drain(base context.Context, server *grpc.Server, web *http.Server) {
	g.draining.Store(true)
	close(g.drained)
	ctx, cancel := context.WithTimeout(base, g.options.DrainTimeout)
	defer cancel()
	var ends sync.WaitGroup
	ends.Go(func() {
		if err := web.Shutdown(ctx); err != nil {
			_ = web.Close()
		}
	})
	ends.Go(func() {
		stop := context.AfterFunc(ctx, server.Stop)
		server.GracefulStop()
		stop()
	})
	ends.Wait()
	g.deps.Log.Info("gateway drained")
}
