// Package bench runs every workload of 'continuo bench' in small and checks what it tells.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/continuo-dev/continuo/internal/bench"
	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

var binary string

// TestMain builds the program once.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "continuo-bench-test-")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			binary, err = child.Build(context.Background(), dir, "./cmd/continuo")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// TestEveryWorkload runs all workloads for a moment and holds what they print against what programs rely on.
func TestEveryWorkload(t *testing.T) {
	t.Parallel()
	data, profiles, document := t.TempDir(), filepath.Join(t.TempDir(), "profiles"), filepath.Join(t.TempDir(), "speed.md")
	var stdout, stderr bytes.Buffer
	run := exec.CommandContext(t.Context(), binary, "bench", "--workload", "all", "--json", "--dir", data, "--inflight", "8", "--duration", "300ms", "--warmup", "100ms",
		"--timers", "100", "--sleepers", "500", "--events", "5000", "--profile", profiles, "--write", document)
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	results := map[string]map[string]any{}
	for lines := json.NewDecoder(&stdout); ; {
		var result map[string]any
		if err := lines.Decode(&result); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		results[result["workload"].(string)] = result
	}
	always := []string{"per_second", "p50_ms", "p95_ms", "p99_ms", "units", "seconds", "machine_appends_per_second", "machine_sync_p50_ms", "machine_stream_messages_per_second"}
	own := map[string][]string{
		"signals": {"drain_seconds"}, "timers": {"fired_p50_ms", "fired_p99_ms"},
		"sleepers": {"memory_bytes_each", "answered_seconds", "woken_seconds"}, "hotrun": {"acknowledged_p99_ratio", "long_seen_p99_ms"},
		"recover": {"ready_seconds", "answered_seconds", "records_read"},
	}
	for _, name := range bench.WorkloadsOver(false) {
		result := results[name]
		if result == nil {
			t.Errorf("%s has no result", name)
			continue
		}
		for _, field := range always {
			if positive(result[field]) == nil {
				continue
			}
			t.Errorf("%s: %s is %v", name, field, result[field])
		}
		for _, field := range []string{"server_cpu_seconds_per_1000", "rss_bytes", "syncs_per_second"} {
			if _, ok := result[field].(float64); !ok {
				t.Errorf("%s: %s is %v", name, field, result[field])
			}
		}
		more, _ := result["more"].(map[string]any)
		for _, field := range own[name] {
			if err := positive(more[field]); err != nil {
				t.Errorf("%s: %s %v", name, field, err)
			}
		}
	}
	if one := results["one-task"]; positive(one["rss_bytes"]) != nil || positive(one["syncs_per_second"]) != nil {
		t.Errorf("the server of one-task is not measured: %v", one)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, profile := range []string{"one-task.server.cpu.pprof", "seq10.worker1.mutex.pprof", "engine.client.allocs.pprof"} {
		if info, err := os.Stat(filepath.Join(profiles, profile)); err != nil || info.Size() == 0 {
			t.Errorf("profile %s: %v", profile, err)
		}
	}
	if text, err := os.ReadFile(document); err != nil || !strings.Contains(string(text), "| one-task | workflows/s | ") {
		t.Errorf("the document is not as it should be: %v\n%s", err, text)
	}
	fmt.Printf("bench: %d of %d workloads ran and told their figures\n", len(results), len(bench.WorkloadsOver(false)))
}

func positive(v any) error {
	if n, ok := v.(float64); !ok || n <= 0 {
		return fmt.Errorf("is %v, not a number above 0", v)
	}
	return nil
}

// TestInterrupt ends a benchmark in its middle: it leaves no directory, and no process that holds its output open.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	run := exec.CommandContext(t.Context(), binary, "bench", "--workload", "one-task", "--dir", data, "--duration", "1h")
	var stderr bytes.Buffer
	run.Stderr = &stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for { // until the workers have begun to write
		if found, _ := filepath.Glob(filepath.Join(data, "*", "workers.log")); len(found) > 0 {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the workers did not start")
		}
	}
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := run.Wait()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "Interrupted.") {
		t.Errorf("it ended with %v: %s", err, stderr.String())
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if users, err := filepath.Glob("/proc/[0-9]*/cmdline"); err == nil {
		for _, path := range users {
			if text, _ := os.ReadFile(path); strings.HasPrefix(string(text), binary) && strings.Contains(string(text), data) {
				t.Errorf("still running: %q", strings.ReplaceAll(string(text), "\x00", " "))
			}
		}
	}
}

// TestOverABroker measures services over a real Pulsar and the real engine of ClickHouse for a moment.
func TestOverABroker(t *testing.T) {
	t.Parallel()
	broker, store := pulsar.Start(t, pulsar.Options{}), clickhouse.Start(t, clickhouse.Options{})
	var stdout, stderr bytes.Buffer
	data := t.TempDir()
	run := exec.CommandContext(t.Context(), binary, "bench", "--pulsar", broker.URL(), "--pulsar-admin", broker.AdminURL(), "--clickhouse", store.URL("default"),
		"--partitions", "4", "--workload", "seq10,sequence", "--json", "--dir", data, "--inflight", "8", "--duration", "300ms", "--warmup", "100ms")
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	results := json.NewDecoder(&stdout)
	for _, name := range []string{"seq10", "sequence"} {
		var r bench.Result
		if err := results.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Workload != name || r.Shape != "broker" || !strings.HasSuffix(r.Broker, ", 4 partitions") || r.PerSecond <= 0 || r.ServerCPU <= 0 || r.LogBytes <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
		for _, figure := range []string{
			"cpu_seconds_per_1000_engine", "cpu_seconds_per_1000_gateway", "cpu_seconds_per_1000_broker", "cpu_seconds_per_1000_clickhouse",
			"messages_commands", "appends_events", "bytes_events",
		} {
			if r.Parts[figure] <= 0 {
				t.Errorf("%s: %s is %v", name, figure, r.Parts[figure])
			}
		}
		if series := r.More["appends_in_series"]; name == "sequence" && (series < 4 || series > 6) { // 4, unless the machine stands still
			t.Errorf("a task waits for the broker %v times", series)
		}
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
