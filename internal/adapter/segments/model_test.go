package segments

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// world is a log, objects, and processes that own a partition in turn or only read. It knows all that was ever committed.
type world struct {
	t       testing.TB
	log     journal.Journal
	objects *memory.Objects
	clock   *clocktest.Manual
	random  *rand.Rand

	committed []*events.Record // by sequence number, from 1 on
	processes int
	runs      int
	counts    map[string]int // of what happened
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	return &world{
		t: t, log: memory.New(memory.Options{Partitions: 1}).Journal(), objects: &memory.Objects{}, clock: clocktest.NewManual(time.UnixMilli(1_700_000_000_000)),
		random: rand.New(rand.NewPCG(seed, 1)), counts: map[string]int{},
	}
}

// process is one that may own the partition. What it knows of runs is the fold of the log up to last.
type process struct {
	*world
	name    string
	store   *Store
	objects *faulty

	owner     journal.Owner
	last      events.Seq
	rows      map[events.RunID]events.Seq // the newest record of each run
	dirty     map[events.RunID]bool
	written   events.Seq // the Next of its last checkpoint
	unflushed int
	purged    []events.RunID // to be forgotten
}

func (w *world) process() *process {
	w.t.Helper()
	w.processes++
	p := &process{world: w, name: fmt.Sprintf("process %d", w.processes), objects: &faulty{Store: w.objects}}
	o := Options{
		Objects: p.objects, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Log: w.log, Partitions: 1, SegmentBytes: 2_000, MemoryBytes: 20_000,
		TailBytes: 1_500, quiet: true,
	}
	s, err := Open(o)
	check(w.t, err)
	p.store = s
	return p
}

func (w *world) end(p *process) {
	w.t.Helper()
	if p.owner != nil {
		p.owner.Release()
	}
	check(w.t, p.store.Close())
}

func seqRow(seq events.Seq) []byte { return fmt.Appendf(nil, "%020d", seq) }

// rowsAt is the fold of the log below next.
func (w *world) rowsAt(next events.Seq) map[events.RunID]events.Seq {
	rows := map[events.RunID]events.Seq{}
	for _, r := range w.committed[:next-1] {
		if purges(r) {
			delete(rows, r.RunID)
		} else if !r.RunID.IsZero() {
			rows[r.RunID] = r.Seq
		}
	}
	return rows
}

func purges(r *events.Record) bool {
	return len(r.Events) > 0 && r.Events[len(r.Events)-1] == events.Event(events.RunPurged{})
}

func (w *world) id(n int) events.RunID {
	return events.MakeRunID(1_700_000_000_000, [10]byte{8: byte(n >> 8), 9: byte(n)})
}

// takeOver makes the process the owner: it loads the rows, which must be those of a prefix of the log, and folds the rest.
func (p *process) takeOver() error {
	t := p.t
	if p.owner != nil {
		p.owner.Release()
	}
	owner, err := p.log.Acquire(t.Context(), 0)
	check(t, err)
	p.owner = owner
	rows := p.store.RunStore()
	checkpoint, err := rows.Checkpoint(t.Context(), 0)
	if err != nil {
		return err
	}
	next := max(checkpoint.Next, 1)
	if next > owner.Last()+1 {
		t.Fatalf("%s: the rows include record %d and the log ends at %d", p.name, next-1, owner.Last())
	}
	if first, _ := p.log.Bounds(0); next < first {
		t.Fatalf("%s: the checkpoint is at %d and the log begins at %d", p.name, next, first)
	}
	if want := seqRow(checkpoint.Next); checkpoint.Next > 0 && !bytes.Equal(checkpoint.State, want) {
		t.Fatalf("%s: the state at %d is %q", p.name, checkpoint.Next, checkpoint.State)
	}
	want := p.rowsAt(next)
	for n := 1; n <= p.runs; n++ {
		if err := p.wantRow(p.id(n), want[p.id(n)]); err != nil {
			return err
		}
	}
	p.rows, p.dirty, p.purged = want, map[events.RunID]bool{}, nil
	p.last, p.written, p.unflushed = next-1, checkpoint.Next, 0
	from := max(next-min(next-1, 3), 1) // a little earlier, as recovery does
	if first, _ := p.log.Bounds(0); from < first {
		from = first
	}
	tail := p.committed[from-1 : owner.Last()]
	if err := p.store.Archive().Append(t.Context(), 0, tail); err != nil {
		return err
	}
	for _, r := range tail {
		if r.Seq > p.last {
			p.fold(r)
		}
	}
	return nil
}

// wantRow compares a row, its newest run and its answer with the newest record of the run.
func (p *process) wantRow(id events.RunID, seq events.Seq) error {
	s, ctx := p.store.RunStore(), p.t.Context()
	row, err := s.Run(ctx, 0, id)
	if err != nil {
		return err
	}
	newest, ok, err := s.Newest(ctx, 0, "default", events.WorkflowID(id.String()))
	if err != nil {
		return err
	}
	answer, answered, err := s.Answer(ctx, 0, id, "r")
	if err != nil {
		return err
	}
	switch {
	case seq == 0 && row == nil && !ok && !answered:
	case seq > 0 && bytes.Equal(row, seqRow(seq)) && ok && newest.RunID == id && answered && answer.At == events.Time(seq):
	default:
		p.t.Fatalf("%s: run %s is at record %d, and has row %q, newest %v (%v), answer of %d (%v)", p.name, id, seq, row, newest, ok, answer.At, answered)
	}
	return nil
}

func (p *process) fold(r *events.Record) {
	p.last = r.Seq
	p.unflushed++
	switch {
	case r.RunID.IsZero():
	case purges(r):
		p.purged = append(p.purged, r.RunID)
	default:
		p.rows[r.RunID], p.dirty[r.RunID] = r.Seq, true
	}
}

// commit commits some records and archives them. False means that it is no longer the owner.
func (p *process) commit() (bool, error) {
	var records []*events.Record
	last := p.last
	purged := map[events.RunID]bool{}
	for range 1 + p.random.IntN(6) {
		last++
		r := &events.Record{Header: events.Header{
			Seq: last, Epoch: p.owner.Epoch(), Owner: p.owner.ID(), Confirmed: last - 1, Time: 5, Schema: events.Schema, First: 1,
		}}
		if n := p.random.IntN(10); n > 0 { // else it is of no run
			id := p.id(p.runs + 1)
			if known := p.living(purged, records); len(known) > 0 && n > 3 {
				id = known[p.random.IntN(len(known))]
			} else {
				p.runs++
			}
			r.RunID, r.Namespace, r.WorkflowID = id, "default", events.WorkflowID(id.String())
			for _, other := range slices.Concat(p.committed, records) {
				if other.RunID == id {
					r.First = other.Last() + 1
				}
			}
			r.Events = []events.Event{events.SignalReceived{Name: "s", Input: events.Payload{Encoding: "x", Data: make([]byte, p.random.IntN(200))}}}
			if r.First > 1 && p.random.IntN(6) == 0 {
				r.Events = append(r.Events, events.RunPurged{})
				purged[id] = true
			}
		}
		records = append(records, r)
	}
	switch err := p.owner.Commit(p.t.Context(), journal.Step{Records: records}); {
	case errors.Is(err, journal.ErrLost):
		return false, nil
	case err != nil:
		return false, err
	}
	p.committed = append(p.committed, records...)
	if err := p.store.Archive().Append(p.t.Context(), 0, records); err != nil {
		return true, err
	}
	for _, r := range records {
		p.fold(r)
	}
	p.counts["commits"]++
	return true, nil
}

// living are the runs that can have another record.
func (p *process) living(purged map[events.RunID]bool, records []*events.Record) (ids []events.RunID) {
	for n := 1; n <= p.runs; n++ {
		id := p.id(n)
		_, known := p.rows[id]
		known = known || slices.ContainsFunc(records, func(r *events.Record) bool { return r.RunID == id })
		if known && !purged[id] && !slices.Contains(p.purged, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// forget deletes what was purged, without a checkpoint.
func (p *process) forget() error {
	var c runstore.Changes
	for _, id := range p.purged {
		if err := p.store.Archive().Forget(p.t.Context(), 0, id); err != nil {
			return err
		}
		c.DeleteRuns = append(c.DeleteRuns, id)
		c.DeleteNewest = append(c.DeleteNewest, runstore.NewestRow{Namespace: "default", WorkflowID: events.WorkflowID(id.String()), Newest: runstore.Newest{RunID: id}})
		delete(p.rows, id)
		delete(p.dirty, id)
		p.counts["forgotten"]++
	}
	p.purged = nil
	return p.store.RunStore().Write(p.t.Context(), 0, c)
}

// write writes the rows with a checkpoint, as often as the engine would, and trims the log to the checkpoint before.
func (p *process) write() error {
	if err := p.forget(); err != nil || p.unflushed == 0 {
		return err
	}
	c := runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: p.last + 1, State: seqRow(p.last + 1)}}
	for id := range p.dirty {
		seq := p.rows[id]
		c.PutRuns = append(c.PutRuns, runstore.RunRow{RunID: id, Row: seqRow(seq)})
		c.PutNewest = append(c.PutNewest, runstore.NewestRow{Namespace: "default", WorkflowID: events.WorkflowID(id.String()), Newest: runstore.Newest{RunID: id, Status: events.StatusRunning}})
		c.PutAnswers = append(c.PutAnswers, runstore.AnswerRow{RunID: id, Request: "r", KeptAnswer: runstore.KeptAnswer{At: events.Time(seq)}})
	}
	if err := p.store.RunStore().Write(p.t.Context(), 0, c); err != nil {
		return err
	}
	clear(p.dirty)
	before := p.written
	p.written, p.unflushed = p.last+1, 0
	p.counts["writes"]++
	if first, _ := p.log.Bounds(0); before > first {
		p.counts["trims"]++
		check(p.t, p.log.Trim(0, before))
	}
	return nil
}

// wantHistories compares all histories with what was committed. A run that was purged may be there or not.
func (p *process) wantHistories(from, limit int) error {
	at, ctx := p.store.Archive(), p.t.Context()
	histories, gone := map[events.RunID][]*events.Record{}, map[events.RunID]bool{}
	for _, r := range p.committed {
		if !r.RunID.IsZero() {
			histories[r.RunID] = append(histories[r.RunID], r)
			gone[r.RunID] = gone[r.RunID] || purges(r)
		}
	}
	for n := 1; n <= p.runs; n++ {
		id := p.id(n)
		want := slices.DeleteFunc(slices.Clone(histories[id]), func(r *events.Record) bool { return r.Last() < events.EventNumber(from) })
		var got []*events.Record
		for next := events.EventNumber(from); next != 0; {
			records, after, err := at.History(ctx, 0, id, next, 0, limit)
			if errors.Is(err, archive.ErrNotFound) && (gone[id] || len(histories[id]) == 0) {
				want, got = nil, nil
				break
			}
			if err != nil {
				return fmt.Errorf("history of %s: %w", id, err)
			}
			got, next = append(got, records...), after
		}
		same := func(a, b *events.Record) bool {
			return bytes.Equal(events.AppendRecord(nil, a), events.AppendRecord(nil, b))
		}
		if !slices.EqualFunc(got, want, same) {
			p.t.Fatalf("%s: the history of run %s from event %d on has %d records instead of %d", p.name, id, from, len(got), len(want))
		}
	}
	var listed []events.RunID
	for above := (events.RunID{}); ; above = listed[len(listed)-1] {
		runs, err := at.(archive.Lister).Runs(ctx, 0, above, 3)
		if err != nil {
			return err
		}
		if listed = append(listed, runs...); len(runs) < 3 {
			break
		}
	}
	for id := range histories {
		if !gone[id] && !slices.Contains(listed, id) {
			p.t.Fatalf("%s: run %s is not listed", p.name, id)
		}
	}
	return nil
}

// wantNoLeftovers: after a few writes of one owner there is what two manifests name, and nothing else.
func (w *world) wantNoLeftovers() {
	t := w.t
	t.Helper()
	p := w.process()
	defer w.end(p)
	check(t, p.takeOver())
	for range 3 {
		if _, err := p.commit(); err != nil {
			t.Fatal(err)
		}
		check(t, p.write())
		check(t, p.store.owned[0].tidy(t.Context()))
	}
	check(t, p.wantHistories(1, 1<<20))
	manifests, err := p.store.manifests(t.Context(), 0)
	check(t, err)
	if len(manifests) != keptManifests {
		t.Fatalf("manifests: %v", manifests)
	}
	named := map[string]bool{}
	for _, m := range manifests {
		v, err := p.store.manifest(t.Context(), 0, m)
		check(t, err)
		v.segments(func(s *segment) { named[s.name] = true })
	}
	p.store.owned[0].version.segments(func(s *segment) { named[s.name] = true }) // merged, and not yet in a manifest
	segments, err := w.objects.List(t.Context(), segmentPrefix(0))
	check(t, err)
	for _, name := range segments {
		if !named[name] {
			t.Errorf("segment %s is left", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("segment %s is named and not there", name)
	}
}
