package brokerjournal_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// engine is a process that owns the partitions that come to it, and writes a record every now and then.
type engine struct {
	link    *memory.BrokerLog
	members *membership.Membership
	journal *brokerjournal.Journal

	mu   sync.Mutex
	owns map[events.Partition]uint64 // the epoch
	ends map[events.Partition]error  // why the last ownership ended
}

func (c *cluster) engine(ctx context.Context, t *testing.T) *engine {
	t.Helper()
	link := c.broker.Connect()
	members, err := membership.Join(ctx, membership.Options{
		Log: link, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Role: "engine", Every: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		members.Leave()
		_ = link.Close()
	})
	e := &engine{link: link, members: members, owns: map[events.Partition]uint64{}, ends: map[events.Partition]error{}}
	e.journal = open(t, link, &c.objects, func(o *brokerjournal.Options) { o.Members, o.GiveUpAfter = members, time.Second })
	var all sync.WaitGroup
	for p := range events.Partition(e.journal.Partitions()) {
		all.Go(func() { e.own(ctx, p) })
	}
	t.Cleanup(func() {
		_ = e.journal.Close()
		all.Wait()
	})
	return e
}

func (e *engine) own(ctx context.Context, p events.Partition) {
	for ctx.Err() == nil {
		o, err := e.journal.Acquire(ctx, p)
		if errors.Is(err, journal.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		e.note(func() { e.owns[p] = o.Epoch() })
		next := o.Last() + 1
		for err == nil {
			r := record(o, next, "x")
			r.Partition = p
			if err = o.Commit(ctx, journal.Step{Records: []*events.Record{r}}); err != nil {
				break
			}
			next++
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			if err = o.Wait(short); errors.Is(err, context.DeadlineExceeded) {
				err = nil
			}
			cancel()
		}
		o.Release()
		e.note(func() {
			delete(e.owns, p)
			e.ends[p] = err
		})
	}
}

func (e *engine) note(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// shared waits until each partition is owned by one of the engines, all of them own one, and their epochs are the newest.
func shared(ctx context.Context, t *testing.T, engines ...*engine) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		owners := map[events.Partition]int{}
		idle := 0
		for _, e := range engines {
			e.note(func() {
				for p := range e.owns {
					owners[p]++
				}
				if len(e.owns) == 0 {
					idle++
				}
			})
		}
		one := len(owners) == engines[0].journal.Partitions() && idle == 0
		for _, n := range owners {
			one = one && n == 1
		}
		if one {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("partitions are owned by so many: %v, and %d engines own none", owners, idle)
		}
	}
}

// TestPartitionsMoveBetweenProcesses: engines that come, leave and die share the partitions, and every log is whole.
func TestPartitionsMoveBetweenProcesses(t *testing.T) {
	t.Parallel()
	c := &cluster{broker: memory.NewBroker(memory.BrokerOptions{Partitions: 12})}
	ctx := bg(t)
	first := c.engine(ctx, t)
	shared(ctx, t, first)
	second := c.engine(ctx, t)
	shared(ctx, t, first, second)
	moved := 0
	first.note(func() {
		for p, err := range first.ends {
			if _, again := first.owns[p]; !again && errors.Is(err, journal.ErrMoved) {
				moved++
			}
		}
	})
	if moved == 0 {
		t.Errorf("no partition was given up in good order: %v", first.ends)
	}
	third := c.engine(ctx, t)
	shared(ctx, t, first, second, third)
	second.members.Leave()
	shared(ctx, t, first, third)
	first.link.Kill()
	shared(ctx, t, third)

	_, reading := c.process(t, nil)
	for p := range events.Partition(reading.Partitions()) {
		_, last := reading.Bounds(p)
		r, err := reading.Follow(ctx, []journal.Position{{Partition: p}})
		if err != nil {
			t.Fatal(err)
		}
		var epoch uint64
		for seq := events.Seq(1); seq <= last; {
			records, err := r.Next(ctx, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records {
				if record.Seq != seq || record.Epoch < epoch {
					t.Fatalf("record %d of epoch %d came where %d of epoch %d or above was due", record.Seq, record.Epoch, seq, epoch)
				}
				seq, epoch = seq+1, record.Epoch
			}
		}
		r.Close()
	}
}
