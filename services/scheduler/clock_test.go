package scheduler

import (
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/pkg/events"
)

// TestClockThatJumpsBack: a timer that was asked for too early, because the wall clock was ahead for a while, is asked for
// when it is due.
func TestClockThatJumpsBack(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 1})
	s := New(Deps{Log: store.Journal(), Commands: store.Journal(), Index: store.DueIndex(), Partitions: []events.Partition{0}}, Options{})
	if _, err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := events.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	due := begin.Add(30 * time.Second)
	var asked []Query
	fires := func(now events.Time, records ...*events.Record) int {
		in := Input{Now: now, Records: records, Fires: 10}
		for _, q := range asked {
			in.Found = append(in.Found, Found{Query: q}) // the index has nothing
		}
		out, err := s.Turn(in)
		asked = out.Queries
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Commands)
	}
	armed := &events.Record{
		Header: events.Header{Seq: 1, Time: begin, Namespace: "default", WorkflowID: "w", RunID: events.MakeRunID(1, [10]byte{}), First: 1},
		Events: []events.Event{events.TimerStarted{Step: 1, Due: due}},
	}
	if n := fires(begin, armed); n != 0 {
		t.Fatalf("%d timers fire before anything is due", n)
	}
	if n := fires(begin.Add(time.Hour)); n != 1 {
		t.Fatalf("%d timers fire while the clock is an hour ahead, one is due by it", n)
	}
	if n := fires(begin.Add(10 * time.Second)); n != 0 {
		t.Errorf("%d timers fire when the clock is right again and nothing is due", n)
	}
	if n := fires(due); n != 1 {
		t.Errorf("%d timers fire at the time of the one that was asked for too early", n)
	}
}
