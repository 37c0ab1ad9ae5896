// Package projector keeps the read models: it folds the event log into one row per run and writes rows and position
// together.
//
//	log ──▶ Turn: collect ──▶ (rows, missing history) ──▶ Write: fold ──▶ Apply, hold moves on
//
// Writing is batched: rows of one run coalesce, so a run that begins and ends within a batch is one insert. Nobody waits
// for the projector but readers who ask it to hurry ([Projector.Nudge]). A model that is damaged, foreign or ahead of the
// log is dropped and built anew, from the archive where the log is trimmed.
package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// Deps are what a projector stands on.
type Deps struct {
	Log   journal.Follower
	Model readmodel.Writer
	// Archive has the history that the log has trimmed. If it is an [archive.Lister] too, a model can be built anew in full.
	Archive archive.Archive
	Clock   clock.Clock
	Logger  *slog.Logger
	// Partitions are those it serves.
	Partitions []events.Partition
}

// Options say how writing is batched. Zero fields mean the defaults.
type Options struct {
	// Delay is how long a batch collects; default 250 ms. A nudge ends it. Under load, when it has more than LoadEvents then,
	// it goes on for three more delays: a run costs least when it begins and ends within a batch.
	Delay time.Duration
	// LoadEvents is what a batch has under load after its delay; default 4,000.
	LoadEvents int
	// Events ends a batch early; default 100,000.
	Events int
	// Bytes ends a batch early: about how much memory it keeps; default 16 MiB.
	Bytes int
}

// loadDelays is how many delays a batch collects under load.
const loadDelays = 4

func (o Options) withDefaults() Options {
	if o.Delay <= 0 {
		o.Delay = 250 * time.Millisecond
	}
	if o.LoadEvents <= 0 {
		o.LoadEvents = 4_000
	}
	if o.Events <= 0 {
		o.Events = 100_000
	}
	if o.Bytes <= 0 {
		o.Bytes = 16 << 20
	}
	return o
}

// Projector is the service. Turn and Write are used by one goroutine at a time; Run does that for servers. Nudge and Stats
// may be called from any goroutine.
type Projector struct {
	deps    Deps
	options Options
	nudges  chan struct{}
	holder  string // the name of its hold on the log
	gate    *gate

	batch projection.Batch
	gaps  projection.Facts // what was read from the archive for the batch
	since events.Time      // when the batch began; 0 while it is empty
	known known
	room  []row.Run // for the stored rows of a batch
	next  []readmodel.Position
	index map[events.Partition]int // into next

	mu      sync.Mutex // guards the rest
	applied []readmodel.Position
	waiting []events.Time // by place in applied: the time of the first record collected and not yet written; 0 means none
	read    events.Time   // when the log had no more to read last; 0 means not since the projector went on
	began   events.Time
	trouble string
	stats   Stats
}

// New returns a projector that has not begun.
func New(d Deps, o Options) *Projector {
	p := &Projector{deps: d, options: o.withDefaults(), nudges: make(chan struct{}, 1), holder: Holder, gate: newGate()}
	p.begin(nil)
	return p
}

// begin forgets what was collected and goes on from the given positions.
func (p *Projector) begin(at []readmodel.Position) {
	p.batch, p.since, p.next, p.index = projection.Batch{}, 0, nil, make(map[events.Partition]int)
	p.known = make(known)
	p.batch.Facts.Events = p.keepsEvents()
	for _, id := range p.deps.Partitions {
		position := readmodel.Position{Partition: id, Next: 1}
		for _, known := range at {
			if known.Partition == id {
				position = known
				if known.Next > 1 && mutant.On(mutant.ProjectorResumesLate) {
					position.Next++
				}
			}
		}
		p.index[id] = len(p.next)
		p.next = append(p.next, position)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied, p.waiting, p.read = append([]readmodel.Position(nil), p.next...), make([]events.Time, len(p.next)), 0
}

// keepsEvents reports whether the model wants every event.
func (p *Projector) keepsEvents() bool {
	h, ok := p.deps.Model.(readmodel.Historian)
	return ok && h.KeepsEvents()
}

// Nudge asks the projector to write what the log has now instead of waiting for more: somebody waits for it
// (readmodel.Reader.WaitFor).
func (p *Projector) Nudge() {
	select {
	case p.nudges <- struct{}{}:
	default:
	}
}

// Input is what a turn is given.
type Input struct {
	Now     events.Time
	Records []*events.Record
	// Hurry says that somebody waits and the log has no more.
	Hurry bool
}

// Output is what a turn wants.
type Output struct {
	// Write asks for a call of Write, with the stored rows of Wanted.
	Write  bool
	Wanted []events.RunID
	// Rest are the records that the batch has no room for. They are the next turn's, after Write.
	Rest []*events.Record
	// Wake is when the next turn is due although nothing comes in; 0 means never.
	Wake events.Time
}

// Turn collects records and says when they are to be written.
func (p *Projector) Turn(in Input) Output {
	var rest []*events.Record
	p.mu.Lock()
	for n, r := range in.Records {
		if p.full() || p.batch.Deletes(r.RunID) {
			rest = in.Records[n:]
			break
		}
		i, ours := p.index[r.Partition]
		if !ours || r.Seq < p.next[i].Next {
			continue
		}
		if p.since == 0 {
			p.since = in.Now
		}
		p.next[i].Next, p.next[i].Time = r.Seq+1, r.Time
		if p.waiting[i] == 0 {
			p.waiting[i] = r.Time
		}
		p.batch.Add(r)
	}
	p.mu.Unlock()
	if p.since == 0 {
		return Output{}
	}
	p.since = min(p.since, in.Now) // the wall clock may have been set back
	due := p.since.Add(p.options.Delay)
	if p.batch.Events() > p.options.LoadEvents {
		due = p.since.Add(loadDelays * p.options.Delay)
	}
	if in.Hurry || in.Now >= due || p.full() || len(rest) > 0 {
		return Output{Write: true, Wanted: p.batch.Wanted(), Rest: rest}
	}
	return Output{Wake: due}
}

// full reports whether a batch is to be written before more is added.
func (p *Projector) full() bool {
	return p.batch.Events() >= p.options.Events || p.batch.Bytes() >= p.options.Bytes
}

// Gaps returns the history that lies between stored rows and what was collected: of runs that the log begins in the
// middle of.
func (p *Projector) Gaps(stored []row.Run) []projection.Gap { return p.batch.Gaps(stored) }

// Write folds what was collected over the stored rows, which must not be used any more, and begins to collect anew.
func (p *Projector) Write(stored []row.Run) readmodel.Batch {
	b := readmodel.Batch{Positions: append([]readmodel.Position(nil), p.next...)}
	events := p.batch.Events()
	b.Rows, b.Begun, b.Deletes = p.batch.Rows(stored)
	p.keepRoom(stored)
	b.Outcomes, b.Events = p.batch.Facts.Take()
	_, missed := p.gaps.Take()
	b.Events = append(missed, b.Events...)
	p.since = 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Batches++
	p.stats.Events += uint64(events)
	p.stats.Rows += uint64(len(b.Rows))
	return b
}

// maxRoom bounds the rows that there is room for between batches.
const maxRoom = 256

// keepRoom uses the slice of stored rows for those of the next batch.
func (p *Projector) keepRoom(stored []row.Run) {
	p.room = nil
	if cap(stored) <= maxRoom {
		clear(stored)
		p.room = stored[:0]
	}
}

// Stats are counters since the start, and how far the model is.
type Stats struct {
	// Batches, Events and Rows count what was written; Rebuilds how often the model was made anew.
	Batches, Events, Rows, Rebuilds uint64
	Partitions                      []PartitionStats
	// Trouble says why the model cannot be read or written now; "" while it can.
	Trouble string
}

// PartitionStats tell how far a partition is in the model. LagRecords is how many records of the log it does not have, Lag how
// old the oldest of them is; 0 when there is none.
type PartitionStats struct {
	readmodel.Position
	Last       events.Seq // of the log
	LagRecords uint64
	Lag        time.Duration
}

// Lag is the greatest of the partitions'.
func (s *Stats) Lag() (greatest time.Duration) {
	for i := range s.Partitions {
		greatest = max(greatest, s.Partitions[i].Lag)
	}
	return greatest
}

// Stats returns the counters.
func (p *Projector) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, now := p.stats, p.now()
	out.Trouble = p.trouble
	for i, at := range p.applied {
		_, last := p.deps.Log.Bounds(at.Partition)
		of := PartitionStats{Position: at, Last: last, LagRecords: uint64(max(0, int64(last)-int64(at.Next)+1))}
		if of.LagRecords > 0 {
			of.Lag = max(0, now.Sub(p.oldest(i)))
		}
		out.Partitions = append(out.Partitions, of)
	}
	return out
}

// oldest is the time of the oldest record that the model does not have, as well as it is known: what was not read yet came after
// the last that the model has, and after the log was read to its end.
func (p *Projector) oldest(i int) events.Time {
	switch at := p.applied[i]; {
	case p.waiting[i] != 0:
		return p.waiting[i]
	case at.Time != 0:
		return max(at.Time, p.read)
	case p.read != 0:
		return p.read
	default:
		return p.began
	}
}

// suffer notes why the model cannot be used; nil means that it can.
func (p *Projector) suffer(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = ""
	if err != nil {
		p.trouble = err.Error()
	}
}

// store makes a batch part of the model and lets the log forget what the model has.
func (p *Projector) store(ctx context.Context, b readmodel.Batch) error {
	if err := p.deps.Model.Apply(ctx, b); err != nil {
		return err
	}
	p.known.add(b.Rows)
	p.suffer(nil)
	p.mu.Lock()
	p.applied = b.Positions
	clear(p.waiting)
	p.mu.Unlock()
	return p.hold(b.Positions)
}

func (p *Projector) hold(at []readmodel.Position) error {
	var hold []journal.Position
	for _, position := range at {
		hold = append(hold, journal.Position{Partition: position.Partition, Next: position.Next})
	}
	if err := p.deps.Log.Hold(p.holder, hold); err != nil {
		return fmt.Errorf("hold the log: %w", err)
	}
	return nil
}

// Holder is the name of the projector's hold on the log.
const Holder = "projector"

// errRebuild ends a life of the projector that cannot go on with the model as it is.
var errRebuild = errors.New("the read model has to be built anew")
