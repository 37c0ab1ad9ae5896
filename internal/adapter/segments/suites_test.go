package segments

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/archive/archivetest"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/dueindex/dueindextest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/internal/runstore/runstoretest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 3

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store as a process does.
func openStore(t testing.TB, objects objectstore.Store, log journal.Follower, change func(*Options)) *Store {
	t.Helper()
	o := Options{Objects: objects, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Log: log, Partitions: partitions}
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// everywhere are the stores of objects that the suites run over, each with settings that are quickest or strictest.
func everywhere(t *testing.T, test func(t *testing.T, objects func(t *testing.T) objectstore.Store, change func(t *testing.T) func(*Options))) {
	for name, place := range map[string]struct {
		objects func(t *testing.T) objectstore.Store
		change  func(t *testing.T) func(*Options)
	}{
		"memory": {
			func(*testing.T) objectstore.Store { return &memory.Objects{} },
			func(*testing.T) func(*Options) { return nil },
		},
		"tiny": { // many segments, nothing stays in memory, the tail is read from the log
			func(*testing.T) objectstore.Store { return &memory.Objects{} },
			func(t *testing.T) func(*Options) {
				dir := t.TempDir()
				return func(o *Options) {
					o.SegmentBytes, o.MemoryBytes, o.TailBytes, o.Directory, o.DirectoryBytes = 200, 1, 300, dir, 5_000
				}
			},
		},
		"files": {
			func(t *testing.T) objectstore.Store {
				o, err := files.OpenObjects(t.TempDir())
				check(t, err)
				return o
			},
			func(t *testing.T) func(*Options) {
				dir := t.TempDir()
				return func(o *Options) { o.Directory = dir }
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, place.objects, place.change)
		})
	}
}

func TestRunStore(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, objects func(*testing.T) objectstore.Store, change func(*testing.T) func(*Options)) {
		runstoretest.Test(t, func(t *testing.T) runstoretest.Fixture {
			at := objects(t)
			return runstoretest.Fixture{
				Store: openStore(t, at, nil, change(t)).RunStore(),
				Sync:  func(*testing.T) {},
				Crash: func(t *testing.T) runstore.Store { return openStore(t, at, nil, change(t)).RunStore() },
			}
		})
	})
}

func TestArchive(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, objects func(*testing.T) objectstore.Store, change func(*testing.T) func(*Options)) {
		archivetest.Test(t, func(t *testing.T) archivetest.Fixture {
			return newCluster(t, objects(t)).fixture(t, change)
		})
	})
}

// cluster is a broker and objects, which outlive all processes.
type cluster struct {
	broker  *memory.Broker
	objects objectstore.Store
}

func newCluster(t testing.TB, objects objectstore.Store) *cluster {
	t.Helper()
	return &cluster{memory.NewBroker(memory.BrokerOptions{Partitions: partitions}), objects}
}

// journal connects a process to the log.
func (c *cluster) journal(t testing.TB) *brokerjournal.Journal {
	t.Helper()
	log := c.broker.Connect()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := brokerjournal.Open(ctx, brokerjournal.Options{
		Log: log, Objects: c.objects, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), CheckpointEvery: time.Hour,
	})
	check(t, err)
	t.Cleanup(func() { check(t, j.Close()); check(t, log.Close()) })
	return j
}

// commit appends records to the log in a new epoch.
func commit(t testing.TB, j journal.Journal, p events.Partition, records []*events.Record) {
	t.Helper()
	o, err := j.Acquire(t.Context(), p)
	check(t, err)
	defer o.Release()
	commitAs(t, o, p, records)
}

// commitAs appends records to the log and numbers them.
func commitAs(t testing.TB, o journal.Owner, p events.Partition, records []*events.Record) {
	t.Helper()
	last := o.Last()
	for i, r := range records {
		r.Partition, r.Epoch, r.Owner, r.Seq, r.Confirmed = p, o.Epoch(), o.ID(), last+events.Seq(i)+1, last+events.Seq(i)
	}
	check(t, o.Commit(t.Context(), journal.Step{Records: records}))
}

// readAll reads a partition from its beginning to its end.
func readAll(t testing.TB, j journal.Journal, p events.Partition) (all []*events.Record) {
	t.Helper()
	first, last := j.Bounds(p)
	r, err := j.Follow(t.Context(), []journal.Position{{Partition: p, Next: first}})
	check(t, err)
	defer r.Close()
	for events.Seq(len(all)) < last+1-first {
		records, err := r.Next(t.Context(), 100)
		check(t, err)
		all = append(all, records...)
	}
	return all
}

// fixture is a process of the cluster.
func (c *cluster) fixture(t *testing.T, change func(*testing.T) func(*Options)) archivetest.Fixture {
	t.Helper()
	j := c.journal(t)
	s := openStore(t, c.objects, j, change(t))
	written := map[events.Partition]events.Seq{}
	sync := func(t *testing.T, p events.Partition) {
		t.Helper()
		if _, last := j.Bounds(p); last+1 > written[p] {
			written[p] = last + 1
			check(t, s.RunStore().Write(t.Context(), p, runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: last + 1}}))
		}
	}
	return archivetest.Fixture{
		Archive: s.Archive(),
		Log:     func(t *testing.T, p events.Partition, records []*events.Record) { t.Helper(); commit(t, j, p, records) },
		Trim: func(t *testing.T, p events.Partition) {
			t.Helper()
			sync(t, p)
			_, last := j.Bounds(p)
			check(t, j.Trim(p, last+1))
		},
		Read:  func(t *testing.T, p events.Partition) []*events.Record { t.Helper(); return readAll(t, j, p) },
		Sync:  sync,
		Crash: func(t *testing.T) archivetest.Fixture { t.Helper(); return c.fixture(t, change) },
	}
}

func TestDueIndex(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, objects func(t *testing.T) objectstore.Store, change func(t *testing.T) func(*Options)) {
		dueindextest.Test(t, func(t *testing.T) dueindextest.Fixture {
			all := objects(t)
			index := func(t *testing.T) dueindex.Index {
				t.Helper()
				return openStore(t, objectstore.Within(all, "index/"), nil, change(t)).DueIndex()
			}
			return dueindextest.Fixture{Index: index(t), Sync: func(*testing.T) {}, Crash: index}
		})
	})
}
