package bench

import "fmt"

// Verdict holds one figure of a result against what is asked of it.
type Verdict struct {
	Workload string `json:"workload"`
	Name     string `json:"name"` // the workload, with what is special about the measurement
	What     string `json:"what"`
	Measured string `json:"measured"`
	Floor    string `json:"floor"`
	Goal     string `json:"goal"`
	// AtFloor and AtGoal: "yes", "no", or why that cannot be said of this measurement.
	AtFloor string `json:"at_floor"`
	AtGoal  string `json:"at_goal"`
}

// target is what is asked of a figure on two cores.
type target struct {
	workload, what string
	figure         func(*Result) float64
	format         string
	floor, goal    float64
	atMost         bool // otherwise at least
	// comparable says why the figure of a measurement cannot be held against the target; empty means that it can.
	comparable func(*Result) string
}

// syncOfLatency is the disk that the target for the latency of one workflow is about, in milliseconds for one sync.
const syncOfLatency = 0.3

func targets() []target {
	perSecond := func(r *Result) float64 { return r.PerSecond }
	serverCPU := func(r *Result) float64 { return r.ServerCPU }
	more := func(name string) func(*Result) float64 { return func(r *Result) float64 { return r.More[name] } }
	return []target{
		{"one-task", "workflows/s", perSecond, "%.0f", 2_500, 6_000, false, inflight(256)},
		{"one-task", "server CPU s per 1,000", serverCPU, "%.3f", 0.25, 0.12, true, inflight(256)},
		{"latency", "p50 ms", func(r *Result) float64 { return r.P50Ms }, "%.2f", 3, 1.5, true, quickDisk},
		{"seq10", "tasks/s", perSecond, "%.0f", 5_000, 12_000, false, inflight(64)},
		{"seq10", "server CPU s per 1,000", serverCPU, "%.3f", 0.16, 0.08, true, inflight(64)},
		{"steps10", "steps/s", perSecond, "%.0f", 15_000, 40_000, false, inflight(64)},
		{"steps10", "server CPU s per 1,000", serverCPU, "%.3f", 0.06, 0.03, true, inflight(64)},
		{"fanout100", "tasks/s", perSecond, "%.0f", 6_000, 15_000, false, inflight(8)},
		{"signals", "signals/s", perSecond, "%.0f", 5_000, 10_000, false, nil},
		{"timers", "late p50 ms", func(r *Result) float64 { return r.P50Ms }, "%.1f", 5, 2, true, sized("timers", defaultTimers)},
		{"timers", "late p99 ms", func(r *Result) float64 { return r.P99Ms }, "%.1f", 50, 20, true, sized("timers", defaultTimers)},
		{"sleepers", "bytes of memory each", more("memory_bytes_each"), "%.0f", 2_048, 1_024, true, sized("sleepers", defaultSleepers)},
		{"sleepers", "s from SIGKILL to the first answered signal", more("answered_seconds"), "%.2f", 2, 0.5, true, sized("sleepers", defaultSleepers)},
		{"engine", "steps ÷ raw appends", func(r *Result) float64 { return r.OfAppends }, "%.2f", 0.3, 0.5, false, nil},
		{"hotrun", "signal p99 ÷ that of 1,000 events", more("acknowledged_p99_ratio"), "%.2f", 2, 2, true, sized("events", defaultEvents)},
	}
}

// brokerTargets are those of services over a broker, on two cores with the broker on them, too. There are floors only.
func brokerTargets() []target {
	more := func(name string) func(*Result) float64 { return func(r *Result) float64 { return r.More[name] } }
	return []target{
		{"seq10", "tasks/s", func(r *Result) float64 { return r.PerSecond }, "%.0f", 1_500, 0, false, inflight(64)},
		{"seq10", "CPU s per 1,000 of all but the broker", withoutBroker, "%.3f", 1.5, 0, true, inflight(64)},
		{"sequence", "p50 ms of a task", more("task_p50_ms"), "%.2f", 12, 0, true, inflight(1)},
		{"sequence", "appends in series for a task", more("appends_in_series"), "%.2f", 4, 0, true, inflight(1)},
		{"takeover", "p99 ms with 10,000 open runs", func(r *Result) float64 { return r.P99Ms }, "%.0f", 4_000, 0, true, nil},
		{"takeover-stopped", "p99 ms with 10,000 open runs", func(r *Result) float64 { return r.P99Ms }, "%.0f", 4_000, 0, true, nil},
		{"handover", "p99 ms with 10,000 open runs", func(r *Result) float64 { return r.P99Ms }, "%.0f", 500, 0, true, nil},
		{"project", "events/s into ClickHouse", func(r *Result) float64 { return r.PerSecond }, "%.0f", 50_000, 0, false, nil},
	}
}

// withoutBroker is the processor time of services, workers, client and read store.
func withoutBroker(r *Result) float64 {
	return r.ServerCPU + r.WorkerCPU + r.ClientCPU + r.Parts["cpu_seconds_per_1000_clickhouse"]
}

func inflight(n float64) func(*Result) string {
	return func(r *Result) string {
		if r.Inflight != n {
			return fmt.Sprintf("asked for %.0f in flight", n)
		}
		return ""
	}
}

func sized(name string, n float64) func(*Result) string {
	return func(r *Result) string {
		if r.More[name] != n {
			return fmt.Sprintf("asked for %.0f %s", n, name)
		}
		return ""
	}
}

func quickDisk(r *Result) string {
	if r.SyncP50Ms > syncOfLatency {
		return fmt.Sprintf("asked for a sync in %.1f ms, here %.2f", syncOfLatency, r.SyncP50Ms)
	}
	return inflight(1)(r)
}

// Judge holds results against what is asked of them, in the order of the results. Those with a setting of their own are not.
func Judge(results []Result) []Verdict {
	var verdicts []Verdict
	for _, r := range results {
		if r.Setting != "" {
			continue // told beside what was asked for
		}
		asked := targets()
		if r.Shape != "" {
			asked = brokerTargets()
		}
		for _, t := range asked {
			if t.workload == r.Workload {
				verdicts = append(verdicts, t.judge(&r))
			}
		}
	}
	return verdicts
}

func (t target) judge(r *Result) Verdict {
	sign := "≥ "
	if t.atMost {
		sign = "≤ "
	}
	number := func(v float64) string { return fmt.Sprintf(t.format, v) }
	value := t.figure(r)
	v := Verdict{Workload: t.workload, Name: r.name(), What: t.what, Measured: number(value), Floor: sign + number(t.floor), Goal: sign + number(t.goal)}
	reach := func(limit float64) string {
		if value >= limit && !t.atMost || value <= limit && t.atMost {
			return "yes"
		}
		return "no"
	}
	v.AtFloor, v.AtGoal = reach(t.floor), reach(t.goal)
	why := ""
	if t.comparable != nil {
		why = t.comparable(r)
	}
	if value == 0 {
		why = "not measured"
	}
	if why != "" {
		v.AtFloor, v.AtGoal = why, why
	}
	if t.goal == 0 {
		v.Goal, v.AtGoal = "-", "-"
	}
	return v
}
