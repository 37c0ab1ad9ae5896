// Package bench measures the suite from outside: a server in one process, workers in others, and the caller as the client.
//
// Every run of a workload also measures the machine (synced appends of the same store, one small sync, messages of a gRPC
// stream), so that what is compared on a noisy machine can be ratios.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options of a benchmark. Zero fields mean the defaults.
type Options struct {
	// Binary is the continuo program, which is started as the server and as the workers.
	Binary string
	// Addr is the gRPC address of a server that runs already; empty starts one for each workload. HTTPAddr is where that
	// server shows its metrics; without it nothing is known of its CPU, memory and syncs.
	Addr, HTTPAddr string
	// Broker makes services over a broker be measured, each in a process of its own; nil means the embedded suite.
	Broker *Broker
	// Dir is where data goes, in directories that are deleted at the end; empty means the system's temporary directory.
	Dir string
	// Workloads are names of [Workloads].
	Workloads []string
	// Inflight bounds what is open at a time; 0 means the workload's own.
	Inflight int
	// Duration is how long is measured, Warmup how long before that is not; defaults 5 s and 1 s.
	Duration, Warmup time.Duration
	// Repeat measures each workload so often, each time with processes of its own, and tells the medians; default 1.
	Repeat int
	// Workers is the number of worker processes, default 1; TaskSlots and ActivationSlots are those of each, default 256.
	Workers, TaskSlots, ActivationSlots int
	// Timers is how many timers the workload timers has, Sleepers how many runs sleepers has, Events how many events the long
	// run of hotrun and all runs of recover have; defaults 2,000, 100,000 and 1,000,000.
	Timers, Sleepers, Events int
	// Profile is a directory for profiles of all processes; empty means none. Profiles cost speed.
	Profile string
	// Progress gets a line about each thing done, for people who wait; nil means nobody does.
	Progress io.Writer
}

// Sizes of workloads that have one.
const (
	defaultTimers   = 2_000
	defaultSleepers = 100_000
	defaultEvents   = 1_000_000
)

// patience is how long a process may take to be ready or to stop, and calls to come back after the measured time.
const patience = 60 * time.Second

func (o Options) withDefaults() (Options, error) {
	for _, n := range []int{o.Inflight, o.Repeat, o.Workers, o.TaskSlots, o.ActivationSlots, o.Timers, o.Sleepers, o.Events, int(o.Duration), int(o.Warmup)} {
		if n < 0 {
			return o, errors.New("bench: numbers and times cannot be negative; 0 means the default")
		}
	}
	if len(o.Workloads) == 0 {
		return o, errors.New("bench: there is no workload; use " + strings.Join(Workloads(), ", "))
	}
	for _, name := range o.Workloads {
		switch w, ok := find(name); {
		case !ok:
			return o, fmt.Errorf("bench: there is no workload %q; use %s", name, strings.Join(Workloads(), ", "))
		case !w.over(o.Broker != nil):
			return o, fmt.Errorf("bench: workload %s is not for this shape; use %s", name, strings.Join(WorkloadsOver(o.Broker != nil), ", "))
		}
	}
	if o.Broker != nil {
		broker := *o.Broker
		if err := broker.check(); err != nil {
			return o, err
		}
		if o.Addr != "" {
			return o, errors.New("bench: it starts its own processes over a broker: leave --addr out")
		}
		o.Broker = &broker
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	or(&o.Timers, defaultTimers)
	or(&o.Sleepers, defaultSleepers)
	or(&o.Events, defaultEvents)
	or(&o.Duration, 5*time.Second)
	or(&o.Warmup, time.Second)
	or(&o.Repeat, 1)
	or(&o.Workers, 1)
	or(&o.TaskSlots, 256)
	or(&o.ActivationSlots, 256)
	return o, nil
}

// or gives a field its default.
func or[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

// Run measures the workloads one after the other and returns a result for each. It leaves no process and no directory
// behind, also when ctx ends.
func Run(ctx context.Context, o Options) ([]Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Profile != "" {
		if err := os.MkdirAll(o.Profile, 0o700); err != nil {
			return nil, fmt.Errorf("a directory for profiles: %w", err)
		}
	}
	var results []Result
	for _, name := range o.Workloads {
		var repeated []Result
		for n := range o.Repeat {
			result, err := once(ctx, o, name)
			if err != nil {
				return results, fmt.Errorf("workload %s: %w", name, err)
			}
			_, _ = fmt.Fprintf(o.Progress, "%s %d/%d: %s\n", name, n+1, o.Repeat, result.line())
			repeated = append(repeated, result)
		}
		results = append(results, median(repeated))
	}
	return results, nil
}

// once measures one workload once.
func once(ctx context.Context, o Options, name string) (_ Result, err error) {
	w, _ := find(name)
	if w.kills && o.Addr != "" {
		return Result{}, errors.New("it kills its server, so it starts its own: leave --addr out")
	}
	if o.Inflight == 0 {
		o.Inflight = w.inflight
	}
	dir, err := os.MkdirTemp(o.Dir, "continuo-bench-")
	if err != nil {
		return Result{}, fmt.Errorf("a directory for the data: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	result := Result{Workload: w.name, Unit: w.unit, Inflight: float64(o.Inflight), Repeat: 1}
	if err := measureMachine(ctx, filepath.Join(dir, "machine"), o.Inflight*max(w.width, 1), min(machineTime, o.Duration), &result); err != nil {
		return Result{}, fmt.Errorf("the machine's own rate: %w", err)
	}
	l := &lab{options: o, dir: dir, result: &result}
	if o.Broker != nil {
		result.Shape, result.Setting = overBroker, o.Broker.Setting
		if o.Broker.Together {
			result.Shape = together
		}
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.open(ctx, w); err != nil {
		return Result{}, err
	}
	if err := w.run(ctx, l); err != nil {
		return Result{}, l.explain(err)
	}
	if result.RawAppends > 0 {
		result.OfAppends = result.PerSecond / result.RawAppends
	}
	return result, nil
}
