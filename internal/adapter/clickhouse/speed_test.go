package clickhouse

import (
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// load are the batches that a projector makes of runs of four tasks each, 16 events a run, in 16 partitions.
func load(batches, runs int) []readmodel.Batch {
	payload := events.Payload{Encoding: "json", Data: []byte(`{"customer":"c-4711","amount":"12.50","currency":"EUR","positions":[1,2,3,4]}`)}
	var seq [16]events.Seq
	numbers := map[int]events.EventNumber{}
	at := events.Time(time.Now().UnixMicro()) - events.Time(batches)*1_000_000
	record := func(b *projection.Batch, n int, evs ...events.Event) {
		p := events.Partition(n % 16)
		seq[p]++
		at++
		b.Add(&events.Record{Events: evs, Header: events.Header{
			Partition: p, Seq: seq[p], Time: at, Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("billing/customer-", n)),
			RunID: events.MakeRunID(1_790_000_000_000+int64(n), [10]byte{9: byte(n)}), First: numbers[n] + 1,
		}})
		numbers[n] += events.EventNumber(len(evs))
	}
	var out []readmodel.Batch
	for i := range batches {
		b := projection.Batch{Facts: projection.Facts{Events: true}}
		for n := i * runs; n < (i+1)*runs; n++ {
			record(&b, n, events.RunStarted{Type: "billing.Monthly", Queue: "q", Input: payload}, events.ActivationScheduled{Activation: 1, Attempt: 1})
			for step := events.Step(1); step <= 4; step++ {
				record(&b, n, events.ProgressMade{Activation: uint64(step), Attempt: 1}, events.TaskScheduled{Step: step, Name: "charge", Queue: "q", Input: payload},
					events.TaskCompleted{Step: step, Attempt: 1, Result: payload})
			}
			record(&b, n, events.ProgressMade{Activation: 5, Attempt: 1}, events.RunCompleted{Result: payload})
		}
		batch := readmodel.Batch{}
		batch.Rows, batch.Begun, batch.Deletes = b.Rows(nil)
		batch.Outcomes, batch.Events = b.Facts.Take()
		for p := range seq {
			batch.Positions = append(batch.Positions, readmodel.Position{Partition: events.Partition(p), Next: seq[p] + 1, Time: at})
		}
		out = append(out, batch)
	}
	return out
}

// BenchmarkApply writes runs of 16 events in batches of 10,000, 20,000 and 50,000 events.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{10_000, 20_000, 50_000} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			_, m := fresh(b)
			if _, err := m.Positions(b.Context()); err != nil {
				b.Fatal(err)
			}
			batches := load(b.N, size/16)
			server := clickhouse.Shared(b).Process()
			before, err := server.CPU()
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			b.ResetTimer()
			for _, batch := range batches {
				if err := m.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch.Events)
			}
			b.StopTimer()
			after, err := server.CPU()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric((after-before).Seconds()*1e6/float64(n), "server-µs/event")
		})
	}
}

// BenchmarkRows reads the rows of 1,000 of 200,000 runs, as a projector does for a batch: those that began last, and any.
func BenchmarkRows(b *testing.B) {
	_, m := fresh(b)
	now := events.TimeOf(time.Now())
	id := func(n int) events.RunID {
		return events.MakeRunID(int64(now)/1000+int64(n)*300, [10]byte{7: byte(n >> 16), 8: byte(n >> 8), 9: byte(n)})
	}
	const runs = 200_000
	for begin := 0; begin < runs; begin += 20_000 {
		var batch readmodel.Batch
		for n := begin; n < begin+20_000; n++ {
			batch.Rows = append(batch.Rows, row.Run{
				Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("billing/customer-", n)), RunID: id(n), Version: 3, Type: "billing.Monthly",
				Status: events.StatusRunning, Started: now.Add(time.Duration(n) * 300 * time.Millisecond), Signals: []row.SignalWait{{Name: "unsubscribed", Index: 1}},
			})
		}
		batch.Begun = len(batch.Rows)
		if err := m.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for _, of := range []struct {
		name string
		step int
	}{{"last", 1}, {"any", runs / 1000}} {
		b.Run(of.name, func(b *testing.B) {
			var ids []events.RunID
			for i := range 1000 {
				ids = append(ids, id(runs-1-i*of.step))
			}
			for b.Loop() {
				if rows, err := m.Rows(b.Context(), ids); err != nil || len(rows) != len(ids) {
					b.Fatal(len(rows), err)
				}
			}
		})
	}
}
