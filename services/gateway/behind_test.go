package gateway

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// behind is a log of which this process has read so much.
type behind struct {
	journal.Follower

	last atomic.Uint64
}

func (b *behind) Bounds(events.Partition) (first, last events.Seq) {
	return 1, events.Seq(b.last.Load())
}

// TestDeliveryWaitsForItsRecord: a delivery may come before the record that it is of.
func TestDeliveryWaitsForItsRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &behind{}
		g := &Gateway{deps: Deps{Follower: log, Clock: clock.Real()}}
		log.last.Store(7)
		if err := g.awaitRecord(t.Context(), 0, 7); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- g.awaitRecord(t.Context(), 0, 9) }()
		synctest.Wait()
		log.last.Store(8)
		time.Sleep(time.Second)
		select {
		case err := <-waited:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		log.last.Store(9)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		if err := g.awaitRecord(t.Context(), 3, 10); err == nil || !strings.Contains(err.Error(), "record 10 of partition 3") {
			t.Fatalf("a record that does not come: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.awaitRecord(ctx, 0, 10); err == nil {
			t.Fatal("it waits although nobody wants it")
		}
	})
}
