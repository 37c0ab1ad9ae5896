package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/bench"
)

func newBench(a *app) *cobra.Command {
	var (
		o         bench.Options
		workloads []string
		asJSON    bool
		document  string
		broker    bench.Broker
		read      []string
		as        string
	)
	cmd := &cobra.Command{
		Use:   "bench --workload NAME",
		Short: "Measure the speed of the suite on this machine",
		Long: "Starts a server and workers as processes of their own over a throw-away directory, loads them, and tells rates, latencies and\n" +
			"what they cost. Payloads have 100 bytes. In the same run the machine itself is measured, so that ratios can be compared\n" +
			"where the machine is noisy. With --addr a running server is measured instead, with --pulsar services over a broker.\n\n" +
			"Workloads: " + strings.Join(bench.Workloads(), ", ") + "; or all.",
		Example: "  continuo bench --workload one-task\n  continuo bench --workload all --repeat 5 --json",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if broker.Pulsar != "" {
				o.Broker = &broker
			}
			if o.Workloads = workloads; slices.Contains(workloads, "all") {
				o.Workloads = bench.WorkloadsOver(o.Broker != nil)
			}
			if cmd.Flags().Changed("addr") {
				o.Addr = a.addr
			}
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return fmt.Errorf("which program is to be measured: %w", err)
			}
			o.Progress = a.stderr
			began := time.Now()
			var results []bench.Result
			if len(read) > 0 {
				results, err = readResults(read)
			} else {
				results, err = bench.Run(cmd.Context(), o)
			}
			if err := a.benchResults(results, asJSON); err != nil {
				return err
			}
			if err != nil || document == "" {
				return err
			}
			return bench.WriteDocument(cmd.Context(), document, bench.Origin{
				Command: cmp.Or(as, strings.Join(append([]string{"continuo"}, os.Args[1:]...), " ")), Version: versionText(), At: began, Dir: o.Dir,
			}, results)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&workloads, "workload", []string{"all"}, "what to measure; several with commas")
	flags.IntVar(&o.Inflight, "inflight", 0, "operations open at a time (default: the workload's own)")
	flags.DurationVar(&o.Duration, "duration", 0, "how long to measure (default 5s)")
	flags.DurationVar(&o.Warmup, "warmup", 0, "how long to run before that (default 1s)")
	flags.IntVar(&o.Repeat, "repeat", 1, "measure so often, each time with new processes, and tell the medians")
	flags.IntVar(&o.Workers, "workers", 0, "worker processes (default 1)")
	flags.IntVar(&o.TaskSlots, "task-slots", 0, "tasks that each worker does at a time (default 256)")
	flags.IntVar(&o.ActivationSlots, "activation-slots", 0, "runs whose code each worker runs at a time (default 256)")
	flags.StringVar(&o.Dir, "dir", "", "where data goes, in a directory that is deleted at the end (default: the system's temporary directory)")
	flags.StringVar(&o.HTTPAddr, "http-addr", "", "with --addr: where that server shows its metrics")
	flags.StringVar(&broker.Pulsar, "pulsar", "", "URL of a broker: measure services over it, each in a process of its own, instead of the embedded suite")
	flags.StringVar(&broker.Admin, "pulsar-admin", "", "with --pulsar: URL of the broker's web service (the same host's, port 8080)")
	flags.StringVar(&broker.ClickHouse, "clickhouse", "", "with --pulsar: URL of the read store; each workload makes a database of its own there")
	flags.BoolVar(&broker.Together, "together", false, "with --pulsar: all services in one process")
	flags.IntVar(&broker.Partitions, "partitions", 0, "with --pulsar: partitions of the log (16)")
	flags.StringVar(&broker.Setting, "setting", "", "with --pulsar: a word about what is special in how broker and processes are set up, for the tables")
	flags.IntVar(&o.Timers, "timers", 0, "timers of the workload timers (default 2,000)")
	flags.IntVar(&o.Sleepers, "sleepers", 0, "runs of the workload sleepers (default 100,000)")
	flags.IntVar(&o.Events, "events", 0, "events of the long run of hotrun, and of all runs of recover (default 1,000,000)")
	flags.StringVar(&o.Profile, "profile", "", "directory for profiles of processor, allocations, locks and blocking of all processes; they cost speed")
	flags.StringSliceVar(&read, "read", nil, "tell results that were written with --json instead of measuring; several files with commas")
	flags.StringVar(&as, "as", "", "with --write: the command that the document names (default: this one)")
	flags.StringVar(&document, "write", "", "Markdown document to write the results into")
	flags.BoolVar(&asJSON, "json", false, "one JSON object a line for each workload")
	offer(cmd, "workload", append([]string{"all"}, bench.Workloads()...))
	cmd.AddCommand(newBenchWorker(a))
	return cmd
}

// readResults reads what was written with --json.
func readResults(files []string) ([]bench.Result, error) {
	var results []bench.Result
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
		for lines := json.NewDecoder(bytes.NewReader(text)); lines.More(); {
			var r bench.Result
			if err := lines.Decode(&r); err != nil {
				return nil, fmt.Errorf("results in %s: %w", name, err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// benchResults prints what was measured, also when not everything could be.
func (a *app) benchResults(results []bench.Result, asJSON bool) error {
	if len(results) == 0 {
		return nil
	}
	if !asJSON && a.output != "json" {
		bench.WriteTable(a.stdout, results)
		return nil
	}
	lines := json.NewEncoder(a.stdout)
	for _, r := range results {
		if err := lines.Encode(r); err != nil {
			return fmt.Errorf("cannot write the result as JSON: %w", err)
		}
	}
	return nil
}

// newBenchWorker is what the worker processes of a benchmark run.
func newBenchWorker(a *app) *cobra.Command {
	var o bench.WorkerOptions
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Work for a benchmark",
		Hidden: true,
		Args:   arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Addr = a.addr
			o.Log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			return bench.Work(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Queue, "queue", "", "task queue")
	flags.StringVar(&o.ProfileSocket, "profile-socket", "", "unix socket to serve profiles on")
	flags.IntVar(&o.TaskSlots, "task-slots", 0, "tasks at a time")
	flags.IntVar(&o.ActivationSlots, "activation-slots", 0, "activations at a time")
	return cmd
}
