// Package engine turns commands into events: it owns the runs of workflows.
//
// Each partition of the log has one owner, which handles commands in batches: read, decide and apply in memory, one
// durable append, let it out. Nothing leaves before its record is durable.
//
//	commands ──▶ Turn (machine: Decide, Apply, Settle) ──▶ Commit ──▶ readers of the log
//	                 ▲                                        └─▶ rows: runs, answers, checkpoint (written back later)
//	                 └── rows and the log's tail, after a start or an append that failed
//
// What is in memory is always what the log says. An append whose outcome is unknown ends the ownership of the partition:
// its memory is dropped and built again from the newest checkpoint and the records after it.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Log is what the engine needs of a journal.
type Log interface {
	journal.Acquirer
	journal.Follower
	// Partitions returns the number of partitions.
	Partitions() int
}

// Deps are what an engine stands on. All but Observer are needed.
type Deps struct {
	Log     Log
	Runs    runstore.Store
	Archive archive.Archive
	Blobs   blobstore.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	// Observer is told what happened, for metrics; nil means nobody.
	Observer Observer
}

// Observer is told about the work of partitions. It is called from their goroutines and must be quick.
type Observer interface {
	// Turned tells how many commands a turn handled, how many records it made and how long deciding took.
	Turned(p events.Partition, commands, records int, took time.Duration)
	// Committed tells how long a step took to be durable.
	Committed(p events.Partition, took time.Duration)
	// Recovered tells how many records were folded to build the partition's state, and how long that took.
	Recovered(p events.Partition, records int, took time.Duration)
}

type nobody struct{}

func (nobody) Turned(events.Partition, int, int, time.Duration) {}
func (nobody) Committed(events.Partition, time.Duration)        {}
func (nobody) Recovered(events.Partition, int, time.Duration)   {}

// Options are settings of an engine. Zero fields mean the defaults.
type Options struct {
	// Cluster names the log when it is made; later the name in the log counts. Default "default".
	Cluster string
	// Retention is how long an ended run is kept, at least [MinRetention]; default [DefaultRetention].
	Retention time.Duration
	// CachedRuns bounds the runs with open work that a partition keeps in memory between flushes; default 10,000.
	CachedRuns int
	// Batch bounds the commands of one turn; default 256.
	Batch int
	// FlushEvery is how long rows wait to be written while there are fewer than 2,500 records since the last ones; default
	// 10 s. A recovery folds the records of that time.
	FlushEvery time.Duration
	// Readers are the names of those without whose hold on a partition nothing of it is trimmed: a reader that has not begun
	// yet, or whose first hold a power cut took, still needs its beginning. None by default.
	Readers []string
}

func (o Options) withDefaults() (Options, error) {
	if o.Retention < 0 || o.CachedRuns < 0 || o.Batch < 0 || o.FlushEvery < 0 {
		return o, errors.New("engine: retention, cached runs, batch and flush interval cannot be negative; 0 means the default")
	}
	if o.Cluster == "" {
		o.Cluster = "default"
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	o.Retention = max(o.Retention, MinRetention)
	if o.CachedRuns == 0 {
		o.CachedRuns = 10_000
	}
	if o.Batch == 0 {
		o.Batch = 256
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = flushEvery
	}
	return o, nil
}

// Engine is the service. Run may be called once; the other methods from any goroutine.
type Engine struct {
	deps    Deps
	options Options
	guard   *clockGuard

	mu     sync.Mutex
	health []Health // by partition
}

// New returns an engine that does not run yet. It fails when a dependency is missing or an option makes no sense.
func New(d Deps, o Options) (*Engine, error) {
	if d.Log == nil || d.Runs == nil || d.Archive == nil || d.Blobs == nil || d.Clock == nil || d.Logger == nil {
		return nil, errors.New("engine: Log, Runs, Archive, Blobs, Clock and Logger are needed")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if d.Observer == nil {
		d.Observer = nobody{}
	}
	e := &Engine{deps: d, options: o, guard: newClockGuard(d.Clock)}
	for p := range d.Log.Partitions() {
		e.health = append(e.health, Health{Partition: events.Partition(p), State: Standby})
	}
	return e, nil
}

// Run owns all partitions until ctx ends, and returns nil then. It returns an error when the journal is closed before. A
// partition that cannot go on stops alone; [Engine.Health] says why.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for p := range e.deps.Log.Partitions() {
		all.Go(func() {
			if err := e.serve(ctx, events.Partition(p)); err != nil {
				cancel(err)
			}
		})
	}
	all.Go(func() { e.watchClock(ctx) })
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Quarantined returns the quarantined runs, up to limit of each partition.
func (e *Engine) Quarantined(ctx context.Context, limit int) ([]runstore.QuarantinedRun, error) {
	var all []runstore.QuarantinedRun
	for p := range e.deps.Log.Partitions() {
		runs, err := e.deps.Runs.Quarantined(ctx, events.Partition(p), limit)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	return all, nil
}

// AcceptClock lets partitions that a jump of the wall clock stopped go on with the time it shows now.
func (e *Engine) AcceptClock() { e.guard.accept() }

// watchClock looks at the clock now and then, so that a slow adjustment in a quiet hour is not taken for a jump.
func (e *Engine) watchClock(ctx context.Context) {
	timer := e.deps.Clock.NewTimer(clockWatch)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
			if _, err := e.guard.now(); err != nil {
				e.deps.Logger.Error("the clock jumped; the engine waits", slog.String("error", err.Error()))
			}
			timer.Reset(clockWatch)
		}
	}
}
