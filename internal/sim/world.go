package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

const (
	millisecond = int64(1_000)
	second      = 1_000 * millisecond
	minute      = 60 * second
	hour        = 60 * minute
)

// Bounds of a calm: by then all that began has ended, or something is stuck.
const (
	calmMost   = 6 * hour
	defaultMax = 200_000
)

// world is everything that a seed brings into being. It is used by one goroutine.
type world struct {
	seed    uint64
	options Options
	rng     *rand.Rand
	ctx     context.Context
	logger  *slog.Logger

	now    int64 // µs since the world began, as CLOCK_BOOTTIME counts
	offset int64 // of the wall clock
	frozen int64 // what the wall clock shows while it stands still; 0 while it goes
	order  uint64
	queue  happenings
	lanes  [len(lanes)]lane
	actors []*actor
	hash   uint64

	store    *memory.Store
	model    *model
	server   *server // nil while it is down
	lives    int
	crash    bool // a crash was decided within a turn, and happens at its end
	crashIn  int  // durable writes until then; 0 for none
	workers  []*worker
	clients  []*client
	starters map[events.RunID]*client
	programs []*program
	registry *flow.Registry
	threads  *replay.Threads
	audit    *auditor

	faults      Faults
	happened    [lastFault]int
	calm        bool
	stormEnds   int64
	clockGuilt  int64 // the highest offset that anybody accepted as right
	nextSession uint64
	nextWorker  int
	nextConn    uint64
	nextCall    uint64
	scratch     []byte
	happenings  int
	idle        int // things that happened since time passed
	tuning      tuning
}

// tuning is what a seed chooses once.
type tuning struct {
	partitions, gateways, workers, workflows int
	clientLimit, cachedRuns, batch           int
	crowd                                    int   // workflows that are started at one moment
	burst                                    int   // signals that are sent at one moment, to one run or to many
	latency                                  int64 // of a usual message, µs at most
	pace                                     int64 // within which a service has a turn, µs at most
	pause                                    int64 // between faults, on average
	lost                                     int   // one in so many commits is lost, or its outcome unknown
	flushEvery                               time.Duration
	guarded                                  bool // calls of workflow code look at the stack: it costs a tenth of all
	features                                 features
}

func newWorld(seed uint64, o Options, threads *replay.Threads) *world {
	w := &world{
		seed: seed, options: o, rng: rand.New(rand.NewPCG(seed, 0x636f6e74696e756f)), ctx: context.Background(),
		logger: slog.New(slog.DiscardHandler), hash: 14695981039346656037, threads: threads, starters: map[events.RunID]*client{},
	}
	if w.options.MaxSteps == 0 {
		w.options.MaxSteps = defaultMax
	}
	w.tune()
	w.audit = newAuditor(w)
	w.registry = w.newRegistry()
	w.model = newModel(w)
	w.store = memory.New(memory.Options{Partitions: w.tuning.partitions, ClientLimit: w.tuning.clientLimit})
	return w
}

// tune makes the choices of the seed. Every choice is made whatever the options are, so that leaving a fault out changes
// as little as can be.
func (w *world) tune() {
	pick := func(values ...int) int { return values[w.rng.IntN(len(values))] }
	t := &w.tuning
	t.partitions, t.gateways, t.workers = pick(1, 1, 2, 4), pick(1, 1, 2), pick(1, 2, 3, 4)
	t.workflows = pick(3, 20, 100, 200, 400)
	t.clientLimit, t.cachedRuns, t.batch = pick(0, 0, 4), pick(0, 0, 2), pick(0, 0, 1, 8)
	t.latency = int64(pick(200, 1_000, 20_000))
	t.pace = int64(pick(200, 2_000, 20_000, 100_000, 100_000))
	t.crowd, t.burst = pick(1, 8, 32, 400), pick(1, 1, 8, 32)
	t.pause = int64(pick(50, 200, 1_000)) * millisecond
	t.lost = pick(60, 200, 1_000)
	t.guarded = w.rng.IntN(32) == 0
	t.flushEvery = time.Duration(pick(250, 1_000, 2_500, 10_000)) * time.Millisecond
	storm := int64(pick(3, 10, 30)) * second
	w.faults = Faults(w.rng.Uint64()) & Faults(w.rng.Uint64()|w.rng.Uint64()) & AllFaults
	if w.rng.IntN(8) == 0 {
		w.faults = 0
	}
	t.features = features(w.rng.Uint32())
	if w.options.NoFaults {
		w.faults = 0
	} else if w.options.Faults != 0 {
		w.faults = w.options.Faults
	}
	if n := w.options.Workflows; n > 0 && n < t.workflows {
		t.workflows = n
	}
	if s := w.options.Storm.Microseconds(); s > 0 && s < storm {
		storm = s
	}
	w.stormEnds = storm
}

// has reports whether faults of a kind happen now.
func (w *world) has(f Faults) bool { return !w.calm && w.faults&f != 0 }

// fault decides whether a possible fault happens, one time in n, and counts it.
func (w *world) fault(f Faults, n int) bool {
	if !w.has(f) || w.rng.IntN(n) != 0 {
		return false
	}
	w.count(f)
	return true
}

func (w *world) count(f Faults) {
	for i := range w.happened {
		if f&(1<<i) != 0 {
			w.happened[i]++
		}
	}
}

// latency is how long a message takes.
func (w *world) latency() int64 {
	if w.fault(DelayMessages, 40) {
		return w.rng.Int64N(3 * second)
	}
	return 50 + w.rng.Int64N(w.tuning.latency)
}

// soon is when something that is woken has its turn. What there is to do until then is part of it.
func (w *world) soon() int64 { return w.rng.Int64N(w.tuning.pace) }

// run lets everything happen until all has ended.
func (w *world) run() {
	w.startServer()
	for range w.tuning.workers {
		w.startWorker()
	}
	w.startClients()
	w.scheduleNemesis()
	w.scheduleChecks()
	w.after(w.stormEnds, kindNemesis, w.endStorm)
	for {
		h, ok := w.next()
		if !ok {
			break
		}
		if h.at > w.now {
			w.now, w.idle = h.at, 0
		} else if w.idle++; w.idle > 100_000 {
			w.violate("progress", "%d things happen and no time passes", w.idle)
			break
		}
		if w.options.Hash {
			w.mix(uint64(h.what)<<56 ^ uint64(w.now))
		}
		h.do.happen()
		if w.crash {
			w.crashServer()
		}
		if w.happenings++; w.happenings > 100*w.options.MaxSteps {
			w.violate("progress", "%d things happened and it is not over", w.happenings)
			break
		}
		if w.audit.steps > w.options.MaxSteps {
			w.violate("bounded", "%d records were made and it is not over", w.audit.steps)
			break
		}
		if w.calm && w.over() {
			break
		}
		if w.now > w.stormEnds+calmMost {
			break
		}
		if len(w.audit.violations) >= maxViolations {
			break
		}
	}
	w.finish()
}

// over reports whether nothing is left to wait for.
func (w *world) over() bool {
	for _, c := range w.clients {
		if !c.over {
			return false
		}
	}
	return w.audit.open == w.audit.forgotten()
}

// endStorm begins the calm: what is broken is made whole, and nothing breaks from now on.
func (w *world) endStorm() {
	w.calm = true
	w.tracef("the calm begins")
	w.healClock()
	if w.server == nil {
		w.startServer()
	}
	w.model.heal()
	if w.faults&RefuseDelivery != 0 {
		// Credits that a refused delivery used stay used as long as the gateway's session lives: no gateway refuses what it
		// has granted.
		for i := range w.server.gateways {
			w.server.crashGateway(i)
		}
	}
}

// finish ends what goes on and makes the last checks.
func (w *world) finish() {
	if len(w.audit.violations) == 0 {
		w.settle()
		w.audit.final()
	}
	for _, k := range slices.Clone(w.workers) {
		k.die()
	}
	if w.server != nil {
		w.server.die()
	}
}

func (w *world) result() Result {
	r := Result{
		Seed: w.seed, Steps: w.audit.steps, Batches: w.audit.batches, Commits: w.audit.commits, Violations: w.audit.violations, Runs: len(w.audit.order), Ended: w.audit.ended,
		Faults: w.faults, Happened: map[string]int{}, Storm: time.Duration(w.stormEnds) * time.Microsecond,
		Virtual: time.Duration(w.now) * time.Microsecond, Workflows: w.tuning.workflows,
	}
	if w.options.Hash {
		r.Hash = w.hash
	}
	for i, n := range w.happened {
		if n > 0 {
			r.Happened[faultNames[i]] = n
		}
	}
	for _, c := range w.clients {
		r.Commands += c.acked
	}
	return r
}

// mix takes a decision into the hash.
func (w *world) mix(v uint64) {
	h := w.hash ^ v
	h *= 0x9e3779b97f4a7c15
	w.hash = h ^ h>>29
}

// mixBytes takes bytes into the hash.
func (w *world) mixBytes(b []byte) {
	for len(b) >= 8 {
		w.mix(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	last := uint64(len(b)) << 56
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	w.mix(last)
}

func (w *world) tracing() bool { return w.options.Trace != nil }

func (w *world) tracef(format string, args ...any) {
	if w.options.Trace == nil {
		return
	}
	w.options.Trace(fmt.Sprintf("%12.6f ", float64(w.now)/float64(second)) + fmt.Sprintf(format, args...))
}

// maxViolations is how many are kept of one seed.
const maxViolations = 10

// violate notes that a check failed.
func (w *world) violate(check, format string, args ...any) {
	if len(w.audit.violations) >= maxViolations {
		return
	}
	text := check + ": " + fmt.Sprintf(format, args...)
	w.tracef("VIOLATION %s", text)
	w.audit.violations = append(w.audit.violations, text)
}

func (w *world) partitionOf(id events.WorkflowID) events.Partition {
	return events.PartitionOf(events.DefaultNamespace, id, w.tuning.partitions)
}

// allPartitions lists the partitions.
func (w *world) allPartitions() []events.Partition {
	var all []events.Partition
	for p := range w.tuning.partitions {
		all = append(all, events.Partition(p))
	}
	return all
}
