package sqlite

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// BenchmarkLoad writes what a projector writes under load: batches of runs with ids in the order of time, most of which began
// and ended in them; one of five is written open first. The result is processor time of a run.
func BenchmarkLoad(b *testing.B) {
	m := open(b, filepath.Join(b.TempDir(), "model.db"))
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not secret
	const size = 1000
	n := 0
	var open []row.Run
	began := processorTime(b)
	for b.Loop() {
		batch := readmodel.Batch{Positions: []readmodel.Position{{Partition: 1, Next: events.Seq(n + 1)}}}
		before := open
		open = nil
		for range size {
			n++
			var tail [10]byte
			for i := range tail {
				tail[i] = byte(random.Uint32())
			}
			r := row.Run{
				Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprintf("order-%08x-%d", random.Uint32(), n)),
				RunID: events.MakeRunID(1_700_000_000_000+int64(n/4), tail), Version: 4, Type: "bench.OneTask", Queue: "bench-1234", Partition: events.Partition(n % 16),
				Status: events.StatusRunning, Started: events.Time(1_700_000_000_000_000 + 250*n), TasksScheduled: 1,
			}
			if n%5 == 0 {
				r.Tasks = []row.Task{{Step: 1, Name: "Bench.Do", Queue: "bench-1234", Attempt: 1, Scheduled: r.Started}}
				open = append(open, r)
			} else {
				end(&r)
			}
			batch.Rows = append(batch.Rows, r)
		}
		batch.Begun = len(batch.Rows)
		for _, r := range before {
			end(&r)
			batch.Rows = append(batch.Rows, r)
		}
		if err := m.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((processorTime(b)-began)*1e6/float64(n), "cpu-µs/run")
}

// backlog makes a model of 100,000 open runs, each of which waits for a task.
func backlog(b *testing.B) (m *Model, runs []row.Run) {
	m = open(b, filepath.Join(b.TempDir(), "model.db"))
	for n := range 100_000 {
		started := events.Time(1_700_000_000_000_000 + 250*n)
		runs = append(runs, row.Run{
			Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprintf("order-%08x-%d", uint32(n)*2654435761, n)),
			RunID: events.MakeRunID(int64(started/1000), [10]byte{byte(n >> 8), byte(n)}), Version: 4, Type: "bench.OneTask", Queue: "bench-1234",
			Partition: events.Partition(n % 16), Status: events.StatusRunning, Started: started, TasksScheduled: 1,
			Tasks: []row.Task{{Step: 1, Name: "Bench.Do", Queue: "bench-1234", Attempt: 1, Scheduled: started}},
		})
	}
	for part := range slices.Chunk(runs, 5_000) {
		if err := m.Apply(b.Context(), readmodel.Batch{Rows: part, Begun: len(part)}); err != nil {
			b.Fatal(err)
		}
	}
	return m, runs
}

// window is how many runs of a backlog a batch has.
const window = 3_000

// BenchmarkRows reads what a batch builds upon: many runs of a backlog that began one after the other, or any, in no order; or
// one run.
func BenchmarkRows(b *testing.B) {
	m, runs := backlog(b)
	for _, of := range []struct {
		name       string
		size, span int
	}{{"next", window, window}, {"any", window, len(runs)}, {"one", 1, 1}} {
		b.Run(of.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not secret
			var batches [][]events.RunID
			for range 30 {
				first := random.IntN(len(runs) - of.span + 1)
				var ids []events.RunID
				for _, i := range random.Perm(of.span)[:of.size] {
					ids = append(ids, runs[first+i].RunID)
				}
				batches = append(batches, ids)
			}
			b.ReportAllocs()
			began, n := processorTime(b), 0
			for b.Loop() {
				if got, err := m.Rows(b.Context(), batches[n%len(batches)]); err != nil || len(got) != of.size {
					b.Fatalf("%d rows (%v)", len(got), err)
				}
				n++
			}
			b.ReportMetric((processorTime(b)-began)*1e6/float64(n*of.size), "cpu-µs/run")
		})
	}
}

// BenchmarkEnd writes batches that end runs of a backlog. When all have ended they end once more, otherwise.
func BenchmarkEnd(b *testing.B) {
	m, runs := backlog(b)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not secret
	status := []events.Status{events.StatusCompleted, events.StatusFailed}
	b.ReportAllocs()
	var took float64
	n := 0
	for b.Loop() {
		b.StopTimer()
		round, first := n/(len(runs)/window), n%(len(runs)/window)*window
		batch := readmodel.Batch{Positions: []readmodel.Position{{Partition: 1, Next: events.Seq(n + 1)}}}
		for _, i := range random.Perm(window) {
			r := runs[first+i]
			end(&r)
			r.Version, r.Status = events.EventNumber(10+round), status[round%2]
			batch.Rows = append(batch.Rows, r)
		}
		began := processorTime(b)
		b.StartTimer()
		if err := m.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		took += processorTime(b) - began
		n++
	}
	b.ReportMetric(took*1e6/float64(n*window), "cpu-µs/run")
}

func end(r *row.Run) {
	r.Status, r.Ended, r.Version, r.Tasks = events.StatusCompleted, r.Started+60_000, 9, nil
	r.Result = events.Payload{Encoding: "json", Data: []byte(`"done 1234"`)}
}

func processorTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
