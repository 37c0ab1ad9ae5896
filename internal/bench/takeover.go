package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// takeoverRuns is how many runs are open while engines are lost, takeoverKills how often one is.
const (
	takeoverRuns  = 10_000
	takeoverKills = 6
)

// loss is how an engine is lost, and how it comes back.
type loss struct {
	lose func(m *member) error
	back func(ctx context.Context, m *member) error
}

var (
	killed = loss{
		func(m *member) error { return m.Kill() },
		func(ctx context.Context, m *member) error { return m.restart(ctx) },
	}
	stopped = loss{
		func(m *member) error { return m.Signal(syscall.SIGSTOP) },
		func(_ context.Context, m *member) error { return m.Signal(syscall.SIGCONT) },
	}
	leaves = loss{
		func(m *member) error { return m.Signal(syscall.SIGTERM) },
		func(ctx context.Context, m *member) error {
			select {
			case <-m.Gone():
				return m.restart(ctx)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
	}
)

// takeover measures how long the partitions of an engine that is lost are without one: from that moment until a signal to a
// run in each of them, sent after it, is durable. There are two engines, which are lost in turn.
func (e loss) takeover(ctx context.Context, l *lab) error {
	if l.suite.broker.Together {
		return errors.New("it kills engines and not gateways: leave --together out")
	}
	if err := l.suite.start(ctx, "engine"); err != nil {
		return err
	}
	if err := l.populate(ctx, takeoverRuns, 0); err != nil {
		return err
	}
	metrics, err := l.metrics(ctx)
	if err != nil {
		return err
	}
	runs, err := l.aRunInEach(int(metrics["continuo_engine_partitions_running"]))
	if err != nil {
		return err
	}
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	began := now()
	var took []time.Duration
	for n := range takeoverKills {
		victim := l.suite.of("engine")[n%2]
		found, err := l.loseEngine(ctx, victim, e, runs)
		if err != nil {
			return fmt.Errorf("loss %d: %w", n+1, err)
		}
		took = append(took, found...)
	}
	r := l.result
	r.Seconds, r.Units = since(began).Seconds(), float64(len(took))
	r.PerSecond = r.Units / r.Seconds
	r.P50Ms, r.P95Ms, r.P99Ms = percentiles(took)
	r.set("open_runs", takeoverRuns)
	r.set("kills", takeoverKills)
	r.set("most_ms", milliseconds(slices.Max(took)))
	return nil
}

// aRunInEach returns the id of an open run in each partition.
func (l *lab) aRunInEach(partitions int) ([]string, error) {
	runs := make([]string, partitions)
	missing := partitions
	for n := 0; missing > 0 && n < takeoverRuns; n++ {
		id := l.id("sleeper", n)
		if p := events.PartitionOf(events.DefaultNamespace, events.WorkflowID(id), partitions); runs[p] == "" {
			runs[p] = id
			missing--
		}
	}
	if partitions == 0 || missing > 0 {
		return nil, fmt.Errorf("%d of %d partitions have no run or no owner", missing, partitions)
	}
	return runs, nil
}

// loseEngine lets an engine be lost while both own partitions, measures how long each of those that it owned took to answer again,
// and has it back.
func (l *lab) loseEngine(ctx context.Context, victim *member, how loss, runs []string) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("after %s", patience))
	defer cancel()
	owned := 0
	for { // until the partitions are shared again
		all, own := 0, 0
		for _, e := range l.suite.of("engine") {
			found, err := metricsOf(ctx, e.HTTPAddr)
			if err != nil {
				return nil, err
			}
			running := int(found["continuo_engine_partitions_running"])
			if all += running; e == victim {
				own = running
			}
		}
		if all == len(runs) && own > 0 && own == owned {
			break
		}
		owned = own
		if !sleep(ctx, 500*time.Millisecond) {
			return nil, context.Cause(ctx)
		}
	}
	began := now()
	if err := how.lose(victim); err != nil {
		return nil, err
	}
	took, errs := make([]time.Duration, len(runs)), make([]error, len(runs))
	var all sync.WaitGroup
	for p, id := range runs {
		all.Go(func() {
			errs[p] = l.wakeAgain(ctx, id)
			took[p] = since(began)
		})
	}
	all.Wait()
	if err := firstOf(errs); err != nil {
		return nil, fmt.Errorf("signal after the loss: %w", cause(ctx, err))
	}
	slices.Sort(took)
	return took[len(took)-owned:], how.back(ctx, victim) // the others had an owner all the time
}

// wakeAgain sends a signal that its run may never take, again while the gateway says that it may be answered later.
func (l *lab) wakeAgain(ctx context.Context, id string) error {
	for {
		err := noise.Send(ctx, l.client, id, text)
		if refused, is := errors.AsType[*events.Error](err); !is || refused.Code != events.Unavailable && refused.RetryAfterMs == 0 {
			return err
		}
		if !sleep(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}
