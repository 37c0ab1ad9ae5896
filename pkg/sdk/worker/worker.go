// Package worker runs workflow code and task code: it takes work from a server, executes it, and reports what came out.
//
//	w, err := worker.New(c,
//		billing.Monthly.With(billing.BillMonthly),
//		flow.Service[billing.PaymentService](stripe.New(key)),
//	)
//	…
//	return w.Run(ctx)
//
// A worker keeps going: it reconnects by itself, keeps results until the server has them safe, and says them again after a
// reconnect. What it was doing when its process dies is done again by another worker, with the same idempotency key.
package worker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Defaults of Options.
const (
	DefaultTasks        = 100
	DefaultActivations  = 100
	DefaultLiveRuns     = 1000
	DefaultLiveBytes    = 256 << 20
	DefaultDrainTimeout = 30 * time.Second
	DefaultWatchdog     = 5 * time.Second
)

// Options of a worker. The zero value is good for most.
type Options struct {
	// Queue is the task queue to take work from; empty means "default".
	Queue string
	// Namespace to work in; empty means "default".
	Namespace string
	// Tasks bounds the tasks executed at a time; 0 means 100. A negative number takes no tasks.
	Tasks int
	// Activations bounds the runs whose code is run at a time; 0 means 100. A negative number takes none.
	Activations int
	// LiveRuns and LiveBytes bound the runs kept in memory between activations, so that they need no replay; 0 means
	// 1,000 and 256 MiB. Bytes are an estimate that does not see what workflow code keeps on the heap.
	LiveRuns  int
	LiveBytes int
	// Identity names this worker to people; empty means that of the client.
	Identity string
	// Build names the build of this program. A run whose code failed is tried at once by another build. Empty means the
	// version-control revision that Go recorded in the binary, if any.
	Build string
	// DrainTimeout bounds the time that Run waits for running tasks after its context has ended; 0 means 30 s.
	DrainTimeout time.Duration
	// Watchdog bounds the time that workflow code may run without waiting; 0 means 5 s.
	Watchdog time.Duration
	// Log gets what the worker has to say; nil means slog.Default().
	Log *slog.Logger
}

// Worker takes work of one task queue. Make it with [New], run it with [Worker.Run].
type Worker struct {
	conn       *grpc.ClientConn
	registry   *flow.Registry
	options    Options
	payloads   payload.Converter
	tracer     trace.Tracer
	log        *slog.Logger
	id         events.WorkerID
	build      events.BuildID
	sdk        string
	tasks      []*apiv1.Offer
	workflows  []*apiv1.Offer
	maxPayload atomic.Int64

	outbox    *outbox
	drained   chan struct{} // has a value when everything may be done
	executing pool
	threads   *replay.Threads // of workflow code
	started   atomic.Bool

	mu          sync.Mutex
	draining    bool
	fence       *apiv1.AttemptRef
	granted     places
	attempts    map[attemptKey]*runningAttempt
	activations activationSet
	spare       []*runningActivation
	cache       *cache
}

// Option is what a worker is made of: a binding (billing.Monthly.With(…), flow.Service[…](…)) or [Options].
type Option interface {
	// WorkerOption marks the parts of a worker.
	WorkerOption()
}

// WorkerOption lets Options stand in one list with bindings.
func (Options) WorkerOption() {}

// New returns a worker for the given code. It fails when a definition is wrong or two have one name (the error names them
// all), or when Options are given twice.
func New(c *client.Client, parts ...Option) (*Worker, error) {
	var (
		options  Options
		given    bool
		bindings []flow.Binding
	)
	if c == nil {
		return nil, errors.New("worker: there is no client; make one with client.Dial")
	}
	for _, part := range parts {
		switch part := part.(type) {
		case Options:
			if given {
				return nil, errors.New("worker: Options are given twice; give them once")
			}
			options, given = part, true
		case flow.Binding:
			bindings = append(bindings, part)
		default:
			return nil, fmt.Errorf("worker: %T is neither a binding nor worker.Options", part)
		}
	}
	if len(bindings) == 0 {
		return nil, errors.New("worker: there is no code to run: give it bindings such as billing.Monthly.With(…) or flow.Service[…](…)")
	}
	registry, err := flow.NewRegistry(bindings...)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	w := newWorker(c, options.withDefaults(c), registry)
	return w, nil
}

// withDefaults returns the options with every default filled in.
func (o Options) withDefaults(c *client.Client) Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Identity == "" {
		o.Identity = c.Identity()
	}
	if o.Build == "" {
		o.Build = revision()
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = DefaultDrainTimeout
	}
	if o.Watchdog <= 0 {
		o.Watchdog = DefaultWatchdog
	}
	o.Tasks = bound(o.Tasks, DefaultTasks)
	o.Activations = bound(o.Activations, DefaultActivations)
	o.LiveRuns = bound(o.LiveRuns, DefaultLiveRuns)
	o.LiveBytes = bound(o.LiveBytes, DefaultLiveBytes)
	return o
}

func newWorker(c *client.Client, o Options, registry *flow.Registry) *Worker {
	return &Worker{
		conn: c.Conn(), registry: registry, options: o, payloads: c.Payloads(), tracer: c.Tracer(), log: o.Log, sdk: client.SDK(),
		id: events.WorkerID(rand.Text()), build: events.BuildID(o.Build), tasks: offers(registry.Tasks()), workflows: offers(registry.Workflows()),
		threads: replay.NewThreads(), outbox: newOutbox(), drained: make(chan struct{}, 1),
		attempts: map[attemptKey]*runningAttempt{}, activations: newActivationSet(),
		cache: newCache(o.LiveRuns, o.LiveBytes),
	}
}

func offers(all []flow.Offer) []*apiv1.Offer {
	var out []*apiv1.Offer
	for _, o := range all {
		out = append(out, &apiv1.Offer{Name: o.Name, Signature: o.Signature})
	}
	return out
}

// bound returns n, the default for 0, and 0 for a negative number.
func bound(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return max(n, 0)
}

// revision is the version-control revision of this binary, marked when it was built from a changed tree.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var rev, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changed"
		}
	}
	if rev == "" {
		return ""
	}
	return rev[:min(len(rev), 12)] + changed
}

// maxResultBytes bounds one result on the wire, so that it fits into a message of its own.
const maxResultBytes = wire.MaxMessageBytes - 16<<10

// checkSizes returns the failure of a progress that the server would not take; encoded is its size on the wire.
func (w *Worker) checkSizes(intents []events.Intent, encoded int) *events.Failure {
	if limit := w.maxPayload.Load(); limit > 0 {
		for _, i := range intents {
			if what, name, size := payloadIn(i); size > limit {
				return tooLarge(what+name, size, limit)
			}
		}
	}
	if encoded > maxResultBytes {
		return tooLarge("what the code did without waiting, all payloads together,", int64(encoded), maxResultBytes)
	}
	return nil
}

// encodedBytes estimates the size of a progress with these intents, so that it is rarely moved while it is encoded.
func encodedBytes(intents []events.Intent) int {
	n := 160
	for _, i := range intents {
		_, _, size := payloadIn(i)
		n += 64 + int(min(size, maxResultBytes))
	}
	return n
}

// payloadIn names the payload of an intent, in two parts, and tells its size.
func payloadIn(i events.Intent) (what, name string, size int64) {
	switch i := i.(type) {
	case events.ScheduleTask:
		return "the input of task ", string(i.Name), i.Input.Size()
	case events.RecordStep:
		return "the result of step ", i.Label, i.Result.Size()
	case events.SetView:
		return "view ", string(i.Name), i.Value.Size()
	case events.CompleteRun:
		return "the result of the workflow", "", i.Result.Size()
	case events.ContinueRun:
		return "the input to continue with", "", i.Input.Size()
	case events.CancelTask, events.StartTimer, events.CancelTimer, events.BackOffStep, events.FailRun, events.CancelRun:
	}
	return "", "", 0
}

func tooLarge(what string, size, limit int64) *events.Failure {
	return &events.Failure{
		Code: events.CodePayloadTooLarge, NonRetryable: true,
		Message: fmt.Sprintf("%s has %d bytes; the limit is %d: keep the bytes elsewhere and pass a reference", what, size, limit),
	}
}
