package brokerjournal_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/journaltest"
	"github.com/continuo-dev/continuo/internal/objectstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const clientLimit = 20

func open(t *testing.T, log brokerlog.Log, objects objectstore.Store, change func(*brokerjournal.Options)) *brokerjournal.Journal {
	t.Helper()
	o := brokerjournal.Options{
		Log: log, Objects: objects, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), ClientLimit: clientLimit,
		GiveUpAfter: 20 * time.Second, CheckpointEvery: time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := brokerjournal.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// TestJournal runs the suite with everything in memory, and with so little of it that nearly all reading is of the past.
func TestJournal(t *testing.T) {
	t.Parallel()
	for name, recent := range map[string]int{"recent": 0, "past": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journaltest.Test(t, brokerjournal.Features, func(t *testing.T) journaltest.Fixture {
				broker, objects := memory.NewBroker(memory.BrokerOptions{Partitions: 4}), &memory.Objects{}
				connect := func(t *testing.T) *memory.BrokerLog {
					t.Helper()
					l := broker.Connect()
					t.Cleanup(func() { _ = l.Close() })
					return l
				}
				few := func(o *brokerjournal.Options) { o.RecentBytes = recent }
				log := connect(t)
				j := open(t, log, objects, few)
				return journaltest.Fixture{
					Journal: j, ClientLimit: clientLimit,
					Close: func() { _ = j.Close() },
					Crash: func(t *testing.T) journal.Journal {
						log.Kill()
						return open(t, connect(t), objects, few)
					},
				}
			})
		})
	}
}
