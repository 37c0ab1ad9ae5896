package engine

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// BenchmarkTurn is the cost of deciding a workflow of one task, in turns of a few workflows each: start, call, result and
// end. The log is in memory.
func BenchmarkTurn(b *testing.B) {
	d := newDriver(b)
	const batch = 16
	n := 0
	turn := func(commands []events.Envelope) {
		step, err := d.core.Turn(context.Background(), d.now, commands)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range step.Records {
			for _, a := range r.Answers {
				if a.Code != events.OK {
					b.Fatal(a)
				}
			}
		}
		step.Consumed = 0
		if err := d.owner.Commit(context.Background(), step); err != nil {
			b.Fatal(err)
		}
		if err := d.core.committed(context.Background(), step); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		var starts, calls, results, ends []events.Envelope
		for range batch {
			n++
			id := n % (1 << 16)
			env := func(c events.Command) events.Envelope {
				e := to(id, c)
				e.RunID[0], e.RunID[1] = byte(n>>24), byte(n>>16)
				d.n++
				e.Session, e.N = 7, d.n
				return e
			}
			starts = append(starts, env(events.StartWorkflow{Type: "w"}))
			calls = append(calls, env(events.ReportProgress{
				Activation: 1, Attempt: 1, Upto: 1, Intents: []events.Intent{events.ScheduleTask{Step: 1, Name: "task"}},
				Wait: events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}},
			}))
			results = append(results, env(events.CompleteTask{Step: 1, Attempt: 1, Result: events.Payload{Data: []byte("1")}}))
			ends = append(ends, env(events.ReportProgress{
				Activation: 2, Attempt: 1, Upto: 5, Intents: []events.Intent{events.CompleteRun{}},
			}))
		}
		turn(starts)
		turn(calls)
		turn(results)
		turn(ends)
		d.advance(1e6)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/workflow")
}

// BenchmarkRecent is the cost of remembering an answer, in partitions whose memories together are larger than the caches of
// a processor. One command in a thousand is repeated.
func BenchmarkRecent(b *testing.B) {
	partitions := make([]recent, 16)
	var n uint64
	b.ReportAllocs()
	for b.Loop() {
		n++
		r := &partitions[n%16]
		r.add(events.Answer{Session: 7, N: n / 16, Code: events.OK, RequestID: "request"})
		if n%1000 == 0 {
			if _, ok := r.find(stamp{7, n / 16}); !ok {
				b.Fatal("the newest is forgotten")
			}
		}
	}
}
