package bench

import (
	"fmt"
	"maps"
	"slices"
)

// Result is what one workload measured: the medians when it was repeated. The unit of per_second, and of everything that
// is told per unit, is Unit. A figure that does not apply or is not known is 0.
type Result struct {
	Workload string `json:"workload"`
	// Shape is "broker" for services over a broker, each in a process of its own, "together" for all of them in one process,
	// and empty for the embedded suite. Setting is a word about what is special, Broker says what it is.
	Shape   string `json:"shape,omitempty"`
	Setting string `json:"setting,omitempty"`
	Broker  string `json:"broker,omitempty"`
	Unit    string `json:"unit"`
	Repeat  int    `json:"repeat"`
	// Inflight is how many operations were open at a time.
	Inflight float64 `json:"inflight"`
	// Seconds is the measured time, without the warm-up; Units what was done in it.
	Seconds   float64 `json:"seconds"`
	Units     float64 `json:"units"`
	PerSecond float64 `json:"per_second"`
	// The latencies are those of one operation: from before its call to its result.
	P50Ms float64 `json:"p50_ms"`
	P95Ms float64 `json:"p95_ms"`
	P99Ms float64 `json:"p99_ms"`
	// The processor time of the server, of all workers and of the client, per 1,000 units.
	ServerCPU float64 `json:"server_cpu_seconds_per_1000"`
	WorkerCPU float64 `json:"worker_cpu_seconds_per_1000"`
	ClientCPU float64 `json:"client_cpu_seconds_per_1000"`
	// RSS is that of the server when the measured time was over.
	RSS float64 `json:"rss_bytes"`
	// SyncsPerSecond counts synced batches of the server; RecordsPerSync is how many records shared one.
	SyncsPerSecond float64 `json:"syncs_per_second"`
	RecordsPerSync float64 `json:"records_per_sync"`
	// LogBytes is what was written synced per unit, DiskBytes by how much the data directory grew.
	LogBytes  float64 `json:"log_bytes_per_unit"`
	DiskBytes float64 `json:"disk_bytes_per_unit"`

	// The machine's own rates in the same run: grouped synced appends of the same store with as many waiters as were in
	// flight, one fdatasync of 4 KiB, and messages of a gRPC stream that are sent and answered over loopback.
	RawAppends  float64 `json:"machine_appends_per_second"`
	SyncP50Ms   float64 `json:"machine_sync_p50_ms"`
	RawMessages float64 `json:"machine_stream_messages_per_second"`
	// OthersCPU is how much of the machine's processors others took in the measured time, in percent of all of them: the
	// noise.
	OthersCPU float64 `json:"machine_others_cpu_percent"`
	// OfAppends is per_second divided by machine_appends_per_second.
	OfAppends float64 `json:"of_machine_appends"`

	// More are figures of this workload alone, by names that say the unit.
	More map[string]float64 `json:"more,omitempty"`
	// Parts are figures of the parts of a cluster, per unit: cpu_seconds_per_1000_ and the name of a process, and messages_,
	// appends_ and bytes_ and the name of a topic. An append is what the broker has synced as one; messages may share it.
	Parts map[string]float64 `json:"parts,omitempty"`
}

// Shapes over a broker.
const (
	overBroker = "broker"
	together   = "together"
)

// numbers are all figures of a result but those in More.
func (r *Result) numbers() []*float64 {
	return []*float64{
		&r.Inflight, &r.Seconds, &r.Units, &r.PerSecond, &r.P50Ms, &r.P95Ms, &r.P99Ms, &r.ServerCPU, &r.WorkerCPU, &r.ClientCPU, &r.RSS,
		&r.SyncsPerSecond, &r.RecordsPerSync, &r.LogBytes, &r.DiskBytes, &r.RawAppends, &r.SyncP50Ms, &r.RawMessages, &r.OthersCPU, &r.OfAppends,
	}
}

// set adds a figure of the workload's own.
func (r *Result) set(name string, value float64) {
	if r.More == nil {
		r.More = map[string]float64{}
	}
	r.More[name] = value
}

// name tells people the workload, and what is special about the shape and the broker.
func (r *Result) name() string {
	name := r.Workload
	if r.Shape == together && r.Setting == "" {
		name += ", " + r.Shape
	}
	if r.Setting != "" {
		name += ", " + r.Setting
	}
	return name
}

// line tells the result in a few words.
func (r *Result) line() string {
	return fmt.Sprintf("%.0f %s/s, p50 %.2f ms, p99 %.2f ms, server %.3f CPU s per 1,000", r.PerSecond, r.Unit, r.P50Ms, r.P99Ms, r.ServerCPU)
}

// median is the result of several measurements: the median of each figure by itself.
func median(all []Result) Result {
	out := all[0]
	out.Repeat = len(all)
	for i, number := range out.numbers() {
		var values []float64
		for n := range all {
			values = append(values, *all[n].numbers()[i])
		}
		*number = middle(values)
	}
	out.More = middles(all, func(r *Result) map[string]float64 { return r.More })
	out.Parts = middles(all, func(r *Result) map[string]float64 { return r.Parts })
	return out
}

// middles are the medians of each of the figures that several results have by name.
func middles(all []Result, figures func(*Result) map[string]float64) map[string]float64 {
	var out map[string]float64
	for _, name := range slices.Sorted(maps.Keys(figures(&all[0]))) {
		var values []float64
		for n := range all {
			values = append(values, figures(&all[n])[name])
		}
		if out == nil {
			out = map[string]float64{}
		}
		out[name] = middle(values)
	}
	return out
}

// middle is the median; of an even number the mean of the two in the middle.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
