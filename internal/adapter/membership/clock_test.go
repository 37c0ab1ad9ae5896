package membership_test

import (
	"context"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Who was there before is told by beats: a process that comes and takes many partitions has soon said more than one that has stood
// by for long.
func TestWhoSaysMoreWasNotThereBefore(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Partitions: partitions})
	first := join(t, b, "scheduler")
	for heard, _ := first.Everybody(); heard < 2*presence.Settled; heard, _ = first.Everybody() {
		<-first.Changed()
	}
	stays, cancel := context.WithCancel(bg(t))
	stayed := make(chan error, 1)
	go func() { stayed <- first.Watch(stays) }()
	late := joinAt(t, b, "engine", wrong{clock.Real(), time.Hour})
	for p := range events.Partition(100) { // each is announced
		late.Begin(p)
		<-late.Changed()
		late.End(p)
		<-late.Changed()
	}
	if err := late.Watch(stays); err == nil {
		t.Error("who came last stays")
	}
	cancel()
	if err := <-stayed; err != nil {
		t.Errorf("who was there before has to go: %v", err)
	}
}
