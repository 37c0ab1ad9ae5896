package projector

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// twice is a model with another beside it.
type twice struct {
	*counting

	mu           sync.Mutex
	asked, done  uint64
	breaks       int // exchanges that fail
	before, with []readmodel.Position
}

func (m *twice) AskRebuild(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return nil
}

func (m *twice) RebuildAsked(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done >= m.asked {
		return 0, nil
	}
	return m.asked, nil
}

func (m *twice) Beside(context.Context) (readmodel.Model, error) { return memory.NewReadModel(), nil }

func (m *twice) Exchange(ctx context.Context, with readmodel.Model, wish uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.breaks--; m.breaks >= 0 {
		return errors.New("it breaks")
	}
	m.before, _ = m.Positions(ctx)
	m.with, _ = with.Positions(ctx)
	m.Model, m.done = with, wish
	return nil
}

func (m *twice) fulfilled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done == m.asked
}

func TestAModelIsBuiltAnewBesideTheOneThatAnswers(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.stop()
		model := &twice{counting: l.model, breaks: 1}
		deps := l.deps(clocktest.Bubble())
		deps.Model = model
		p := New(deps, Options{})
		ctx, cancel := context.WithCancel(l.t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		for n := range 40 {
			l.record(n, started())
		}
		pass(time.Second)
		if err := l.store.Journal().Trim(0, 30); err != nil {
			t.Fatal(err)
		}
		l.record(41, started())
		pass(time.Second)
		// A run that is lost, and one that never was.
		if err := l.model.Apply(ctx, readmodel.Batch{Deletes: []events.RunID{runOf(3)}}); err != nil {
			t.Fatal(err)
		}
		if err := model.AskRebuild(ctx); err != nil {
			t.Fatal(err)
		}
		for n := 50; n < 150; n++ { // while it is built
			l.record(n, started())
			pass(100 * time.Millisecond)
		}
		pass(20 * time.Second)
		if !model.fulfilled() {
			t.Fatalf("the model was not built anew: %s", l.logged.String())
		}
		if model.with[0].Next < model.before[0].Next {
			t.Errorf("it is exchanged at %+v for one at %+v", model.before, model.with)
		}
		if !strings.Contains(l.logged.String(), "it breaks") {
			t.Error("an exchange that breaks off is not logged")
		}
		l.want("the model", strings.Join(l.audit(), "\n"), "")
		l.record(151, started())
		pass(time.Second)
		l.want("it goes on", l.status(151), "running")
		if got := p.Stats().Rebuilds; got != 1 {
			t.Errorf("%d rebuilds are counted", got)
		}
		if held, err := l.store.Journal().Holds(RenewalHolder); err != nil || len(held) > 0 {
			t.Errorf("the log is still held: %v, %v", held, err)
		}
		if err := l.store.Journal().Hold(RenewalHolder, []journal.Position{{Next: 40}}); err != nil { // as a crash leaves it
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(l.t.Context())
		go func() { done <- New(deps, Options{}).Run(ctx) }()
		pass(time.Second)
		if held, err := l.store.Journal().Holds(RenewalHolder); err != nil || len(held) > 0 {
			t.Errorf("the log is held for ever: %v, %v", held, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.start(clocktest.Bubble())
	})
}

// late knows where the log begins only after somebody wanted to hold it, as when another process trims.
type late struct {
	journal.Follower

	looked bool
}

func (f *late) Bounds(p events.Partition) (first, last events.Seq) {
	if first, last = f.Follower.Bounds(p); !f.looked {
		first = 1
	}
	return first, last
}

func (f *late) Hold(reader string, at []journal.Position) error {
	f.looked = true
	return f.Follower.Hold(reader, at)
}

func TestTheLogBeginsLaterThanWasKnown(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for n := range 20 {
			l.record(n, started())
		}
		pass(time.Second)
		l.stop()
		if err := l.store.Journal().Trim(0, 15); err != nil {
			t.Fatal(err)
		}
		l.record(21, started())
		if first, _ := l.store.Journal().Bounds(0); first != 15 {
			t.Fatalf("the log begins at %d", first)
		}
		if err := l.model.Reset(l.t.Context()); err != nil {
			t.Fatal(err)
		}
		deps := l.deps(clocktest.Bubble())
		deps.Log = &late{Follower: deps.Log}
		ctx, cancel := context.WithCancel(l.t.Context())
		done := make(chan error, 1)
		go func() { done <- New(deps, Options{}).Run(ctx) }()
		pass(time.Second)
		l.want("a run of the archive", l.status(1), "running")
		l.want("a run of the log", l.status(21), "running")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.start(clocktest.Bubble())
	})
}
