package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// longest is how long a workload may take to make what it needs.
const longest = 15 * time.Minute

// sleepers measures runs that sleep: what each costs in memory and on disk, how long a server that was killed with all of
// them takes to answer again, and how many can be woken a second when no worker has them in memory.
func sleepers(ctx context.Context, l *lab) error {
	r, count := l.result, l.options.Sleepers
	before, err := l.settled(ctx)
	if err != nil {
		return err
	}
	if err := l.populate(ctx, count, 0); err != nil {
		return err
	}
	after, err := l.settled(ctx)
	if err != nil {
		return err
	}
	if err := l.profileMemory(ctx, "asleep"); err != nil {
		return err
	}
	r.set("sleepers", float64(count))
	r.set("memory_bytes_each", float64(after.rss-before.rss)/float64(count))
	r.set("heap_bytes_each", (after.heap-before.heap)/float64(count))
	r.set("disk_bytes_each", float64(after.disk-before.disk)/float64(count))
	if err := l.killAndRestart(ctx); err != nil {
		return err
	}
	if after, err = l.settled(ctx); err != nil {
		return err
	}
	r.set("memory_bytes_each_after_restart", float64(after.rss-before.rss)/float64(count))
	if err := l.awaitWorkers(ctx); err != nil {
		return err
	}

	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	finish := l.profile(ctx)
	// The first one was woken by the restart.
	samples, err := l.each(ctx, count-1, l.options.Duration, func(ctx context.Context, n int) error {
		id := l.id("sleeper", n+1)
		if err := message.Send(ctx, l.client, id, text); err != nil {
			return err
		}
		said, err := sleeper.Attach(l.client, id).Result(ctx)
		if err == nil && said != text {
			return fmt.Errorf("run %s returned %q", id, said)
		}
		return err
	})
	if err := errors.Join(err, finish()); err != nil {
		return fmt.Errorf("waking: %w", err)
	}
	if l.after, err = l.usage(ctx); err != nil {
		return err
	}
	r.account(l.before, l.after, len(samples))
	r.P50Ms, r.P95Ms, r.P99Ms = percentiles(samples)
	return nil
}

// recovery measures how long a server that was killed takes to be ready and to answer, with so many events in open runs.
func recovery(ctx context.Context, l *lab) error {
	const each = 100 // events of a run
	r, runs := l.result, max(l.options.Events/each, 1)
	if err := l.populate(ctx, runs, each); err != nil {
		return err
	}
	var err error
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	if err := l.killAndRestart(ctx); err != nil {
		return err
	}
	l.before.server = 0 // another process
	if l.after, err = l.usage(ctx); err != nil {
		return err
	}
	metrics, err := l.metrics(ctx)
	if err != nil {
		return err
	}
	events := runs * each
	r.account(l.before, l.after, events)
	r.SyncsPerSecond, r.RecordsPerSync, r.LogBytes, r.DiskBytes = 0, 0, 0, 0 // of two processes
	r.Seconds = r.More["ready_seconds"]
	r.PerSecond = float64(events) / r.Seconds
	r.P50Ms = r.More["answered_seconds"] * 1000
	r.P95Ms, r.P99Ms = r.P50Ms, r.P50Ms
	r.set("open_runs", float64(runs))
	r.set("events", float64(events))
	r.set("records_read", metrics["continuo_engine_recovered_records_total"])
	return nil
}

// populate starts so many sleepers, each of which publishes a view so many times, and waits until all of them sleep.
func (l *lab) populate(ctx context.Context, count, pulses int) error {
	began := now()
	_, err := l.each(ctx, count, longest, func(ctx context.Context, n int) error {
		_, err := sleeper.Start(ctx, l.client, pulses, flow.ID(l.id("sleeper", n)), l.queue)
		return err
	})
	if err != nil {
		return fmt.Errorf("starting sleepers: %w", err)
	}
	if err := l.quiet(ctx); err != nil {
		return err
	}
	l.result.set("starts_per_second", float64(count)/since(began).Seconds())
	return nil
}

// settled waits until the server is quiet, lets it collect its garbage and give memory back, and returns what it uses then.
func (l *lab) settled(ctx context.Context) (usage, error) {
	if err := l.quiet(ctx); err != nil {
		return usage{}, err
	}
	for range 2 { // what the first one finalizes is free after the second
		if err := ask(ctx, l.socket("server"), "collect", ""); err != nil {
			return usage{}, err
		}
	}
	return l.usage(ctx)
}

// killAndRestart kills the server and starts it again, and measures from the kill until it is ready and until a new client
// has the answer to a signal for the first sleeper.
func (l *lab) killAndRestart(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the server does not answer %s after it was killed", patience))
	defer cancel()
	began := now()
	if err := l.server.Kill(); err != nil {
		return err
	}
	if err := removeSocket(l.socket("server")); err != nil {
		return err
	}
	if err := l.server.Restart(ctx); err != nil {
		return err
	}
	l.result.set("ready_seconds", since(began).Seconds())
	fresh, err := client.Dial(l.server.GRPCAddr, client.Options{})
	if err != nil {
		return err
	}
	err = message.Send(ctx, fresh, l.id("sleeper", 0), text)
	l.result.set("answered_seconds", since(began).Seconds())
	if err := errors.Join(err, fresh.Close()); err != nil {
		return fmt.Errorf("the first signal after the restart: %w", cause(ctx, err))
	}
	if _, err := sleeper.Attach(l.client, l.id("sleeper", 0)).Result(ctx); err != nil {
		return fmt.Errorf("the first run woken after the restart: %w", cause(ctx, err))
	}
	l.result.set("woken_seconds", since(began).Seconds())
	l.result.set("data_bytes", float64(size(filepath.Join(l.dir, "data"))))
	return nil
}
