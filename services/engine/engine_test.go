package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

func engineOn(t *testing.T, store *memory.Store) *Engine {
	t.Helper()
	e, err := New(Deps{
		Log: store.Journal(), Runs: store.RunStore(), Archive: store.Archive(), Blobs: store.Blobs(),
		Clock: clocktest.Bubble(), Logger: slog.New(slog.DiscardHandler),
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// send sends a command and returns what done is given, in time.
func send(t *testing.T, store *memory.Store, env events.Envelope) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	if err := store.Journal().Send(env, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	return done
}

func TestEngineServesAllPartitionsAndStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 4})
		e := engineOn(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		for n := range 20 {
			if err := <-send(t, store, start(n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, h := range e.Health() {
			if h.State != Running || h.Epoch != 1 || h.Applied == 0 || h.Turned.IsZero() {
				t.Errorf("health %+v", h)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for _, h := range e.Health() {
			if h.State != Stopped {
				t.Errorf("health after the end %+v", h)
			}
		}
		for p := range events.Partition(4) {
			_, last := store.Journal().Bounds(p)
			checkpoint, err := store.RunStore().Checkpoint(t.Context(), p)
			if err != nil || checkpoint.Next != last+1 {
				t.Errorf("partition %d leaves with checkpoint %d of %d, %v", p, checkpoint.Next, last, err)
			}
		}
	})
}

func TestEngineRecoversFromLostCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 1})
		e := engineOn(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		synctest.Wait()
		for i, fault := range []memory.CommitFault{memory.CommitLost, memory.CommitUnknown} {
			store.SetFaults(memory.Faults{Commit: func(events.Partition, []*events.Record) memory.CommitFault {
				return fault
			}})
			env := start(i)
			env.Session, env.N = 1, uint64(i+1)
			if err := <-send(t, store, env); !errors.Is(err, journal.ErrLost) {
				t.Fatalf("done with %v", err)
			}
			store.SetFaults(memory.Faults{})
			if err := <-send(t, store, env); err != nil {
				t.Fatalf("the repetition is done with %v", err)
			}
			records, _, err := store.Archive().History(t.Context(), 0, runID(i), 1, 0, 1<<20)
			if err != nil || kinds(records...) != "RunStarted ActivationScheduled" {
				t.Errorf("history %s, %v", kinds(records...), err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEngineFlushesAndSweepsWhenNothingComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 1})
		e := engineOn(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		for _, c := range []events.Envelope{start(1), to(1, events.TerminateWorkflow{})} {
			if err := <-send(t, store, c); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		_, last := store.Journal().Bounds(0)
		if checkpoint, err := store.RunStore().Checkpoint(t.Context(), 0); err != nil || checkpoint.Next != last+1 {
			t.Errorf("checkpoint %d of %d, %v", checkpoint.Next, last, err)
		}
		time.Sleep(DefaultRetention + 2*time.Minute)
		synctest.Wait()
		if row, err := store.RunStore().Run(t.Context(), 0, runID(1)); row != nil || err != nil {
			t.Errorf("the run is still there, %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEngineListsQuarantinedRuns(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 3})
	for p := range events.Partition(3) {
		if err := store.RunStore().Write(t.Context(), p, runstore.Changes{PutQuarantined: []runstore.QuarantinedRun{
			{RunID: runID(int(p)), Reason: "a defect"}, {RunID: runID(int(p) + 100), Reason: "a defect"},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	e := engineOn(t, store)
	for limit, want := range map[int]int{1: 3, 10: 6} {
		if runs, err := e.Quarantined(t.Context(), limit); err != nil || len(runs) != want {
			t.Errorf("with limit %d: %v, %v", limit, runs, err)
		}
	}
}

func TestEngineEndsWhenTheJournalCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 2})
		e := engineOn(t, store)
		ended := make(chan error, 1)
		go func() { ended <- e.Run(t.Context()) }()
		synctest.Wait()
		store.Close()
		if err := <-ended; !errors.Is(err, journal.ErrClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestEngineStopsOnePartitionThatCannotGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 2})
		owner, err := store.Journal().Acquire(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := owner.Commit(t.Context(), journal.Step{Records: []*events.Record{{Header: events.Header{
			Epoch: owner.Epoch(), Seq: 1, Schema: events.Schema + 1,
		}}}}); err != nil {
			t.Fatal(err)
		}
		e := engineOn(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		synctest.Wait()
		health := e.Health()
		if health[0].State != Stopped || !strings.Contains(health[0].Reason, "upgrade") || health[1].State != Running {
			t.Errorf("health %+v", health)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEngineWaitsWhileTheClockIsInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{Partitions: 1})
		clock := clocktest.NewManual(begin)
		e, err := New(Deps{
			Log: store.Journal(), Runs: store.RunStore(), Archive: store.Archive(), Blobs: store.Blobs(),
			Clock: clock, Logger: slog.New(slog.DiscardHandler),
		}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		for i, mend := range []func(){func() { clock.Jump(-24 * time.Hour) }, e.AcceptClock} {
			synctest.Wait()
			clock.Jump(24 * time.Hour)
			clock.Advance(time.Second)
			done := send(t, store, start(i))
			synctest.Wait()
			h := e.Health()[0]
			if h.State != Paused || !strings.Contains(h.Reason, "jumped by 24h0m0s") {
				t.Errorf("health %+v", h)
			}
			mend()
			synctest.Wait()
			clock.Advance(2 * time.Second)
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// lateOwner lets time pass and a command arrive between the begin of a turn and its look into the mailbox.
type lateOwner struct {
	journal.Owner
	meanwhile func()
}

func (o lateOwner) Take(limit int) []events.Envelope {
	o.meanwhile()
	return o.Owner.Take(limit)
}

// TestTimerAskedForDuringATurnIsDue has a timer come due, and asked for, just when a turn has begun.
func TestTimerAskedForDuringATurnIsDue(t *testing.T) {
	t.Parallel()
	store, clock := memory.New(memory.Options{Partitions: 1}), clocktest.NewManual(begin)
	e, err := New(Deps{
		Log: store.Journal(), Runs: store.RunStore(), Archive: store.Archive(), Blobs: store.Blobs(),
		Clock: clock, Logger: slog.New(slog.DiscardHandler),
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Own(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	const limit = time.Second
	send(t, store, to(1, events.StartWorkflow{Type: "w", RunTimeout: limit}))
	if err := s.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.owner = lateOwner{s.owner, func() {
		clock.Advance(limit)
		send(t, store, to(1, events.FireTimer{Timer: events.TimerID{Kind: events.TimerRunTimeout}}))
	}}
	if err := s.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	records, _, err := store.Archive().History(t.Context(), 0, runID(1), 1, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(records...); !strings.HasSuffix(got, "RunTimedOut") {
		t.Fatalf("the timer was refused: %s", got)
	}
}

func TestNewRefusesMissingParts(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 1})
	whole := Deps{
		Log: store.Journal(), Runs: store.RunStore(), Archive: store.Archive(), Blobs: store.Blobs(), Clock: clocktest.NewManual(begin),
		Logger: slog.New(slog.DiscardHandler),
	}
	for name, change := range map[string]func(*Deps, *Options){
		"log": func(d *Deps, _ *Options) { d.Log = nil }, "runs": func(d *Deps, _ *Options) { d.Runs = nil },
		"archive": func(d *Deps, _ *Options) { d.Archive = nil }, "blobs": func(d *Deps, _ *Options) { d.Blobs = nil },
		"clock": func(d *Deps, _ *Options) { d.Clock = nil }, "logger": func(d *Deps, _ *Options) { d.Logger = nil },
		"batch": func(_ *Deps, o *Options) { o.Batch = -1 },
	} {
		d, o := whole, Options{}
		change(&d, &o)
		if _, err := New(d, o); err == nil {
			t.Errorf("an engine is made with a wrong %s", name)
		}
	}
}
