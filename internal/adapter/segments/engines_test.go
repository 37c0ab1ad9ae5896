package segments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
)

// recovery tells that a partition is recovered.
type recovery struct{ recovered chan events.Partition }

func (r recovery) Recovered(p events.Partition, _ int, _ time.Duration) { r.recovered <- p }
func (recovery) Turned(events.Partition, int, int, time.Duration)       {}
func (recovery) Committed(events.Partition, time.Duration)              {}

// engineProcess runs a real engine over a broker and objects until it is killed, which returns when nothing of it runs.
func engineProcess(t *testing.T, c *cluster) (kill func()) {
	t.Helper()
	log, objects := c.broker.Connect(), &faulty{Store: c.objects}
	logger := slog.New(slog.DiscardHandler)
	j, err := brokerjournal.Open(t.Context(), brokerjournal.Options{Log: log, Objects: objects, Clock: clock.Real(), Logger: logger, CheckpointEvery: 5 * time.Millisecond})
	check(t, err)
	s, err := Open(Options{
		Objects: objects, Clock: clock.Real(), Logger: logger, Log: j, Partitions: partitions, SegmentBytes: 10_000, TailBytes: 5_000, Directory: t.TempDir(),
	})
	check(t, err)
	o := recovery{make(chan events.Partition, 1_000)}
	e, err := engine.New(engine.Deps{
		Log: j, Runs: s.RunStore(), Archive: s.Archive(), Blobs: memory.New(memory.Options{}).Blobs(), Clock: clock.Real(), Logger: logger, Observer: o,
	}, engine.Options{FlushEvery: 10 * time.Millisecond})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	for range partitions {
		select {
		case <-o.recovered:
		case <-time.After(time.Minute):
			t.Fatal("the engine does not recover its partitions")
		}
	}
	return func() {
		objects.plan(1, false, true)
		log.Kill()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, journal.ErrClosed) {
			t.Errorf("the engine ended with %v", err)
		}
		check(t, s.Close())
		check(t, j.Close())
		check(t, log.Close())
	}
}

// TestEngines kills the engine under load, again and again. Every command that was durable is in the history of its run, once,
// as another process reads it; the log was trimmed meanwhile.
func TestEngines(t *testing.T) {
	t.Parallel()
	const lives, runs, each = 6, 40, 400
	c := newCluster(t, &memory.Objects{})
	j := c.journal(t)
	reader := openStore(t, c.objects, j, func(o *Options) { o.TailBytes = 10_000 })
	random := rand.New(rand.NewPCG(1, 1))
	id := func(n int) events.RunID { return events.MakeRunID(1_700_000_000_000, [10]byte{9: byte(n)}) }
	workflow := func(n int) events.WorkflowID { return events.WorkflowID(fmt.Sprintf("w-%d", n)) }
	sent, expected := uint64(0), map[events.SignalName]int{}
	send := func(n int, command events.Command) {
		sent++
		done := make(chan error, 1)
		check(t, j.Send(events.Envelope{
			Namespace: "default", WorkflowID: workflow(n), RunID: id(n), RequestID: events.RequestID(fmt.Sprintf("r-%d", sent)), Command: command,
		}, func(err error) { done <- err }))
		check(t, <-done)
	}
	for range lives {
		kill := engineProcess(t, c)
		if sent == 0 {
			for n := range runs {
				send(n, events.StartWorkflow{Type: "w"})
			}
		}
		for k := range each {
			n := random.IntN(runs)
			name := events.SignalName(fmt.Sprintf("s-%d", sent))
			expected[name] = n
			send(n, events.SignalWorkflow{Name: name})
			if k%100 == 0 { // while the engine works
				p := events.PartitionOf("default", workflow(n), partitions)
				if _, _, err := reader.Archive().History(t.Context(), p, id(n), 1, 0, 1<<20); err != nil && !errors.Is(err, archive.ErrNotFound) {
					t.Fatal(err)
				}
			}
		}
		kill()
	}
	var now []journal.Position
	for p := range events.Partition(partitions) {
		_, last := j.Bounds(p)
		now = append(now, journal.Position{Partition: p, Next: last + 1})
	}
	check(t, j.Hold("test", now))
	tail, err := j.Follow(t.Context(), now)
	check(t, err)
	defer tail.Close()
	stop := engineProcess(t, c)
	defer stop()
	for n := range runs {
		send(n, events.SignalWorkflow{Name: "last"})
	}
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for seen := 0; seen < runs; {
		records, err := tail.Next(patience, 1_000)
		check(t, err)
		for _, r := range records {
			for _, e := range r.Events {
				if s, is := e.(events.SignalReceived); is && s.Name == "last" {
					seen++
				}
			}
		}
	}
	for n := range runs {
		next := events.EventNumber(1)
		for from := next; from != 0; {
			var records []*events.Record
			records, from, err = reader.Archive().History(t.Context(), events.PartitionOf("default", workflow(n), partitions), id(n), from, 0, 2_000)
			check(t, err)
			for _, r := range records {
				if r.First != next {
					t.Fatalf("run %d: event %d is followed by %d", n, next-1, r.First)
				}
				next = r.Last() + 1
				for _, e := range r.Events {
					if s, is := e.(events.SignalReceived); is && s.Name != "last" {
						if of, ok := expected[s.Name]; !ok || of != n {
							t.Fatalf("run %d has signal %s, which was not sent to it or comes twice", n, s.Name)
						}
						delete(expected, s.Name)
					}
				}
			}
		}
	}
	if len(expected) > 0 {
		t.Errorf("%d signals are in no history", len(expected))
	}
	for _, at := range now {
		first, last := j.Bounds(at.Partition)
		v, _, err := reader.newest(t.Context(), at.Partition)
		check(t, err)
		if first == 1 || v.next < first { // how much was written depends on how the commands came together
			t.Errorf("partition %d begins at %d, has a manifest at %d and ends at %d: too little was written or trimmed", at.Partition, first, v.next, last)
		}
	}
}
