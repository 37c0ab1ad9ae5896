package memory_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/archive/archivetest"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/blobstore/blobstoretest"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/dueindex/dueindextest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/journaltest"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/objectstore/objectstoretest"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/internal/runstore/runstoretest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const clientLimit = 12

func open(t *testing.T) *memory.Store {
	s := memory.New(memory.Options{Partitions: 4, ClientLimit: clientLimit})
	t.Cleanup(s.Close)
	return s
}

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Test(t, memory.Features, func(t *testing.T) journaltest.Fixture {
		s := open(t)
		return journaltest.Fixture{
			Journal: s.Journal(), ClientLimit: clientLimit, Close: s.Close,
			Crash: func(t *testing.T) journal.Journal {
				next := s.Crash(0)
				t.Cleanup(next.Close)
				return next.Journal()
			},
		}
	})
}

// commit syncs what was written before, as any commit does.
func commit(t *testing.T, s *memory.Store) {
	t.Helper()
	o, err := s.Journal().Acquire(context.Background(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(context.Background(), journal.Step{}); err != nil {
		t.Fatal(err)
	}
}

func TestRunStore(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 7} {
		runstoretest.Test(t, func(t *testing.T) runstoretest.Fixture {
			s := open(t)
			return runstoretest.Fixture{
				Store: s.RunStore(), Sync: func(t *testing.T) { commit(t, s) },
				Crash: func(*testing.T) runstore.Store { return s.Crash(keep).RunStore() },
			}
		})
	}
}

func TestDueIndex(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 7} {
		dueindextest.Test(t, func(t *testing.T) dueindextest.Fixture {
			s := open(t)
			return dueindextest.Fixture{
				Index: s.DueIndex(), Sync: func(t *testing.T) { commit(t, s) },
				Crash: func(*testing.T) dueindex.Index { return s.Crash(keep).DueIndex() },
			}
		})
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	blobstoretest.Test(t, func(t *testing.T) blobstoretest.Fixture {
		s := open(t)
		return blobstoretest.Fixture{Store: s.Blobs(), Crash: func(*testing.T) blobstore.Store { return s.Crash(0).Blobs() }}
	})
}

func archiveFixture(s *memory.Store) archivetest.Fixture {
	j := s.Journal()
	return archivetest.Fixture{
		Archive: s.Archive(),
		Log: func(t *testing.T, p events.Partition, records []*events.Record) {
			t.Helper()
			o, err := j.Acquire(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range records {
				r.Epoch, r.Owner, r.Seq = o.Epoch(), o.ID(), o.Last()+events.Seq(i)+1
			}
			if err := o.Commit(context.Background(), journal.Step{Records: records}); err != nil {
				t.Fatal(err)
			}
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
			r, err := j.Follow(context.Background(), []journal.Position{{Partition: p}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			records, err := r.TryNext(1000)
			if err != nil {
				t.Fatal(err)
			}
			return records
		},
		Crash: func(*testing.T) archivetest.Fixture { return archiveFixture(s.Crash(0)) },
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	archivetest.Test(t, func(t *testing.T) archivetest.Fixture { return archiveFixture(open(t)) })
}

// step takes one command, commits one record for it and returns the command's outcomes and the commit's.
func step(t *testing.T, s *memory.Store) (done []error, committed error) {
	t.Helper()
	j := s.Journal()
	o, err := j.Acquire(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	if err := j.Send(command(j), func(err error) { done = append(done, err) }); err != nil {
		return nil, err
	}
	o.Take(1)
	record := &events.Record{Header: events.Header{Epoch: o.Epoch(), Seq: o.Last() + 1}}
	committed = o.Commit(context.Background(), journal.Step{Records: []*events.Record{record}, Consumed: 1})
	return done, committed
}

// command makes a command for partition 0.
func command(j journal.Journal) events.Envelope {
	id := events.WorkflowID("w")
	for events.PartitionOf("default", id, j.Partitions()) != 0 {
		id += "w"
	}
	return events.Envelope{Namespace: "default", WorkflowID: id, Command: events.GetRun{}}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, c := range []struct {
		fault memory.CommitFault
		lost  bool
		last  events.Seq
	}{{memory.CommitOK, false, 1}, {memory.CommitLost, true, 1}, {memory.CommitUnknown, true, 2}, {memory.CommitOK, false, 3}} {
		s.SetFaults(memory.Faults{Commit: func(events.Partition, []*events.Record) memory.CommitFault { return c.fault }})
		done, err := step(t, s)
		if errors.Is(err, journal.ErrLost) != c.lost {
			t.Errorf("fault %d: Commit gives %v", c.fault, err)
		}
		if len(done) != 1 || errors.Is(done[0], journal.ErrLost) != c.lost {
			t.Errorf("fault %d: done gets %v", c.fault, done)
		}
		if _, last := s.Journal().Bounds(0); last != c.last {
			t.Errorf("fault %d: last is %d, want %d", c.fault, last, c.last)
		}
	}

	s.SetFaults(memory.Faults{Send: func(events.Envelope) error { return journal.ErrDiskFull }})
	if done, err := step(t, s); !errors.Is(err, journal.ErrDiskFull) || len(done) != 0 {
		t.Errorf("a refused Send gives %v and done %v", err, done)
	}
}

func TestHeldDone(t *testing.T) {
	t.Parallel()
	s := open(t)
	j := s.Journal()
	s.SetFaults(memory.Faults{HoldDone: true})
	o, err := j.Acquire(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := j.Send(command(j), func(error) { calls++ }); err != nil {
		t.Fatal(err)
	}
	o.Take(1)
	if err := o.Commit(context.Background(), journal.Step{Consumed: 1}); err != nil {
		t.Fatal(err)
	}
	if calls != 0 {
		t.Fatal("done was called although it is held")
	}
	s.ReleaseDone()
	if calls != 1 {
		t.Fatalf("done was called %d times", calls)
	}
}

// TestCrashKeepsAPrefix writes rows that nothing syncs and keeps some of them over a crash.
func TestCrashKeepsAPrefix(t *testing.T) {
	t.Parallel()
	for keep := range 6 {
		s := memory.New(memory.Options{Partitions: 4})
		for n := 1; n <= 5; n++ {
			if err := s.RunStore().Write(context.Background(), 0, runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: events.Seq(n)}}); err != nil {
				t.Fatal(err)
			}
		}
		next := s.Crash(keep)
		c, err := next.RunStore().Checkpoint(context.Background(), 0)
		if err != nil || c.Next != events.Seq(keep) {
			t.Errorf("kept %d of 5 writes: checkpoint %d, %v", keep, c.Next, err)
		}
		if err := s.RunStore().Write(context.Background(), 0, runstore.Changes{}); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("a crashed life writes: %v", err)
		}
		next.Close()
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	objectstoretest.Test(t, func(*testing.T) objectstoretest.Fixture {
		return objectstoretest.Fixture{Store: &memory.Objects{}}
	})
}

// TestObjectsWithin runs the suite on a part of a store, beside objects of others.
func TestObjectsWithin(t *testing.T) {
	t.Parallel()
	objectstoretest.Test(t, func(t *testing.T) objectstoretest.Fixture {
		all := &memory.Objects{}
		for _, name := range []string{"part", "other/x", "z"} {
			if err := all.Put(t.Context(), name, []byte("of others")); err != nil {
				t.Fatal(err)
			}
		}
		part := func(*testing.T) objectstore.Store { return objectstore.Within(all, "part/") }
		return objectstoretest.Fixture{Store: part(t), Reopen: part}
	})
}
