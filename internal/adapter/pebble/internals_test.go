package pebble

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// signals makes n records of one run.
func signals(n int) []*events.Record {
	var records []*events.Record
	for i := range n {
		records = append(records, &events.Record{
			Header: events.Header{Time: 1, Schema: 1, Namespace: "default", WorkflowID: "w", RunID: runID(1), First: events.EventNumber(i + 1)},
			Events: []events.Event{events.SignalReceived{Name: "s", Input: events.Payload{Data: make([]byte, 100)}}},
		})
	}
	return records
}

func commandOf(j journal.Journal, p events.Partition, c events.Command) events.Envelope {
	id := events.WorkflowID("w")
	for events.PartitionOf("default", id, j.Partitions()) != p {
		id += "w"
	}
	return events.Envelope{Namespace: "default", WorkflowID: id, Command: c}
}

// TestFailedWriteIsFinal lets a write of the log fail and expects everything to end.
func TestFailedWriteIsFinal(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		write := op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileFlush
		if failing.Load() && write && strings.HasSuffix(op.Path, ".log") {
			return errors.New("the disk is gone")
		}
		return nil
	}))
	var fatal []error
	s, err := Open(t.TempDir(), Options{Partitions: 2, fs: fs, OnFatal: func(err error) { fatal = append(fatal, err) }})
	must(t, err)
	j := s.Journal()
	o, err := j.Acquire(context.Background(), 0)
	must(t, err)
	reader, err := j.Follow(context.Background(), []journal.Position{{}})
	must(t, err)
	var done []error
	for range 2 {
		must(t, j.Send(commandOf(j, 0, events.GetRun{}), func(err error) { done = append(done, err) }))
	}
	o.Take(1)

	failing.Store(true)
	records := signals(1)
	records[0].Epoch, records[0].Seq = o.Epoch(), 1
	if err := o.Commit(context.Background(), journal.Step{Records: records, Consumed: 1}); !errors.Is(err, journal.ErrLost) {
		t.Errorf("Commit: %v", err)
	}
	if _, err := reader.Next(context.Background(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("a record that is not durable was shown, or the reader waits: %v", err)
	}
	<-s.gone
	if len(done) != 2 || !errors.Is(done[0], journal.ErrLost) || !errors.Is(done[1], journal.ErrLost) {
		t.Errorf("done gets %v", done)
	}
	if len(fatal) != 1 || !strings.Contains(fatal[0].Error(), "the disk is gone") {
		t.Errorf("OnFatal gets %v", fatal)
	}
	if err := j.Send(commandOf(j, 0, events.CompleteTask{}), nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if _, err := j.Acquire(context.Background(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Acquire: %v", err)
	}
	if err := s.RunStore().Write(context.Background(), 0, runstore.Changes{}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if _, err := s.RunStore().Run(context.Background(), 0, runID(1)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("Close: %v", err)
	}
	failing.Store(false)
	_ = s.db.Close() // ends Pebble's goroutines
}

// TestFenceWithinAGroup queues a take-over and then a step of the former owner, which nobody has told yet.
func TestFenceWithinAGroup(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 1})
	former, err := s.Journal().Acquire(context.Background(), 0)
	must(t, err)
	records := signals(1)
	records[0].Epoch, records[0].Seq = former.Epoch(), 1
	late := newRequest(requestCommit, former.(*owner))
	late.step = journal.Step{Records: records}
	must(t, late.owner.encode(late))
	next := newOwnership(s, s.parts[0])
	acquire := newRequest(requestAcquire, next)
	s.committer.mu.Lock()
	s.committer.queue = append(s.committer.queue, acquire, late)
	s.committer.mu.Unlock()
	s.committer.wake()
	must(t, acquire.wait(context.Background()))
	if err := late.wait(context.Background()); !errors.Is(err, journal.ErrLost) {
		t.Fatalf("the former owner's step: %v", err)
	}
	if all := readAll(t, s, 0); len(all) != 0 {
		t.Fatalf("the former owner wrote %d records", len(all))
	}
	records = signals(1)
	records[0].Epoch, records[0].Seq = next.Epoch(), 1
	must(t, next.Commit(context.Background(), journal.Step{Records: records}))
}

func TestDiskWatermark(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1000)
	o := Options{Partitions: 2, DiskReserve: 800, freeDisk: func(string) (uint64, error) { return free.Load(), nil }}
	s := open(t, t.TempDir(), o)
	j := s.Journal()
	send := func(c events.Command) error { return j.Send(commandOf(j, 0, c), nil) }
	must(t, send(events.GetRun{}))

	free.Store(799)
	if d := s.DiskState(); !d.Full || d.FreeBytes != 799 || d.ReserveBytes != 800 {
		t.Fatalf("state %+v", d)
	}
	if err := send(events.GetRun{}); !errors.Is(err, journal.ErrDiskFull) {
		t.Fatalf("a client's command on a full disk: %v", err)
	}
	must(t, send(events.CompleteTask{})) // from inside
	free.Store(899)
	if err := send(events.GetRun{}); !errors.Is(err, journal.ErrDiskFull) {
		t.Fatalf("a client's command shortly above the reserve: %v", err)
	}
	free.Store(900)
	must(t, send(events.GetRun{}))

	free.Store(10) // noticed by what is written, without being asked
	large := signals(1)
	large[0].Events = []events.Event{events.SignalReceived{Input: events.Payload{Data: make([]byte, 1<<20)}}}
	for range 5 {
		appendTo(t, s, 0, large...)
	}
	if err := send(events.GetRun{}); !errors.Is(err, journal.ErrDiskFull) {
		t.Fatalf("5 MiB filled the disk and a client's command gives %v", err)
	}
}

// TestADiskThatOthersFill shows that what this store writes is not the only reason to look.
func TestADiskThatOthersFill(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1000)
	now := &slowClock{Clock: clock.Real()}
	o := Options{Partitions: 1, DiskReserve: 800, Clock: now, freeDisk: func(string) (uint64, error) { return free.Load(), nil }}
	s := open(t, t.TempDir(), o)
	j := s.Journal()
	free.Store(10)
	must(t, j.Send(commandOf(j, 0, events.GetRun{}), nil)) // the last look is fresh
	now.passed.Add(int64(diskCheckEvery))
	if err := j.Send(commandOf(j, 0, events.GetRun{}), nil); !errors.Is(err, journal.ErrDiskFull) {
		t.Fatalf("a client's command on a disk that somebody else has filled: %v", err)
	}
}

// slowClock is a clock whose time since boot passes by hand.
type slowClock struct {
	clock.Clock
	passed atomic.Int64
}

func (c *slowClock) Boot() time.Duration { return time.Duration(c.passed.Load()) }

func TestStatfs(t *testing.T) {
	t.Parallel()
	if free, err := freeDisk(t.TempDir()); err != nil || free == 0 {
		t.Fatal(free, err)
	}
	if _, err := freeDisk(t.TempDir() + "/nowhere"); err == nil {
		t.Fatal("a missing directory has free space")
	}
}

// TestTailServesRecentReads reads what is recent without reading the store: the very records come back.
func TestTailServesRecentReads(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 1, TailBytes: 3000})
	records := signals(40)
	appendTo(t, s, 0, records...)
	got := readAll(t, s, 0)
	if len(got) != 40 || got[39] != records[39] || got[0] == records[0] {
		t.Fatal("the last record was decoded again, or the first one was kept in memory")
	}
	history, _, err := s.Archive().History(context.Background(), 0, runID(1), 40, 0, 1)
	must(t, err)
	if len(history) != 1 || history[0] != records[39] {
		t.Fatal("a recent history was decoded again")
	}
	p := s.parts[0]
	if p.tailBytes > 3000 || len(p.tail) < 5 {
		t.Fatalf("the tail has %d bytes in %d records", p.tailBytes, len(p.tail))
	}
	appendTo(t, s, 0, make30k()...)
	if len(p.tail) != 1 {
		t.Fatalf("a record larger than the tail leaves %d records", len(p.tail))
	}
}

// TestTailIsForReaders keeps in memory what a reader has not read; of what all have read only a little.
func TestTailIsForReaders(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 1})
	quick, err := s.Journal().Follow(context.Background(), []journal.Position{{}})
	must(t, err)
	slow, err := s.Journal().Follow(context.Background(), []journal.Position{{}})
	must(t, err)
	records := signals(tailRead + 102)
	early, another, late := records[:tailRead+100], records[tailRead+100], records[tailRead+101]
	appendTo(t, s, 0, early...)
	_, err = quick.TryNext(len(early))
	must(t, err)
	appendTo(t, s, 0, another)
	p := s.parts[0]
	if len(p.tail) != tailRead+101 {
		t.Fatalf("%d records are in memory while a reader has read none of %d", len(p.tail), tailRead+101)
	}
	read, err := slow.TryNext(len(early))
	must(t, err)
	if len(read) != len(early) || read[0] != early[0] {
		t.Fatal("what a reader lacked was decoded again")
	}
	appendTo(t, s, 0, late)
	if len(p.tail) != tailRead {
		t.Fatalf("%d records are in memory after all but two were read", len(p.tail))
	}
	quick.Close()
	slow.Close()
}

func make30k() []*events.Record {
	r := signals(1)
	r[0].Events = []events.Event{events.SignalReceived{Input: events.Payload{Data: make([]byte, 30_000)}}}
	return r
}

// TestOneSyncForAllPartitions holds the disk and lets all partitions commit meanwhile.
func TestOneSyncForAllPartitions(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 16})
	owners := make([]journal.Owner, 16)
	for p := range owners {
		o, err := s.Journal().Acquire(context.Background(), events.Partition(p))
		must(t, err)
		owners[p] = o
	}
	before := s.Stats()
	var all sync.WaitGroup
	for p, o := range owners {
		all.Go(func() {
			for n := range 50 {
				r := signals(1)
				r[0].Partition, r[0].Epoch, r[0].Seq = events.Partition(p), o.Epoch(), events.Seq(n+1)
				if err := o.Commit(context.Background(), journal.Step{Records: r}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	after := s.Stats()
	commits, syncs := after.Commits-before.Commits, after.Syncs-before.Syncs
	if commits != 800 || after.Records-before.Records != 800 || after.Grouped-before.Grouped != 800 {
		t.Fatalf("stats %+v after %+v", after, before)
	}
	if syncs >= 400 || after.SyncSeconds <= 0 || after.Bytes <= before.Bytes {
		t.Fatalf("%d commits took %d syncs: %+v", commits, syncs, after)
	}
}

// TestCloseMakesQueuedCommits closes while steps are on their way: each one is durable or was refused.
func TestCloseMakesQueuedCommits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{Partitions: 8})
	must(t, err)
	var all sync.WaitGroup
	var durable [8]events.Seq
	began := make(chan struct{}, 8)
	for p := range durable {
		o, err := s.Journal().Acquire(context.Background(), events.Partition(p))
		must(t, err)
		all.Go(func() {
			for n := events.Seq(1); ; n++ {
				r := signals(1)
				r[0].Partition, r[0].Epoch, r[0].Seq, r[0].First = events.Partition(p), o.Epoch(), n, events.EventNumber(n)
				if err := o.Commit(context.Background(), journal.Step{Records: r}); err != nil {
					return
				}
				durable[p] = n
				if n == 3 {
					began <- struct{}{}
				}
			}
		})
	}
	for range durable {
		<-began
	}
	must(t, s.Close())
	all.Wait()
	s = open(t, dir, Options{})
	for p, want := range durable {
		if _, last := s.Journal().Bounds(events.Partition(p)); last != want {
			t.Errorf("partition %d ends at %d; %d were acknowledged and no more were begun", p, last, want)
		}
	}
}

// TestTrimInChunks trims more than one batch takes, and nothing is left behind.
func TestTrimInChunks(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 1})
	var records []*events.Record
	for range 2*trimChunk + 10 {
		records = append(records, &events.Record{Answers: []events.Answer{{Code: events.OK}}})
	}
	appendTo(t, s, 0, records...)
	must(t, s.Journal().Trim(0, events.Seq(len(records))))
	if first, _ := s.Journal().Bounds(0); first != events.Seq(len(records)) {
		t.Fatalf("first is %d", first)
	}
	left := 0
	for _, family := range []byte{famEvent, famGarbage} {
		must(t, scan(s.db, prefix(family, 0), after(prefix(family, 0)), func([]byte, []byte) (bool, error) { left++; return true, nil }))
	}
	if left != 2 {
		t.Fatalf("%d rows are left, want the last record and its note", left)
	}
}

// TestKeysSortAsTheirMeaning compares keys with what they stand for.
func TestKeysSortAsTheirMeaning(t *testing.T) {
	t.Parallel()
	times := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := events.Time(times.Draw(t, "a")), events.Time(times.Draw(t, "b"))
		if got, want := bytes.Compare(appendTime(nil, a), appendTime(nil, b)) < 0, a < b; got != want {
			t.Fatalf("times %d and %d", a, b)
		}
		if readTime(appendTime(nil, a)) != a {
			t.Fatal("a time does not come back")
		}
		m, n := rapid.Uint64().Draw(t, "m"), rapid.Uint64().Draw(t, "n")
		if (bytes.Compare(seqKey(famEvent, 1, events.Seq(m)), seqKey(famEvent, 1, events.Seq(n))) < 0) != (m < n) {
			t.Fatalf("seqs %d and %d", m, n)
		}
		p := events.Partition(rapid.Uint16().Draw(t, "p"))
		key := dueindex.Key{Kind: dueindex.KindTimer, RunID: runID(int(m % 1000)), Timer: events.TimerID{Kind: events.TimerSleep, Step: events.Step(n), Attempt: 7}}
		if due, got, ok := dueOf(dueKey(p, a, key)); !ok || due != a || got != key {
			t.Fatal("a due key does not come back")
		}
		if got, ok := byRunOf(byRunKey(p, key)); !ok || got != key {
			t.Fatal("a key by run does not come back")
		}
		if run, first, ok := historyOf(historyKey(p, key.RunID, events.EventNumber(n))); !ok || run != key.RunID || first != events.EventNumber(n) {
			t.Fatal("a history key does not come back")
		}
	})
}

// TestSaveNamesTheDamagedRow damages one row by run and saves with it alone and among others, which are read in other ways.
func TestSaveNamesTheDamagedRow(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Partitions: 1})
	key := func(n int) dueindex.Key { return dueindex.Key{Kind: dueindex.KindTask, RunID: runID(n)} }
	item := dueindex.Item{Key: key(1), Due: 5, Body: []byte("body")}
	must(t, s.DueIndex().Save(context.Background(), 0, 7, []dueindex.Item{item}, nil))
	row := byRunKey(0, item.Key)
	must(t, s.db.Set(row, []byte("bad"), nil))
	for name, err := range map[string]error{
		"deleted alone":  s.DueIndex().Save(context.Background(), 0, 8, nil, []dueindex.Key{item.Key}),
		"put alone":      s.DueIndex().Save(context.Background(), 0, 8, []dueindex.Item{item}, nil),
		"among others":   s.DueIndex().Save(context.Background(), 0, 8, nil, []dueindex.Key{key(0), key(2), item.Key, key(3)}),
		"put among them": s.DueIndex().Save(context.Background(), 0, 8, []dueindex.Item{item}, []dueindex.Key{key(0), key(2), key(3)}),
	} {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), describeKey(row)) {
			t.Errorf("%s: %v, want the row %s", name, err, describeKey(row))
		}
	}
	if next, err := s.DueIndex().Position(context.Background(), 0); err != nil || next != 7 {
		t.Errorf("the position is %d (%v), want 7: a save that failed wrote something", next, err)
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"a", "b"}, {"a\xff", "b"}, {"ab", "ac"}, {"a\x00\xff\xff", "a\x01"}} {
		if got := after([]byte(c[0])); string(got) != c[1] {
			t.Errorf("after(%q) = %q, want %q", c[0], got, c[1])
		}
	}
}

// FuzzValues feeds rows that nobody wrote: an error or a value, never a panic.
func FuzzValues(f *testing.F) {
	f.Add([]byte("k"), []byte("v"))
	f.Add(endedKey(1, 5, runID(1)), endedValue(&runstore.Ended{WorkflowID: "w", Namespace: "n"}))
	f.Add(runKey(famQuarantined, 1, runID(1)), quarantinedValue(&runstore.QuarantinedRun{Reason: "r"}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		_, _ = readEnded(key, value)
		_, _ = readQuarantined(key, value)
		_, _ = readAnswer(key, value)
		_, _ = readNewest(key, value)
		_, _ = readCheckpoint(key, value)
		_, _ = readHistoryRow(key, value)
		_, _ = readDue(key, value)
		_, _, _ = checkDueKey(key, value)
		_, _ = readRecord(1, 2, value)
		_, _ = readSeq(key, value)
		if describeKey(key) == "" {
			t.Fatal("a key without a name")
		}
	})
}
