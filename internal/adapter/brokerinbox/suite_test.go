package brokerinbox_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/brokerinbox"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/inboxtest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is who is there, as a test says it.
type town struct {
	mu      sync.Mutex
	heard   uint64
	all     map[presence.Process]string // roles
	changed chan struct{}
}

func newTown() *town {
	return &town{heard: 100, all: map[presence.Process]string{}, changed: make(chan struct{})}
}

// set lets a process be there in a role, or not ("").
func (w *town) set(p presence.Process, role string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[p] = role; role == "" {
		delete(w.all, p)
	}
	w.heard += presence.Silence
	close(w.changed)
	w.changed = make(chan struct{})
}

type member struct {
	*town

	self presence.Process
}

func (m member) Self() presence.Process { return m.self }

func (m member) Everybody() (heard uint64, all []presence.Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, role := range m.all {
		all = append(all, presence.Member{Process: p, Role: role})
	}
	return m.heard, all
}

func (m member) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// end is one process of a test.
type end struct {
	*brokerinbox.Inbox

	link *memory.BrokerLog
	self presence.Process
}

func start(t testing.TB, b *memory.Broker, w *town, self presence.Process, role string, delivers bool) end {
	t.Helper()
	link := b.Connect()
	if role != "" {
		w.set(self, role)
	}
	i, err := brokerinbox.New(t.Context(), brokerinbox.Options{
		Log: link, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Members: member{w, self}, Delivers: delivers,
		ReturnTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.Close()
		_ = link.Close()
	})
	return end{i, link, self}
}

// settled is an inbox whose calls return when everything has been said and heard that follows from them.
type settled struct {
	t              testing.TB
	gate, delivers end
}

func (s settled) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		before, _ := s.gate.Settled(ctx)
		b, readB := s.delivers.Settled(ctx)
		a, readA := s.gate.Settled(ctx) // it may have had something to read since
		switch {
		case before && b && a:
			return
		case a && b:
			continue
		}
		select {
		case <-readA:
		case <-readB:
		case <-ctx.Done():
			s.t.Error("the inbox does not come to rest")
			return
		}
	}
}

func (s settled) Deliver(id events.SessionID, all []inbox.Delivery) error {
	defer s.settle()
	return s.delivers.Deliver(id, all)
}

func (s settled) Open(ctx context.Context, id events.SessionID) (inbox.Mailbox, error) {
	defer s.settle()
	m, err := s.gate.Open(ctx, id)
	return settledMailbox{m, s}, err
}

func (s settled) Report(r inbox.Report) error {
	defer s.settle()
	return s.gate.Report(r)
}

func (s settled) Reports(ctx context.Context) (inbox.Reports, error) {
	defer s.settle()
	return s.delivers.Reports(ctx)
}

type settledMailbox struct {
	inbox.Mailbox

	s settled
}

func (m settledMailbox) Take(limit int) []inbox.Delivery {
	defer m.s.settle()
	return m.Mailbox.Take(limit)
}

func (m settledMailbox) Close() {
	defer m.s.settle()
	m.Mailbox.Close()
}

func TestInbox(t *testing.T) {
	t.Parallel()
	t.Run("one connection", func(t *testing.T) {
		t.Parallel()
		inboxtest.Test(t, func(t *testing.T) inbox.Inbox {
			b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 3}), newTown()
			one := start(t, b, w, 1, "both", true)
			return settled{t, one, one}
		})
	})
	t.Run("two connections", func(t *testing.T) {
		t.Parallel()
		inboxtest.Test(t, func(t *testing.T) inbox.Inbox {
			b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 3}), newTown()
			return settled{t, start(t, b, w, 1, "some", false), start(t, b, w, 2, "scheduler", true)}
		})
	})
}
