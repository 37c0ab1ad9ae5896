package projector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/adapter/sqlite"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a projector over memory with a log that the test writes itself.
type lab struct {
	t       *testing.T
	store   *memory.Store
	owner   journal.Owner
	last    events.Seq
	numbers map[events.RunID]events.EventNumber
	model   *counting
	archive archive.Archive
	p       *Projector
	logged  bytes.Buffer
	stop    func()
}

// counting counts the writes of a model and fails on request.
type counting struct {
	readmodel.Model
	applies int
	asked   int // rows
	fail    func() error
	damaged atomic.Bool
	away    atomic.Bool
}

// Positions reports damage, as a model does after a query has found some.
func (c *counting) Positions(ctx context.Context) ([]readmodel.Position, error) {
	if c.away.Load() {
		return nil, readmodel.ErrUnavailable
	}
	if c.damaged.Load() {
		return nil, readmodel.ErrDamaged
	}
	return c.Model.Positions(ctx)
}

func (c *counting) Reset(ctx context.Context) error {
	c.damaged.Store(false)
	return c.Model.Reset(ctx)
}

func (c *counting) Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error) {
	c.asked += len(runs)
	return c.Model.Rows(ctx, runs)
}

func (c *counting) Apply(ctx context.Context, b readmodel.Batch) error {
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return err
		}
	}
	c.applies++
	return c.Model.Apply(ctx, b)
}

func inLab(t *testing.T, test func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start(clocktest.Bubble())
		test(l)
		l.stop()
		l.store.Close()
	})
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, store: memory.New(memory.Options{Partitions: 1}), numbers: map[events.RunID]events.EventNumber{}}
	l.model, l.archive = &counting{Model: memory.NewReadModel()}, l.store.Archive()
	var err error
	if l.owner, err = l.store.Journal().Acquire(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) start(c clock.Clock) {
	l.p = New(l.deps(c), Options{})
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	p := l.p
	go func() { done <- p.Run(ctx) }()
	l.stop = func() {
		l.t.Helper()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("the projector ended with %v", err)
		}
	}
}

func (l *lab) deps(c clock.Clock) Deps {
	return Deps{
		Log: l.store.Journal(), Model: l.model, Archive: l.archive, Clock: c, Partitions: []events.Partition{0},
		Logger: slog.New(slog.NewTextHandler(&l.logged, nil)),
	}
}

func runOf(n int) events.RunID { return events.RunID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func (l *lab) record(n int, evs ...events.Event) {
	l.t.Helper()
	l.last++
	run := runOf(n)
	if l.numbers[run] == 0 {
		l.numbers[run] = 1
	}
	r := &events.Record{Events: evs, Header: events.Header{
		Epoch: l.owner.Epoch(), Owner: l.owner.ID(), Seq: l.last, Time: events.TimeOf(time.Now()), Schema: events.Schema,
		Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("wf-", n)), RunID: run, First: l.numbers[run],
	}}
	l.numbers[run] += events.EventNumber(len(evs))
	if err := l.owner.Commit(l.t.Context(), journal.Step{Records: []*events.Record{r}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) status(n int) string {
	l.t.Helper()
	r, err := l.model.Run(l.t.Context(), "default", events.WorkflowID(fmt.Sprint("wf-", n)), events.RunID{})
	if errors.Is(err, readmodel.ErrNotFound) {
		return "not found"
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Status.String()
}

func (l *lab) want(what, got, want string) {
	l.t.Helper()
	if got != want {
		l.t.Fatalf("%s: %s, want %s", what, got, want)
	}
}

func started() events.Event { return events.RunStarted{Type: "T", Queue: "q"} }

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestItGoesOnWhereTheModelIs(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for i := range 30 {
			l.record(i%4, []events.Event{started(), events.ViewSet{Name: "v"}, events.SignalReceived{Name: "s", Index: 1}}[min(i/4, 2)])
			if i%5 == 0 {
				l.stop() // writes what it has read
				l.start(clocktest.Bubble())
			}
		}
		pass(250 * time.Millisecond)
		for n := range 4 {
			r, err := l.model.Run(l.t.Context(), "default", events.WorkflowID(fmt.Sprint("wf-", n)), runOf(n))
			if err != nil || r.Version != l.numbers[runOf(n)]-1 || r.Unread != uint64(r.Version)-2 {
				t.Errorf("run %d: %+v (%v), want version %d", n, r, err, l.numbers[runOf(n)]-1)
			}
		}
	})
}

// What came while there was no projector is in the model afterwards, also what no later record of its run points to.
func TestItGoesOnWithTheRecordAfterTheModels(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started())
		l.record(2, started())
		pass(250 * time.Millisecond)
		l.stop()
		l.record(1, events.RunCompleted{})
		l.record(2, events.RunCompleted{})
		l.start(clocktest.Bubble())
		pass(250 * time.Millisecond)
		l.want("the first after the restart", l.status(1), "completed")
		l.want("the second", l.status(2), "completed")
	})
}

func TestAModelThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		var full atomic.Bool
		full.Store(true)
		l.model.fail = func() error {
			if full.Load() {
				return errors.New("disk full")
			}
			return nil
		}
		l.record(1, started())
		pass(10 * time.Second)
		l.want("while it cannot be written", l.status(1), "not found")
		full.Store(false)
		pass(30 * time.Second)
		l.want("afterwards", l.status(1), "running")
		if !strings.Contains(l.logged.String(), "disk full") {
			t.Error("nothing was logged")
		}
	})
}

// A model in another process may be absent when the projector begins.
func TestAModelThatIsAwayAtTheBeginningIsWaitedFor(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.stop()
		l.model.away.Store(true)
		l.start(clocktest.Bubble())
		l.record(1, started())
		pass(time.Minute)
		l.want("while it is away", l.status(1), "not found")
		l.model.away.Store(false)
		pass(31 * time.Second)
		l.want("afterwards", l.status(1), "running")
	})
}

func TestADamagedModelIsBuiltAnewFromTheArchive(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for i := range 300 {
			l.record(i, started(), events.ViewSet{Name: "v"})
		}
		l.record(5, events.RunPurged{})
		l.record(6, events.RunCompleted{})
		pass(250 * time.Millisecond)
		before := l.rows()
		if err := l.store.Journal().Trim(0, l.last); err != nil {
			t.Fatal(err)
		}
		if err := l.store.Archive().Forget(l.t.Context(), 0, runOf(5)); err != nil {
			t.Fatal(err)
		}
		damaged := true
		l.model.fail = func() error {
			if damaged {
				damaged = false
				return fmt.Errorf("page 7: %w", readmodel.ErrDamaged)
			}
			return nil
		}
		l.record(7, events.RunFailed{})
		pass(time.Second)
		l.want("what came last", l.status(7), "failed")
		l.want("ended long ago", l.status(6), "completed")
		l.want("purged", l.status(5), "not found")
		if after := l.rows(); after != before {
			t.Errorf("%d rows after, %d before", after, before)
		}
		if s := l.p.Stats(); s.Rebuilds != 1 || s.Partitions[0].LagRecords != 0 || !strings.Contains(l.logged.String(), "built anew") {
			t.Errorf("%+v, log: %s", s, l.logged.String())
		}
	})
}

// TestDamageThatAQueryHasFoundIsRepaired shows it while there is nothing to write.
func TestDamageThatAQueryHasFoundIsRepaired(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started())
		pass(250 * time.Millisecond)
		l.model.damaged.Store(true)
		pass(2 * time.Second)
		l.want("the run", l.status(1), "running")
		if s := l.p.Stats(); s.Rebuilds != 1 {
			t.Errorf("%d rebuilds, want 1", s.Rebuilds)
		}
	})
}

func (l *lab) rows() (n int64) {
	counts, err := l.model.Count(l.t.Context(), readmodel.Filter{})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, c := range counts {
		n += c.Runs
	}
	return n
}

// unlisted is an archive that cannot say which runs it has.
type unlisted struct{ archive.Archive }

func TestHistoryIsFetchedForRunsTheLogBeginsInTheMiddleOf(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started(), events.SignalReceived{Name: "s", Index: 1})
		l.record(2, started())
		pass(250 * time.Millisecond)
		if err := l.store.Journal().Trim(0, l.last+1); err != nil {
			t.Fatal(err)
		}
		l.stop()
		l.model.Model, l.archive = memory.NewReadModel(), unlisted{l.store.Archive()}
		l.start(clocktest.Bubble())
		l.record(1, events.SignalReceived{Name: "s", Index: 2})
		pass(250 * time.Millisecond)
		r, err := l.model.Run(l.t.Context(), "default", "wf-1", runOf(1))
		if err != nil || r.Type != "T" || r.Unread != 2 || r.Version != 3 {
			t.Errorf("%+v (%v)", r, err)
		}
		if !strings.Contains(l.logged.String(), "cannot list runs") {
			t.Errorf("log: %s", l.logged.String())
		}
	})
}

func TestAModelAheadOfTheLogIsDropped(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started())
		pass(time.Second)
		l.stop()
		if err := l.model.Apply(l.t.Context(), readmodel.Batch{Positions: []readmodel.Position{{Next: 1000}}}); err != nil {
			t.Fatal(err)
		}
		l.start(clocktest.Bubble())
		pass(time.Second)
		l.want("status", l.status(1), "running")
		if s := l.p.Stats(); s.Rebuilds != 1 || s.Partitions[0].Next != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSQLiteAndMemoryGetTheSameRows(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	inMemory := l.model.Model
	for i := range 200 {
		l.record(i%20, []events.Event{started(), events.ViewSet{Name: "v"}, events.TaskScheduled{Step: 1, Name: "a"}, events.RunCompleted{}}[min(i/20, 3)])
	}
	file, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "model.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range []readmodel.Model{inMemory, file} {
		l.model.Model = model
		l.start(clock.Real())
		l.p.Nudge()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := model.WaitFor(ctx, 0, l.last); err != nil {
			t.Error(err)
		}
		cancel()
		l.stop()
	}
	for n := range 20 {
		want, err := inMemory.Rows(t.Context(), []events.RunID{runOf(n)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := file.Rows(t.Context(), []events.RunID{runOf(n)})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("run %d: %+v (%v), want %+v", n, got, err, want)
		}
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	l.store.Close()
}

// A rebuild that is stopped leaves rows of whole histories and no positions. The next start builds the rest.
func TestARebuildThatIsStoppedIsDoneAgain(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]func(t *testing.T) readmodel.Model{
		"memory": func(*testing.T) readmodel.Model { return memory.NewReadModel() },
		"sqlite": func(t *testing.T) readmodel.Model {
			m, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "model.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() })
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			defer l.store.Close()
			for i := range 450 {
				l.record(i, started(), events.SignalReceived{Name: "s", Index: 1})
			}
			if err := l.store.Journal().Trim(0, l.last); err != nil {
				t.Fatal(err)
			}
			l.model.Model = model(t)
			ctx, cancel := context.WithCancel(t.Context())
			l.model.fail = func() error {
				if l.model.applies == 2 {
					cancel()
					return ctx.Err()
				}
				return nil
			}
			p := New(l.deps(clock.Real()), Options{})
			if err := p.Run(ctx); err != nil {
				t.Fatal(err)
			}
			positions, err := l.model.Positions(t.Context())
			if err != nil || len(positions) != 0 || l.rows() == 0 || l.rows() == 450 {
				t.Fatalf("positions %v, %d rows (%v): the rebuild was not stopped in the middle", positions, l.rows(), err)
			}
			l.model.fail = nil
			l.start(clock.Real())
			if err := l.model.WaitFor(t.Context(), 0, l.last); err != nil {
				t.Fatal(err)
			}
			l.stop()
			for _, n := range []int{0, 1, 449} {
				r, err := l.model.Run(t.Context(), "default", events.WorkflowID(fmt.Sprint("wf-", n)), runOf(n))
				if err != nil || r.Version != 2 || r.Unread != 1 {
					t.Errorf("run %d: %+v (%v)", n, r, err)
				}
			}
			if l.rows() != 450 {
				t.Errorf("%d rows", l.rows())
			}
		})
	}
}

// A rebuild writes by size, too, so that large rows are not all in memory.
func TestARebuildIsWrittenInParts(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for i := range 100 {
			l.record(i, started(), events.ViewSet{Name: "v", Value: events.Payload{Data: make([]byte, 10<<10)}})
		}
		pass(time.Second)
		if err := l.store.Journal().Trim(0, l.last); err != nil {
			t.Fatal(err)
		}
		l.stop()
		l.model.Model, l.model.applies = memory.NewReadModel(), 0
		p := New(l.deps(clocktest.Bubble()), Options{Bytes: 100 << 10})
		reader, err := p.follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		if l.model.applies < 10 || l.model.applies > 13 || l.rows() != 100 {
			t.Errorf("%d rows in %d writes", l.rows(), l.model.applies)
		}
		l.start(clocktest.Bubble())
	})
}

// The lag is the age of what the model lacks: nothing while it has everything, however long ago that was.
func TestLagIsTheAgeOfWhatTheModelLacks(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		lag := func() time.Duration {
			stats := l.p.Stats()
			return stats.Lag()
		}
		l.record(1, started())
		pass(time.Second)
		l.want("a model that has everything", lag().String(), "0s")
		pass(time.Hour)
		l.record(2, started())
		if got := lag(); got > lookEvery {
			t.Errorf("a record of now is %s old", got)
		}
		pass(time.Second)
		var away atomic.Bool
		away.Store(true)
		l.model.fail = func() error {
			if away.Load() {
				return readmodel.ErrUnavailable
			}
			return nil
		}
		l.record(3, started())
		pass(10 * time.Minute)
		l.want("a store that is away", lag().String(), "10m0s")
		l.want("trouble", l.p.Stats().Trouble, readmodel.ErrUnavailable.Error())
		away.Store(false)
		pass(time.Minute)
		l.want("a store that is back", lag().String()+l.p.Stats().Trouble, "0s")
	})
}
