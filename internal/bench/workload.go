package bench

import "context"

// workload is one thing that is measured.
type workload struct {
	name string
	// unit is what per_second counts.
	unit string
	// inflight is how many operations are open at a time unless told otherwise.
	inflight int
	// width is how much of one operation can become durable at the same time; 0 means 1. It is how many wait for the
	// machine's raw appends for each operation in flight.
	width int
	// alone: it needs neither server nor workers.
	alone bool
	// kills: it kills its server.
	kills bool
	run   func(ctx context.Context, l *lab) error
}

// workloads are all workloads in the order they are run.
func workloads() []workload {
	return []workload{
		{name: "one-task", unit: "workflows", inflight: 256, run: runs(oneTask, 1)},
		{name: "latency", unit: "workflows", inflight: 1, run: runs(oneTask, 1)},
		{name: "seq10", unit: "tasks", inflight: 64, run: runs(seq10, 10)},
		{name: "steps10", unit: "steps", inflight: 64, run: runs(steps10, 10)},
		{name: "fanout100", unit: "tasks", inflight: 8, width: 100, run: runs(fanout100, 100)},
		{name: "signals", unit: "signals", inflight: 64, run: signals},
		{name: "timers", unit: "timers", inflight: 256, run: timers},
		{name: "sleepers", unit: "wake-ups", inflight: 256, kills: true, run: sleepers},
		{name: "engine", unit: "steps", inflight: 256, alone: true, run: inProcess},
		{name: "hotrun", unit: "signals", inflight: 1, run: hotrun},
		{name: "recover", unit: "events", inflight: 256, kills: true, run: recovery},
	}
}

// Workloads returns the names of all workloads in the order they are run.
func Workloads() []string {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

func find(name string) (workload, bool) {
	for _, w := range workloads() {
		if w.name == name {
			return w, true
		}
	}
	return workload{}, false
}
