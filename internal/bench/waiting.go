package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// hubs is the number of open runs that signals go to.
const hubs = 16

// signals measures signals to a few open runs that take them, until each is durable; in the end it makes sure that the runs
// have seen all of them.
func signals(ctx context.Context, l *lab) error {
	var (
		runs [hubs]flow.Run[int]
		sent [hubs]atomic.Int64
		err  error
	)
	for i := range runs {
		if runs[i], err = hub.Start(ctx, l.client, flow.None{}, flow.ID(l.id("hub", i)), l.queue); err != nil {
			return fmt.Errorf("start of the runs: %w", err)
		}
	}
	err = l.load(ctx, 1, func(ctx context.Context, caller int) error {
		if err := message.Send(ctx, l.client, runs[caller%hubs].ID(), text); err != nil {
			return err
		}
		sent[caller%hubs].Add(1)
		return nil
	})
	if err != nil {
		return err
	}
	began := now()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the runs have not taken all signals after %s", patience))
	defer cancel()
	for i, run := range runs {
		if err := message.Send(ctx, l.client, run.ID(), last); err != nil {
			return cause(ctx, err)
		}
		taken, err := run.Result(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		if want := int(sent[i].Load()); taken != want {
			return fmt.Errorf("run %s has seen %d signals, and %d were acknowledged", run.ID(), taken, want)
		}
	}
	l.result.set("drain_seconds", since(began).Seconds())
	return nil
}

// id is a workflow id that no other benchmark on the same server has.
func (l *lab) id(kind string, n int) string {
	return string(l.queue) + "/" + kind + "-" + strconv.Itoa(n)
}

// Timers are due one after the other for timersOver, which begins timersAhead plus a second for every timersArmed timers
// after the first of them was armed.
const (
	timersOver  = 2 * time.Second
	timersAhead = time.Second
	timersArmed = 500
)

// timers measures by how much timers are late: from the time they are due to the time by the worker's clock when the code
// goes on. Each is in a run of its own.
func timers(ctx context.Context, l *lab) error {
	if l.server == nil && l.suite == nil && l.options.HTTPAddr == "" {
		return errors.New("the workload has to see in the server's metrics that its timers are armed: say with --http-addr where they are")
	}
	count := l.options.Timers
	first := now().Add(timersAhead + time.Duration(count)*time.Second/timersArmed)
	due := func(n int) time.Time { return first.Add(time.Duration(n) * timersOver / time.Duration(count)) }
	runs := make([]flow.Run[ring], count)
	_, err := l.each(ctx, count, patience, func(ctx context.Context, n int) (err error) {
		runs[n], err = alarm.Start(ctx, l.client, due(n), l.queue)
		return err
	})
	if err != nil {
		return err
	}
	err = l.until(ctx, "all timers are armed", patience, func(m map[string]float64) bool { return m["continuo_scheduler_timers"] >= float64(count) })
	if err != nil {
		return err
	}
	if late := since(first); late > 0 {
		return fmt.Errorf("%d timers were armed %s after the first was due; the machine is too slow or too busy", count, late)
	}
	sleep(ctx, first.Sub(now()))
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	finish := l.profile(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, timersOver+patience, fmt.Errorf("timers did not fire within %s", patience))
	defer cancel()
	var (
		rings = make([]ring, count)
		errs  = make([]error, count)
		all   sync.WaitGroup
	)
	for n := range runs {
		all.Go(func() { rings[n], errs[n] = runs[n].Result(ctx) })
	}
	all.Wait()
	if l.after, err = l.usage(ctx); err != nil {
		return err
	}
	if err := errors.Join(finish(), firstOf(errs)); err != nil {
		return cause(ctx, err)
	}
	var seen, fired []time.Duration
	for n, r := range rings {
		if r.Fired.Before(due(n).Truncate(time.Millisecond)) {
			return fmt.Errorf("timer %d was due at %s and fired at %s", n, due(n), r.Fired)
		}
		seen = append(seen, r.Seen.Sub(due(n)))
		fired = append(fired, r.Fired.Sub(due(n)))
	}
	r := l.result
	r.account(l.before, l.after, count)
	r.P50Ms, r.P95Ms, r.P99Ms = percentiles(seen)
	p50, _, p99 := percentiles(fired)
	r.set("timers", float64(count))
	r.set("fired_p50_ms", p50)
	r.set("fired_p99_ms", p99)
	return nil
}

// firstOf is the first error of several that are likely to be the same.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// until waits until the server's metrics say so.
func (l *lab) until(ctx context.Context, what string, limit time.Duration, holds func(map[string]float64) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not after %s", what, limit))
	defer cancel()
	for {
		metrics, err := l.metrics(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case holds(metrics):
			return nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// quietLooks is how often in a row a quiet server must look quiet: work may be under way between its parts.
const quietLooks = 5

// quiet waits until the server has nothing to do.
func (l *lab) quiet(ctx context.Context) error {
	looks := 0
	return l.until(ctx, "the server is quiet", longest, func(m map[string]float64) bool {
		busy := m["continuo_scheduler_waiting_activations"] + m["continuo_gateway_running_activations"] +
			m["continuo_gateway_running_tasks"] + m["continuo_projector_lag_records"] + m["continuo_scheduler_lag_records"]
		if looks++; busy != 0 {
			looks = 0
		}
		return looks >= quietLooks
	})
}
