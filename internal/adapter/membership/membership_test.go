package membership_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 16

// process is a member with its own link to the broker.
type process struct {
	*membership.Membership

	link *memory.BrokerLog
}

func join(t *testing.T, b *memory.Broker, role string) process {
	return joinAt(t, b, role, clock.Real())
}

func joinAt(t *testing.T, b *memory.Broker, role string, at clock.Clock) process {
	t.Helper()
	link := b.Connect()
	m, err := membership.Join(bg(t), membership.Options{
		Log: link, Clock: at, Logger: slog.New(slog.DiscardHandler), Role: role, Name: t.Name(), Every: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Leave()
		_ = link.Close()
	})
	return process{m, link}
}

func bg(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// own takes all partitions that come to a process, and gives away those that are to move, until ctx ends.
func own(ctx context.Context, m process, owned chan<- events.Partition) {
	for p := range events.Partition(partitions) {
		go func() {
			for m.Await(ctx, p) == nil {
				m.Begin(p)
				select {
				case owned <- p:
				case <-ctx.Done():
				}
				m.Lost(ctx, p)
				m.End(p)
			}
		}()
	}
}

// takes waits until a process has taken n partitions.
func takes(t *testing.T, owned <-chan events.Partition, n int) map[events.Partition]bool {
	t.Helper()
	ctx, all := bg(t), map[events.Partition]bool{}
	for len(all) < n {
		select {
		case p := <-owned:
			all[p] = true
		case <-ctx.Done():
			t.Fatalf("it has taken %d of %d partitions", len(all), n)
		}
	}
	return all
}

// until waits until a process takes n to be present.
func until(t *testing.T, m process, n int) {
	t.Helper()
	for ctx := bg(t); ; {
		changed := m.Changed()
		if len(m.Present()) == n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d are present, want %d", len(m.Present()), n)
		}
	}
}

func TestPartitionsMove(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Partitions: 4})
	ctx := bg(t)
	first := join(t, b, "engine")
	join(t, b, "scheduler") // has no part in it
	ownedFirst := make(chan events.Partition, 100)
	own(ctx, first, ownedFirst)
	takes(t, ownedFirst, partitions)

	second := join(t, b, "engine")
	ownedSecond := make(chan events.Partition, 100)
	own(ctx, second, ownedSecond)
	takes(t, ownedSecond, 1)

	third := join(t, b, "engine")
	own(ctx, third, make(chan events.Partition, 100))
	for _, m := range []process{first, second, third} {
		until(t, m, 3)
	}
	second.Leave()
	if err := second.Await(ctx, 0); !errors.Is(err, membership.ErrLeft) {
		t.Errorf("one that left waits: %v", err)
	}
	third.link.Kill()
	takes(t, ownedFirst, 1)
	until(t, first, 1)
	for p := range events.Partition(partitions) {
		if err := first.Await(ctx, p); err != nil {
			t.Fatalf("partition %d does not come to the last one: %v", p, err)
		}
	}
}

// TestCutOff: whoever is cut off does not think that the others are gone.
func TestCutOff(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Partitions: 1})
	a, c := join(t, b, "engine"), join(t, b, "engine")
	until(t, a, 2)
	until(t, c, 2)
	a.link.Cut()
	until(t, c, 1)
	until(t, a, 2)
	a.link.Heal()
	until(t, c, 2)
	until(t, a, 2)
}

// wrong is a clock that somebody has set wrong.
type wrong struct {
	clock.Clock

	by time.Duration
}

func (w wrong) Now() time.Time { return w.Clock.Now().Add(w.by) }

// Who comes with a clock that is not that of the others has to go, and they stay.
func TestAWrongClockIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		by   time.Duration
		says string
	}{"ahead": {time.Hour, "ahead of"}, "behind": {-time.Hour, "behind"}, "right": {time.Second, ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := memory.NewBroker(memory.BrokerOptions{Partitions: partitions})
			first := join(t, b, "engine")
			owned := make(chan events.Partition, partitions)
			go own(t.Context(), first, owned)
			takes(t, owned, partitions)
			stays, cancel := context.WithCancel(bg(t))
			stayed := make(chan error, 1)
			go func() { stayed <- first.Watch(stays) }()
			late := joinAt(t, b, "scheduler", wrong{clock.Real(), test.by})
			if test.says == "" {
				for heard, _ := late.Everybody(); heard < 10; heard, _ = late.Everybody() {
					<-late.Changed()
				}
				cancel()
			}
			switch err := late.Watch(stays); {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says+" that of engine ")):
				t.Errorf("it says %v", err)
			}
			cancel()
			if err := <-stayed; err != nil {
				t.Errorf("who was there before has to go: %v", err)
			}
		})
	}
}

// What a process that stands aside works on goes to the others as it ends, before it has left.
func TestWhoStandsAsideGivesAllAway(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Partitions: partitions})
	ctx, cancel := context.WithCancel(bg(t))
	defer cancel()
	first, second := join(t, b, "engine"), join(t, b, "engine")
	firsts, seconds := make(chan events.Partition, 10*partitions), make(chan events.Partition, 10*partitions)
	go own(ctx, first, firsts)
	go own(ctx, second, seconds)
	for mine := map[events.Partition]bool{}; len(mine) == 0 || len(mine) == partitions; {
		select { // until they are shared
		case p := <-firsts:
			mine[p] = true
		case p := <-seconds:
			delete(mine, p)
		case <-ctx.Done():
			t.Fatal("nobody owns anything")
		}
	}
	first.StandAside()
	took := map[events.Partition]bool{}
	for len(took) < partitions {
		select {
		case p := <-seconds:
			took[p] = true
		case <-first.Changed():
			for _, m := range second.Present() {
				if m.Process == second.Self() {
					for _, p := range m.Works {
						took[p] = true
					}
				}
			}
		case <-ctx.Done():
			t.Fatalf("the other one has %d of %d partitions", len(took), partitions)
		}
	}
}
