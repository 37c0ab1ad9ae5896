package sqlite

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
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
