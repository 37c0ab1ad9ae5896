package pebble

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/archive/archivetest"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/dueindex/dueindextest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/journaltest"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/internal/runstore/runstoretest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedStore); dir != "" {
		liveUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

const clientLimit = 12

// bench is a store on a disk that can lose what was not synced.
type bench struct {
	*Store
	mem *vfs.MemFS
}

// small keeps so little in memory that the suites read from the store too.
func small() Options {
	return Options{Partitions: 4, ClientLimit: clientLimit, TailBytes: 2000}
}

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{mem: vfs.NewCrashableMem()}
	o := small()
	o.fs = b.mem
	b.Store = open(t, t.TempDir(), o)
	return b
}

// crash opens the store again as a power cut leaves it: of what was not synced, a random part is there.
func (b *bench) crash(t *testing.T) *bench {
	t.Helper()
	next := &bench{mem: b.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})}
	if err := b.lock.Close(); err != nil { // as the end of the process does
		t.Fatal(err)
	}
	dead, err := lockDir(t.TempDir()) // what the dead store unlocks when the test ends
	if err != nil {
		t.Fatal(err)
	}
	dir := b.dir
	b.lock, b.dir = dead, t.TempDir()
	o := small()
	o.fs = next.mem
	next.Store = open(t, dir, o)
	return next
}

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Test(t, Features, func(t *testing.T) journaltest.Fixture {
		b := newBench(t)
		return journaltest.Fixture{
			Journal: b.Journal(), ClientLimit: clientLimit,
			Close: func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			},
			Crash: func(t *testing.T) journal.Journal { return b.crash(t).Journal() },
		}
	})
}

// sync makes what was written before durable, as any commit does.
func (b *bench) sync(t *testing.T) {
	t.Helper()
	if _, err := b.Journal().Acquire(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
}

func TestRunStore(t *testing.T) {
	t.Parallel()
	runstoretest.Test(t, func(t *testing.T) runstoretest.Fixture {
		b := newBench(t)
		return runstoretest.Fixture{
			Store: b.RunStore(), Sync: b.sync, Crash: func(t *testing.T) runstore.Store { return b.crash(t).RunStore() },
		}
	})
}

func TestDueIndex(t *testing.T) {
	t.Parallel()
	dueindextest.Test(t, func(t *testing.T) dueindextest.Fixture {
		b := newBench(t)
		return dueindextest.Fixture{
			Index: b.DueIndex(), Sync: b.sync, Crash: func(t *testing.T) dueindex.Index { return b.crash(t).DueIndex() },
		}
	})
}

func TestArchive(t *testing.T) {
	t.Parallel()
	archivetest.Test(t, func(t *testing.T) archivetest.Fixture { return archiveFixture(newBench(t)) })
}

func archiveFixture(b *bench) archivetest.Fixture {
	j := b.Journal()
	return archivetest.Fixture{
		Archive: b.Archive(),
		Log: func(t *testing.T, p events.Partition, records []*events.Record) {
			t.Helper()
			appendTo(t, b.Store, p, records...)
		},
		Trim: func(t *testing.T, p events.Partition) {
			t.Helper()
			_, last := j.Bounds(p)
			if err := j.Trim(p, last+1); err != nil {
				t.Fatal(err)
			}
		},
		Read: func(t *testing.T, p events.Partition) []*events.Record {
			t.Helper()
			return readAll(t, b.Store, p)
		},
		Crash: func(t *testing.T) archivetest.Fixture { return archiveFixture(b.crash(t)) },
	}
}

// appendTo commits records as a new owner, in one step.
func appendTo(t *testing.T, s *Store, p events.Partition, records ...*events.Record) {
	t.Helper()
	o, err := s.Journal().Acquire(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		r.Partition, r.Epoch, r.Owner, r.Seq = p, o.Epoch(), o.ID(), o.Last()+events.Seq(i)+1
	}
	if err := o.Commit(context.Background(), journal.Step{Records: records}); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a partition from First to the end.
func readAll(t *testing.T, s *Store, p events.Partition) []*events.Record {
	t.Helper()
	j := s.Journal()
	first, _ := j.Bounds(p)
	r, err := j.Follow(context.Background(), []journal.Position{{Partition: p, Next: first}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []*events.Record
	for {
		records, err := r.TryNext(100)
		if err != nil {
			t.Fatal(err)
		}
		if records == nil {
			return all
		}
		all = append(all, records...)
	}
}
