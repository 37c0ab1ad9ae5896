package engine

import (
	"slices"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// State tells what a partition does.
type State string

// The states of a partition.
const (
	Standby  State = "standby"  // waits until it is this process's to own, as while another has it
	Starting State = "starting" // is being recovered
	Running  State = "running"  // handles commands
	Paused   State = "paused"   // the wall clock jumped; it goes on when the clock is right or accepted
	Stopped  State = "stopped"  // does not go on by itself; Reason says why
)

// Health is what is known of a partition.
type Health struct {
	Partition events.Partition
	State     State
	// Epoch and Owner are those of the present or last ownership.
	Epoch uint64
	Owner events.OwnerID
	// Applied is the newest durable record that memory includes.
	Applied events.Seq
	// Checkpoint is the first record that recovery would read.
	Checkpoint events.Seq
	// Turned is when the last turn ended; zero when none has. A quiet partition has one at least each minute.
	Turned time.Time
	// Reason says why the partition does not run; "" while it does.
	Reason string
}

// Health returns the state of all partitions, in their order.
func (e *Engine) Health() []Health {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.health)
}

func (e *Engine) report(p events.Partition, change func(*Health)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.health[p])
}
