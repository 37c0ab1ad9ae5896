// Package scheduler hands open work to workers and fires timers.
//
// It folds the event log: what a record asks of the world (events.Effects) becomes backlog, timers and withdrawals. It
// never changes a run; it appends FireTimer commands, and it tells gateways which worker gets what. Work moves the moment
// its record is durable: the log wakes the scheduler, no poll does.
//
//	log ──▶ Turn ──▶ deliveries ──▶ inbox of a gateway
//	reports ▶│  ▲──▶ FireTimer ───▶ commands
//	         ▼  │
//	     due index: what stays open, timers further ahead than a minute, backlog beyond the bounds of memory
//
// The index is a fold of the log up to a position that moves with it, all or nothing. A start reads the position, then
// what is due soon, then folds the log from there; nothing is given away before the log has been folded to its end.
package scheduler

import (
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
	"github.com/continuo-dev/continuo/services/scheduler/wheel"
)

// Deps are what a scheduler stands on.
type Deps struct {
	Log      journal.Follower
	Commands journal.Sender
	Index    dueindex.Index
	Inbox    inbox.Inbox
	Clock    clock.Clock
	Logger   *slog.Logger
	// Partitions are those it serves.
	Partitions []events.Partition
	// Observer is told what happened, for histograms; nil means nobody.
	Observer Observer
}

// Observer is told about single events. It is called from the scheduler's goroutine and must be quick.
type Observer interface {
	// TimerFired tells how late a timer was asked for the first time.
	TimerFired(late time.Duration)
	// Delivered tells how long work that could start has waited for its worker.
	Delivered(kind matcher.Kind, waited time.Duration)
}

// Options bound what a scheduler keeps in memory and how often it saves. Zero fields mean the defaults.
type Options struct {
	// SaveEvery is the longest time that a folded record is not in the index; default 5 s.
	SaveEvery time.Duration
	// SaveRecords is how many records of a partition are folded without saving; default 2,500: nothing is given away meanwhile.
	SaveRecords int
	// Horizon is how far ahead timers and back-offs are kept in memory; default 60 s.
	Horizon time.Duration
	// Timers is how many timers are kept in memory before the horizon comes nearer; default 200,000. Those that were asked
	// for and wait for their event do not count, so that a run that cannot answer holds up no other.
	Timers int
	// Backlog bounds the work in memory.
	Backlog matcher.Limits
}

func (o Options) withDefaults() Options {
	if o.SaveEvery <= 0 {
		o.SaveEvery = 5 * time.Second
	}
	if o.SaveRecords <= 0 {
		o.SaveRecords = 2_500
	}
	if o.Horizon <= 0 {
		o.Horizon = time.Minute
	}
	if o.Timers <= 0 {
		o.Timers = 200_000
	}
	return o
}

// Scheduler is the service. Turn and what it owns are used by one goroutine at a time; Run does that for servers, a
// simulator may call Start and Turn itself. Backlog and Stats may be called from any goroutine.
type Scheduler struct {
	deps    Deps
	options Options
	fires   fires

	mu      sync.Mutex // guards everything below
	parts   []*part    // in the order of Deps.Partitions
	byID    map[events.Partition]*part
	matcher *matcher.Matcher
	wheel   *wheel.Wheel[dueindex.Key]
	timers  map[dueindex.Key]*timer
	runs    map[events.RunID][]dueindex.Key // what is in memory of each run
	calls   int                             // bytes of the task inputs kept in memory
	sweep   *sweep
	nextAsk int // the partition whose index is asked first
	begun   bool
	turned  events.Time // when the turn before was
	stats   Stats

	// What is used again from turn to turn.
	effects    []events.Effect
	matched    []matcher.Delivery
	deliveries []Deliveries
	body       []byte
	names      interned
	spare      [][]dueindex.Key // of runs that nothing is in memory of any more
}

// New returns a scheduler that has not begun.
func New(d Deps, o Options) *Scheduler {
	s := &Scheduler{
		deps: d, options: o.withDefaults(), byID: make(map[events.Partition]*part), matcher: matcher.New(o.Backlog),
		wheel: wheel.New[dueindex.Key](), timers: make(map[dueindex.Key]*timer), runs: make(map[events.RunID][]dueindex.Key),
		names: make(interned),
	}
	s.fires.freed = make(chan struct{}, 1)
	for _, id := range d.Partitions {
		p := newPart(id)
		s.parts = append(s.parts, p)
		s.byID[id] = p
	}
	return s
}

// Backlog returns what waits and what was given to workers, by queue, kind and name.
func (s *Scheduler) Backlog() []matcher.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matcher.Lanes()
}

// Stats are counters since the start, and the state of now.
type Stats struct {
	// Ready says that the log has been folded to where it ended when the scheduler began: work is given away.
	Ready bool
	// Records, Deliveries, Fires and Saves count since the start. Fires includes repeated requests.
	Records, Deliveries, Fires, Saves uint64
	// Timers is how many timers are in memory.
	Timers int
	// Late is by how much the timer that should have fired first is late; 0 when none is.
	Late time.Duration
	// Partitions tells how far each partition is.
	Partitions []PartitionStats
}

// PartitionStats tell how far a partition is: the next record to fold, the next one not covered by the index, and the
// last durable one.
type PartitionStats struct {
	Partition          events.Partition
	Next, Saved, Last  events.Seq
	LagRecords         uint64
	LastRecord, Oldest events.Time // times of the last record folded, and of the oldest one not in the index
}

// Stats returns the counters.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Ready = s.ready()
	out.Timers = len(s.timers)
	if at, ok := s.wheel.Next(); ok {
		out.Late = max(0, events.TimeOf(s.deps.Clock.Now()).Sub(at))
	}
	for _, p := range s.parts {
		_, last := s.deps.Log.Bounds(p.id)
		out.Partitions = append(out.Partitions, PartitionStats{
			Partition: p.id, Next: p.next, Saved: p.saved, Last: last, LagRecords: uint64(max(0, int64(last)-int64(p.next)+1)),
			LastRecord: p.time, Oldest: p.oldest,
		})
	}
	return out
}
