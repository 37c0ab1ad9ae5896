package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	t.Parallel()
	var samples []time.Duration
	for n := 100; n > 0; n-- {
		samples = append(samples, time.Duration(n)*time.Millisecond)
	}
	if p50, p95, p99 := percentiles(samples); p50 != 51 || p95 != 96 || p99 != 100 {
		t.Errorf("of 1 to 100 ms: %v, %v, %v", p50, p95, p99)
	}
	if p50, p95, p99 := percentiles(samples[:1]); p50 != 1 || p95 != 1 || p99 != 1 {
		t.Errorf("of one: %v, %v, %v", p50, p95, p99)
	}
	if p50, _, _ := percentiles(nil); p50 != 0 {
		t.Errorf("of none: %v", p50)
	}
}

func TestMedianIsOfEachFigure(t *testing.T) {
	t.Parallel()
	all := []Result{
		{Workload: "w", PerSecond: 3, P99Ms: 10, More: map[string]float64{"a": 1}},
		{Workload: "w", PerSecond: 1, P99Ms: 30, More: map[string]float64{"a": 2}},
		{Workload: "w", PerSecond: 2, P99Ms: 20, More: map[string]float64{"a": 9}},
	}
	got := median(all)
	if got.PerSecond != 2 || got.P99Ms != 20 || got.More["a"] != 2 || got.Repeat != 3 || got.Workload != "w" {
		t.Errorf("got %+v", got)
	}
	if even := median(all[:2]); even.PerSecond != 2 || even.More["a"] != 1.5 {
		t.Errorf("of two: %+v", even)
	}
	if all[0].PerSecond != 3 || all[0].More["a"] != 1 {
		t.Errorf("the measurements were changed: %+v", all[0])
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	got := Judge([]Result{
		{Workload: "one-task", Inflight: 256, PerSecond: 3000, ServerCPU: 0.3},
		{Workload: "seq10", Inflight: 8, PerSecond: 1},
		{Workload: "latency", Inflight: 1, P50Ms: 2, SyncP50Ms: 0.5},
		{Workload: "timers", P50Ms: 1, P99Ms: 60, More: map[string]float64{"timers": defaultTimers}},
	})
	want := [][3]string{
		{"one-task 3000", "yes", "no"},
		{"one-task 0.300", "no", "no"},
		{"latency 2.00", "asked for a sync in 0.3 ms, here 0.50", "asked for a sync in 0.3 ms, here 0.50"},
		{"seq10 0.000", "not measured", "not measured"},
		{"seq10 1", "asked for 64 in flight", "asked for 64 in flight"},
		{"timers 1.0", "yes", "yes"},
		{"timers 60.0", "no", "no"},
	}
	for _, w := range want {
		found := false
		for _, v := range got {
			found = found || v.Workload+" "+v.Measured == w[0] && v.AtFloor == w[1] && v.AtGoal == w[2]
		}
		if !found {
			t.Errorf("no verdict %q in %+v", w, got)
		}
	}
	if line := Summary([]Result{{Workload: "signals", PerSecond: 7000}}); line != "bench: 1 workloads, 1 of 1 figures at their floor, 0 at their goal" {
		t.Errorf("summary: %s", line)
	}
}

func TestEveryTargetHasAWorkload(t *testing.T) {
	t.Parallel()
	for _, target := range targets() {
		if _, ok := find(target.workload); !ok {
			t.Errorf("there is no workload %q", target.workload)
		}
	}
}

func TestDocumentKeepsWhatIsAroundTheMarks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "speed.md")
	write := func(per float64) string {
		t.Helper()
		err := WriteDocument(t.Context(), path, Origin{Command: "continuo bench", Version: "v1", At: time.Unix(0, 0)}, []Result{{Workload: "signals", PerSecond: per, Repeat: 5}})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := write(6001)
	for _, part := range []string{"# Performance\n", "continuo bench", "1970-01-01 00:00 UTC", "| signals | signals/s | 6001 | ≥ 5000 | yes | ≥ 10000 | no |"} {
		if !strings.Contains(first, part) {
			t.Errorf("%q is missing in\n%s", part, first)
		}
	}
	if err := os.WriteFile(path, []byte(first+"\nWhat people wrote.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := write(7002)
	if strings.Contains(second, "6001") || !strings.Contains(second, "7002") || !strings.HasSuffix(second, "\nWhat people wrote.\n") {
		t.Errorf("after the second time:\n%s", second)
	}
	if err := os.WriteFile(path, []byte("# Something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteDocument(t.Context(), path, Origin{}, nil); err == nil || !strings.Contains(err.Error(), "has no marks") {
		t.Errorf("a document without marks: %v", err)
	}
}

func TestUnknownWorkloadsAreNamed(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Options{Workloads: []string{"fast"}}); err == nil || !strings.Contains(err.Error(), `"fast"; use one-task, `) {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), Options{Workloads: []string{"one-task"}, Repeat: -1}); err == nil || !strings.Contains(err.Error(), "negative") {
		t.Errorf("got %v", err)
	}
}

func TestTableHasARowForEachResult(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	WriteTable(&out, []Result{{Workload: "one-task", PerSecond: 2600, Unit: "workflows", Inflight: 256}, {Workload: "signals", PerSecond: 1}})
	for _, part := range []string{"one-task", "2600", "≥ 2500", "signals", "not measured", "1 of 3 figures at their floor, 0 at their goal; 1 not measured as asked for"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, out.String())
		}
	}
}

func TestResultsOverABroker(t *testing.T) {
	t.Parallel()
	measured := Result{
		Workload: "seq10", Shape: overBroker, Broker: "Apache Pulsar 4.0.8, 16 partitions", Unit: "tasks", Inflight: 64, PerSecond: 1600, Repeat: 1,
		ServerCPU: 0.5, WorkerCPU: 0.1, ClientCPU: 0.1, Parts: map[string]float64{"cpu_seconds_per_1000_clickhouse": 0.1, "cpu_seconds_per_1000_broker": 0.4, "appends_events": 0.75},
	}
	beside := measured
	beside.Setting, beside.PerSecond = "stock broker", 900
	want := []string{"seq10 tasks/s 1600 ≥ 1500 yes", "seq10 CPU s per 1,000 of all but the broker 0.800 ≤ 1.500 yes"}
	var got []string
	for _, v := range Judge([]Result{measured, beside}) {
		got = append(got, strings.Join([]string{v.Name, v.What, v.Measured, v.Floor, v.AtFloor}, " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("verdicts %q", got)
	}
	path := filepath.Join(t.TempDir(), "speed.md")
	for _, results := range [][]Result{{{Workload: "signals", PerSecond: 6001}}, {measured, beside}} {
		if err := WriteDocument(t.Context(), path, Origin{At: time.Unix(0, 0)}, results); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"| signals | signals/s | 6001 |", "Apache Pulsar 4.0.8", "\n### Rates", "| seq10, stock broker | 64 | 900 |", "| seq10 | - | - | - | - | - | 0.100 | 0.400 | 0.100 | 0.100 |"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}

func TestWorkloadsOfAShape(t *testing.T) {
	t.Parallel()
	broker := &Broker{Pulsar: "pulsar://127.0.0.1:6650", ClickHouse: "http://127.0.0.1:8123/x"}
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"only embedded":     {Options{Workloads: []string{"sleepers"}, Broker: broker}, "not for this shape; use one-task, "},
		"only over brokers": {Options{Workloads: []string{"takeover"}}, "not for this shape; use one-task, "},
		"no read store":     {Options{Workloads: []string{"seq10"}, Broker: &Broker{Pulsar: "pulsar://h:1"}}, "--clickhouse"},
		"no URL":            {Options{Workloads: []string{"seq10"}, Broker: &Broker{Pulsar: "h", ClickHouse: "http://h:1"}}, `"h" is no URL`},
		"a running server":  {Options{Workloads: []string{"seq10"}, Addr: "h:1", Broker: broker}, "leave --addr out"},
	} {
		if _, err := Run(t.Context(), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
