// Package sim runs the suite in one goroutine and in virtual time, with faults, and checks what it promises.
//
// The engine, the scheduler, the gateway's sessions, the projector and the runtime of the SDK are the real ones, over
// internal/adapter/memory. What surrounds them is simulated: networks, workers, clients, the clock and the ways in which
// all of these fail. One random source decides everything, so a seed is a run that can be had again, to the byte.
//
//	clients ─▶ gateway (sessions) ─▶ journal ─▶ engine ─▶ log ─▶ scheduler ─▶ inbox ─▶ gateway ─▶ workers (SDK runtime)
//	                                                       └───▶ projector, auditor
//
// A run has a storm, in which faults happen, and a calm, in which everything has to come to its end. See
// docs/internals/simulation.md.
package sim

import (
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
)

// Faults is a set of kinds of faults.
type Faults uint32

// The kinds of faults.
const (
	CrashServer    Faults = 1 << iota // the whole server, between or within turns; unsynced rows are lost in part
	CrashScheduler                    // the scheduler's memory alone
	CrashGateway                      // a gateway's session alone: all its connections break
	CrashProjector                    // the projector's memory alone
	LosePartition                     // the ownership of one partition ends
	CommitLost                        // an append is refused or torn: nothing is durable
	CommitUnknown                     // an append is durable and its owner is told otherwise
	RefuseCommands                    // the journal refuses client commands: queue or disk full
	RefuseDelivery                    // a gateway's mailbox is full
	RepeatCommands                    // the transport repeats stamped commands and timers
	RepeatDelivery                    // a delivery comes twice
	CutWorker                         // a worker's stream breaks; it comes back
	KillWorker                        // a worker dies with all it holds; another one starts
	SlowWorker                        // a worker is slower than its deadlines allow
	LoseAnswers                       // an answer to a client is lost; it asks again
	DelayMessages                     // messages take long
	JumpClock                         // the wall clock jumps by hours or years, or stands still
	TroubleModel                      // the read model cannot be written, or has to be built anew
	lastFault      = iota
	AllFaults      = Faults(1<<lastFault - 1)
)

var faultNames = [lastFault]string{
	"crash-server", "crash-scheduler", "crash-gateway", "crash-projector", "lose-partition", "commit-lost", "commit-unknown",
	"refuse-commands", "refuse-delivery", "repeat-commands", "repeat-delivery", "cut-worker", "kill-worker", "slow-worker",
	"lose-answers", "delay-messages", "jump-clock", "trouble-model",
}

// String returns the names in the set, with commas between.
func (f Faults) String() string {
	var names []string
	for i, name := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// ParseFaults reads what [Faults.String] writes; "all" means all.
func ParseFaults(s string) (Faults, error) {
	if s == "all" {
		return AllFaults, nil
	}
	var f Faults
next:
	for part := range strings.SplitSeq(s, ",") {
		if part == "none" || part == "" {
			continue
		}
		for i, name := range faultNames {
			if name == part {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("there is no fault %q; there are %s", part, AllFaults)
	}
	return f, nil
}

// Options narrow what a seed does. The zero value is the whole seed.
type Options struct {
	// Faults that may happen; 0 means those that the seed chooses, [NoFaults] none.
	Faults Faults
	// NoFaults leaves all faults out.
	NoFaults bool
	// Workflows bounds the workflows started; 0 means as many as the seed wants.
	Workflows int
	// Storm is how long faults happen, in virtual time; 0 means as long as the seed wants.
	Storm time.Duration
	// Trace, if set, gets a line for everything that happens.
	Trace func(line string)
	// Hash asks for a hash of all that happens, which takes each record's bytes: 3 % of the time.
	Hash bool
	// MaxSteps ends a run that makes more records, as a violation; 0 means 200,000.
	MaxSteps int
}

// Result is what came out of a seed.
type Result struct {
	Seed uint64
	// Steps are the accepted records.
	Steps int
	// Hash is over the bytes of all accepted records and every decision of the simulator: the same for the same seed,
	// options and build. It is 0 unless it was asked for.
	Hash uint64
	// Violations name the check that failed and say what was found. Empty is good.
	Violations []string
	// Batches counts those records by the size of the commit that they came in: 1, 2 or 3, 4 to 7, and so on in powers of two.
	// Commits are all of them.
	Batches Batches
	Commits int
	// Runs and Ended count workflow runs; Commands what clients were told of.
	Runs, Ended, Commands int
	// Faults are those that the seed chose, and Happened how often each did, by name.
	Faults   Faults
	Happened map[string]int
	// Storm and Virtual are how long faults happened and how long all lasted, in virtual time. Workflows were started.
	Storm, Virtual time.Duration
	Workflows      int
}

// Batches counts records by the size of their commit, in powers of two; the last one has what is larger.
type Batches [8]int

// String says which share of the records came in commits of each size.
func (b Batches) String() string {
	all := 0
	for _, n := range b {
		all += n
	}
	var parts []string
	for i, n := range b {
		parts = append(parts, fmt.Sprintf("%d: %.1f %%", 1<<i, 100*float64(n)/float64(max(all, 1))))
	}
	return strings.Join(parts, ", ")
}

// Failed reports whether a check failed.
func (r Result) Failed() bool { return len(r.Violations) > 0 }

// Run simulates a seed. It uses one goroutine at a time and depends on its arguments alone. A panic is a violation.
func Run(seed uint64, o Options) Result {
	threads := newThreads()
	defer threads.Close()
	return run(seed, o, threads)
}

// newThreads returns a place for the goroutines of workflow code between seeds: a seed has hundreds of them at a time.
func newThreads() *replay.Threads { return replay.NewThreads().KeepIdle(1_000) }

func run(seed uint64, o Options, threads *replay.Threads) (r Result) {
	w := newWorld(seed, o, threads)
	defer func() {
		if p := recover(); p != nil {
			w.violate("panic", "%v\n%s", p, debug.Stack())
			r = w.result()
		}
	}()
	w.run()
	return w.result()
}
