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
	// shapes are where it makes sense.
	shapes shapes
	run    func(ctx context.Context, l *lab) error
}

// shapes tells where a workload is measured.
type shapes int

const (
	everywhere shapes = iota
	embeddedOnly
	brokerOnly
)

// over reports whether a workload is for the services over a broker, or for the embedded suite.
func (w workload) over(broker bool) bool {
	return w.shapes == everywhere || broker == (w.shapes == brokerOnly)
}

// workloads are all workloads in the order they are run.
func workloads() []workload {
	return []workload{
		{name: "one-task", unit: "workflows", inflight: 256, run: runs(oneTask, 1)},
		{name: "latency", unit: "workflows", inflight: 1, run: runs(oneTask, 1)},
		{name: "seq10", unit: "tasks", inflight: 64, run: runs(seq10, 10)},
		{name: "sequence", unit: "tasks", inflight: 1, run: sequence, shapes: brokerOnly},
		{name: "steps10", unit: "steps", inflight: 64, run: runs(steps10, 10)},
		{name: "fanout100", unit: "tasks", inflight: 8, width: 100, run: runs(fanout100, 100)},
		{name: "signals", unit: "signals", inflight: 64, run: signals},
		{name: "timers", unit: "timers", inflight: 256, run: timers},
		{name: "sleepers", unit: "wake-ups", inflight: 256, kills: true, run: sleepers, shapes: embeddedOnly},
		{name: "engine", unit: "steps", inflight: 256, alone: true, run: inProcess, shapes: embeddedOnly},
		{name: "hotrun", unit: "signals", inflight: 1, run: hotrun, shapes: embeddedOnly},
		{name: "recover", unit: "events", inflight: 256, kills: true, run: recovery, shapes: embeddedOnly},
		{name: "idle", unit: "seconds", inflight: 1, run: idle, shapes: brokerOnly},
		{name: "takeover", unit: "take-overs", inflight: 256, kills: true, run: killed.takeover, shapes: brokerOnly},
		{name: "takeover-stopped", unit: "take-overs", inflight: 256, kills: true, run: stopped.takeover, shapes: brokerOnly},
		{name: "handover", unit: "hand-overs", inflight: 256, kills: true, run: leaves.takeover, shapes: brokerOnly},
		{name: "project", unit: "events", inflight: 64, run: project, shapes: brokerOnly},
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

// WorkloadsOver returns those for services over a broker, or for the embedded suite.
func WorkloadsOver(broker bool) []string {
	var names []string
	for _, w := range workloads() {
		if w.over(broker) {
			names = append(names, w.name)
		}
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
