package pebble

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// BenchmarkAppends measures commands that wait for their durable record, over 16 partitions: each is sent, taken by its
// owner, answered with a record of about 300 bytes, synced and done.
func BenchmarkAppends(b *testing.B) {
	for _, waiters := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var owners sync.WaitGroup
			for p := range events.Partition(16) {
				o, err := s.Journal().Acquire(ctx, p)
				if err != nil {
					b.Fatal(err)
				}
				owners.Go(func() { answerAll(ctx, b, o, p) })
			}
			before := s.Stats()
			b.ResetTimer()
			sendAll(b, s.Journal(), waiters)
			b.StopTimer()
			after := s.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(after.Records-before.Records)/float64(after.Syncs-before.Syncs), "records/sync")
			b.ReportMetric(1e3*(after.SyncSeconds-before.SyncSeconds)/float64(after.Syncs-before.Syncs), "ms/sync")
			stop()
			owners.Wait()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// sendAll lets that many goroutines send b.N commands in all, each waiting for one at a time.
func sendAll(b *testing.B, j journal.Journal, waiters int) {
	var all sync.WaitGroup
	for w := range waiters {
		count := b.N / waiters
		if w < b.N%waiters {
			count++
		}
		all.Go(func() {
			done := make(chan error, 1)
			for n := range count {
				command := events.Envelope{
					Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(fmt.Sprintf("%d-%d", w, n)), Command: events.SignalWorkflow{Name: "s"},
				}
				if err := j.Send(command, func(err error) { done <- err }); err != nil {
					b.Error(err)
					return
				}
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// answerAll writes one record for every command until ctx ends.
func answerAll(ctx context.Context, b *testing.B, o journal.Owner, p events.Partition) {
	next := o.Last()
	data := make([]byte, 180)
	for o.Wait(ctx) == nil {
		taken := o.Take(1000)
		records := make([]*events.Record, len(taken))
		for i := range taken {
			next++
			records[i] = &events.Record{
				Header: events.Header{
					Partition: p, Epoch: o.Epoch(), Owner: o.ID(), Seq: next, Confirmed: next - 1, Time: 1, Schema: events.Schema,
					Namespace: taken[i].Namespace, WorkflowID: taken[i].WorkflowID, RunID: runID(int(next)), First: 1,
				},
				Events:  []events.Event{events.SignalReceived{Name: "s", Index: 1, Input: events.Payload{Encoding: "json", Data: data}}},
				Answers: []events.Answer{{Code: events.OK, N: uint64(next)}},
			}
		}
		if err := o.Commit(context.WithoutCancel(ctx), journal.Step{Records: records, Consumed: len(taken)}); err != nil {
			b.Error(err)
			return
		}
	}
}

// BenchmarkFollow reads records from memory and from the store.
func BenchmarkFollow(b *testing.B) {
	for name, tail := range map[string]int{"memory": 64 << 20, "store": 1} {
		b.Run(name, func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{Partitions: 1, TailBytes: tail})
			if err != nil {
				b.Fatal(err)
			}
			o, err := s.Journal().Acquire(context.Background(), 0)
			if err != nil {
				b.Fatal(err)
			}
			records := signals(4000)
			for i, r := range records {
				r.Epoch, r.Seq = o.Epoch(), events.Seq(i+1)
			}
			if err := o.Commit(context.Background(), journal.Step{Records: records}); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for n := 0; n < b.N; {
				r, err := s.Journal().Follow(context.Background(), []journal.Position{{}})
				if err != nil {
					b.Fatal(err)
				}
				for {
					found, err := r.TryNext(500)
					if err != nil {
						b.Fatal(err)
					}
					if found == nil {
						break
					}
					n += len(found)
				}
				r.Close()
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDueIndex works off 100,000 items, each of a run of its own, that the memtables do not have any more, in the order of
// runs and so many a save: it looks up what ended runs have, and deletes it.
func BenchmarkDueIndex(b *testing.B) {
	const items = 100_000
	for _, perSave := range []int{1, 2, 4, 16, 500} {
		b.Run(fmt.Sprintf("deletes=%d", perSave), func(b *testing.B) {
			var looking, saving time.Duration
			for range b.N {
				b.StopTimer()
				s := backlog(b, items)
				index, runs := s.DueIndex(), make([]events.RunID, 0, perSave)
				b.StartTimer()
				for n := 0; n < items; {
					runs = runs[:0]
					for ; n < items && len(runs) < perSave; n++ {
						runs = append(runs, runID(n))
					}
					begun := time.Now()
					keys, err := index.OfRuns(b.Context(), 0, runs, len(runs)+1)
					if err != nil || len(keys) != len(runs) {
						b.Fatalf("%d runs have %d items (%v)", len(runs), len(keys), err)
					}
					found := time.Now()
					if err := index.Save(b.Context(), 0, events.Seq(n), nil, keys); err != nil {
						b.Fatal(err)
					}
					looking += found.Sub(begun)
					saving += time.Since(found)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(looking.Nanoseconds())/float64(b.N*items), "ns/run-found")
			b.ReportMetric(float64(saving.Nanoseconds())/float64(b.N*items), "ns/item-deleted")
		})
	}
}

// backlog returns a store with so many tasks, one a run, in its tables only.
func backlog(b *testing.B, items int) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; n < items; {
		var puts []dueindex.Item
		for ; n < items && len(puts) < 1000; n++ {
			puts = append(puts, dueindex.Item{
				Key: dueindex.Key{Kind: dueindex.KindTask, RunID: runID(n), Timer: events.TimerID{Step: 1}}, Due: events.Time(n), Body: make([]byte, 150),
			})
		}
		if err := s.DueIndex().Save(b.Context(), 0, events.Seq(n), puts, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	return s
}
