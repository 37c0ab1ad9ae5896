// Package cluster puts services together over a broker: any of them in one process, and any number of processes. It chooses
// the adapters; nothing else in it decides anything.
//
//	engine      owns the partitions that come to its process; several share them
//	scheduler   one works, the others stand by
//	projector   one works, the others stand by
//	gateway     any number, each with its own clients and workers
//
// Processes meet on the broker's log and on the objects alone. A process that is lost is taken over from; see package
// membership.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/continuo-dev/continuo/internal/adapter/brokerinbox"
	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/adapter/segments"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/lifecycle"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// Role is a service that a process can run.
type Role string

// The roles.
const (
	Engine    Role = "engine"
	Scheduler Role = "scheduler"
	Projector Role = "projector"
	Gateway   Role = "gateway"
)

// Roles returns all roles, in the order in which they are started.
func Roles() []Role { return []Role{Engine, Scheduler, Projector, Gateway} }

// DefaultProjectEvery is how long a batch for the read model collects.
const DefaultProjectEvery = time.Second

// Options of a process. Zero settings mean the defaults of the parts.
type Options struct {
	// Roles are the services of this process, at least one.
	Roles []Role
	// Log is the broker; it stays the caller's. Objects and Blobs are shared by all processes of the cluster.
	Log     brokerlog.Log
	Objects objectstore.Store
	Blobs   blobstore.Store
	// Model is for gateways and projectors.
	Model readmodel.Model
	// Name tells processes apart for people: host and process id.
	Name string
	// Cluster names the cluster; it is written into the log and compared.
	Cluster string
	// CacheDir is a directory for what can be read again; "" means that it is kept in memory only.
	CacheDir string
	// HTTPAddr serves health and metrics, of a gateway REST, too; GRPCAddr is for gateways.
	HTTPAddr, GRPCAddr string
	// Door guards them; nil serves loopback only.
	Door             *door.Door
	RetentionHistory time.Duration
	MaxPayloadBytes  int64
	DrainTimeout     time.Duration
	// ProjectEvery is how long a batch for the read model collects; 0 means [DefaultProjectEvery].
	ProjectEvery time.Duration
	// AnnounceEvery is the rhythm in which processes announce themselves; see [membership.DefaultEvery].
	AnnounceEvery time.Duration
	// GiveUpAfter is how long an append may take; see [brokerjournal.DefaultGiveUpAfter].
	GiveUpAfter time.Duration
	Version     string
	// Tracer makes spans of requests; nil means that there are none.
	Tracer *telemetry.Tracer
	// Logger gets what the process has to say; nil means nothing does.
	Logger *slog.Logger
}

// Has reports whether a role is one of the process's.
func (o Options) Has(r Role) bool { return slices.Contains(o.Roles, r) }

func (o Options) check() error {
	switch {
	case len(o.Roles) == 0:
		return errors.New("cluster: a process needs a role")
	case o.Log == nil || o.Objects == nil || o.Blobs == nil:
		return errors.New("cluster: Log, Objects and Blobs are needed")
	case o.Model == nil && (o.Has(Gateway) || o.Has(Projector)):
		return errors.New("cluster: gateways and projectors need a read model")
	case o.GRPCAddr == "" && o.Has(Gateway):
		return errors.New("cluster: a gateway needs an address for gRPC")
	}
	return nil
}

// Process is a running process.
type Process struct {
	options  Options
	clock    clock.Clock
	journal  *brokerjournal.Journal
	segments *segments.Store
	inbox    *brokerinbox.Inbox // of schedulers and gateways
	members  map[Role]*membership.Membership
	http     net.Listener
	grpc     net.Listener
	group    *lifecycle.Group
	metrics  *compose.Metrics
	registry *prometheus.Registry
	engine   *engine.Engine // nil when it is no role of this process
	watch    watch

	mu        sync.Mutex
	scheduler *scheduler.Scheduler // that works here now; nil
	projector *projector.Projector

	serving bool
	closing sync.Once
	closed  error
}

// Start joins the cluster and starts the services of this process. It returns when they serve, or stand by.
func Start(ctx context.Context, o Options) (*Process, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ProjectEvery == 0 {
		o.ProjectEvery = DefaultProjectEvery
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Process{options: o, clock: clock.Real(), group: &lifecycle.Group{}, registry: prometheus.NewRegistry(), members: map[Role]*membership.Membership{}}
	p.watch.orphan = map[events.Partition]time.Time{}
	p.metrics = compose.NewMetrics(p.registry)
	p.metrics.WatchDoor(o.Door)
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

// open makes everything and starts it. What it has made when it fails is released by its caller.
func (p *Process) open(ctx context.Context) error {
	o := brokerjournal.Options{
		Log: p.options.Log, Objects: p.options.Objects, Clock: p.clock, Logger: p.options.Logger.With(slog.String("service", "log")),
		Cluster: p.options.Cluster, GiveUpAfter: p.options.GiveUpAfter,
	}
	for _, r := range p.options.Roles {
		if err := p.join(ctx, r); err != nil {
			return err
		}
	}
	if members := p.members[Engine]; members != nil {
		o.Members = members
	}
	var err error
	if p.journal, err = brokerjournal.Open(ctx, o); err != nil {
		return err
	}
	p.segments, err = segments.Open(segments.Options{
		Objects: p.options.Objects, Clock: p.clock, Logger: p.options.Logger.With(slog.String("service", "segments")), Log: p.journal,
		Partitions: p.journal.Partitions(), Directory: p.options.CacheDir,
	})
	if err != nil {
		return err
	}
	for _, a := range []struct {
		wanted        bool
		setting, addr string
		listener      *net.Listener
	}{{p.options.Has(Gateway), "grpc_addr", p.options.GRPCAddr, &p.grpc}, {p.options.HTTPAddr != "", "http_addr", p.options.HTTPAddr, &p.http}} {
		if !a.wanted {
			continue
		}
		if *a.listener, err = p.options.Door.Listen(ctx, a.setting, a.addr); err != nil {
			return err
		}
	}
	if err := p.openInbox(ctx); err != nil {
		return err
	}
	if err := p.services(); err != nil {
		return err
	}
	p.group.Start(context.WithoutCancel(ctx))
	p.serving = true
	return nil
}

// join makes this process a member of those of a role.
func (p *Process) join(ctx context.Context, r Role) error {
	m, err := membership.Join(ctx, membership.Options{
		Log: p.options.Log, Clock: p.clock, Logger: p.options.Logger.With(slog.String("service", "membership")), Role: string(r), Name: p.options.Name,
		Every: p.options.AnnounceEvery,
	})
	if err != nil {
		return err
	}
	p.members[r] = m
	p.group.Add(string(r)+" membership", m.Watch)
	return nil
}

// openInbox joins schedulers and gateways.
func (p *Process) openInbox(ctx context.Context) (err error) {
	members := p.members[Gateway]
	if members == nil {
		members = p.members[Scheduler]
	}
	if members == nil {
		return nil
	}
	p.inbox, err = brokerinbox.New(ctx, brokerinbox.Options{
		Log: p.options.Log, Clock: p.clock, Logger: p.options.Logger.With(slog.String("service", "inbox")), Members: members,
		Delivers: p.options.Has(Scheduler), GatewayRole: string(Gateway),
	})
	return err
}

// Done is closed when the process begins to stop: by Close, or because a part of it failed.
func (p *Process) Done() <-chan struct{} { return p.group.Stopping() }

// Close stops the services, says goodbye to the cluster, and returns why the process stopped if it was not asked to. Calling it
// again returns the same.
func (p *Process) Close() error {
	p.closing.Do(func() { p.closed = p.release() })
	return p.closed
}

// release undoes as much of a start as was done.
func (p *Process) release() error {
	var errs []error
	if p.serving {
		for _, m := range p.members {
			m.StandAside()
		}
		p.group.Stop()
		errs = append(errs, p.group.Wait())
	} else {
		for _, l := range []net.Listener{p.grpc, p.http} {
			if l != nil {
				errs = append(errs, l.Close())
			}
		}
	}
	if p.inbox != nil {
		p.inbox.Close()
	}
	if p.segments != nil {
		errs = append(errs, p.segments.Close())
	}
	if p.journal != nil {
		errs = append(errs, p.journal.Close())
	}
	for _, m := range p.members {
		m.Leave()
	}
	return errors.Join(errs...)
}

// HTTPAddr and GRPCAddr return the addresses served; "" where none is.
func (p *Process) HTTPAddr() string { return address(p.http) }

// GRPCAddr returns the gRPC address served.
func (p *Process) GRPCAddr() string { return address(p.grpc) }

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// Ready reports what is missing until the services of this process serve or stand by; "" when nothing is.
func (p *Process) Ready() string {
	for _, c := range p.health() {
		if !c.Ready {
			return fmt.Sprintf("%s: %s", c.Name, c.Detail)
		}
	}
	return ""
}
