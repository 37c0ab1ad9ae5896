package projector

import (
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/pkg/events"
)

// TestClockThatJumpsBack: what was read while the wall clock was ahead is written soon after it was set right.
func TestClockThatJumpsBack(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 1})
	p := New(Deps{Log: store.Journal(), Model: memory.NewReadModel(), Partitions: []events.Partition{0}}, Options{})
	begin := events.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	r := &events.Record{Header: events.Header{Seq: 1, Time: begin, RunID: events.MakeRunID(1, [10]byte{}), First: 1}, Events: []events.Event{events.RunStarted{}}}
	p.Turn(Input{Now: begin.Add(time.Hour), Records: []*events.Record{r}})
	if out := p.Turn(Input{Now: begin}); out.Write || out.Wake > begin.Add(time.Second) {
		t.Errorf("a batch that was begun in what is now the future: %+v at %d", out, begin)
	}
	if out := p.Turn(Input{Now: begin.Add(time.Second)}); !out.Write {
		t.Error("a batch is not written after its delay, because the clock was ahead when it began")
	}
}
