package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// runs measures runs of a workflow, each started and waited for by one call, that counts for so many units.
func runs(w flow.Workflow[string, string], units int) func(context.Context, *lab) error {
	return func(ctx context.Context, l *lab) error {
		return l.load(ctx, units, func(ctx context.Context, _ int) error {
			out, err := w.Run(ctx, l.client, text, l.queue)
			if err == nil && out != text {
				return fmt.Errorf("%s returned %q", w.Name(), out)
			}
			return err
		})
	}
}

// sequence measures one run of ten tasks at a time: how long each task takes when nothing else is to be done, and how often
// somebody waits for the broker meanwhile.
func sequence(ctx context.Context, l *lab) error {
	if err := runs(seq10, 10)(ctx, l); err != nil {
		return err
	}
	r := l.result
	r.set("task_p50_ms", r.P50Ms/10)
	r.set("task_p99_ms", r.P99Ms/10)
	ten, err := l.inSeries(ctx, seq10)
	if err != nil {
		return err
	}
	one, err := l.inSeries(ctx, oneTask)
	if err != nil {
		return err
	}
	r.set("appends_in_series", (ten-one)/9)
	return nil
}

// inSeries is how often a run of a workflow waits for the broker: nothing else is under way, so all that is appended is waited
// for. Of the inbox only deliveries are.
func (l *lab) inSeries(ctx context.Context, w flow.Workflow[string, string]) (float64, error) {
	const count = 10
	before, err := l.usage(ctx)
	if err != nil {
		return 0, err
	}
	for range count {
		if _, err := w.Run(ctx, l.client, text, l.queue); err != nil {
			return 0, err
		}
	}
	after, err := l.usage(ctx)
	if err != nil {
		return 0, err
	}
	var r Result
	r.account(before, after, count)
	return r.Parts["appends_commands"] + r.Parts["appends_events"] + (after.deliveries-before.deliveries)/count, nil
}

// idle measures what the processes use when there is nothing to do.
func idle(ctx context.Context, l *lab) (err error) {
	if !sleep(ctx, l.options.Warmup) {
		return context.Cause(ctx)
	}
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	finish := l.profile(ctx)
	if !sleep(ctx, l.options.Duration) {
		return errors.Join(context.Cause(ctx), finish())
	}
	if l.after, err = l.usage(ctx); err != nil {
		return errors.Join(err, finish())
	}
	l.result.account(l.before, l.after, max(int(l.after.at.Sub(l.before.at).Seconds()), 1))
	return finish()
}

// Phases of a load.
const (
	warming int32 = iota
	measuring
	ending
)

// load keeps as many calls open as may be in flight, and measures those that end in the measured time. Each counts for
// so many units. Call gets the number of its caller.
func (l *lab) load(ctx context.Context, units int, call func(ctx context.Context, caller int) error) error {
	limit := l.options.Warmup + l.options.Duration + patience
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("calls did not come back within %s of the end", patience))
	defer cancel()
	var (
		phase   atomic.Int32
		done    atomic.Int64
		all     sync.WaitGroup
		samples = make([][]time.Duration, l.options.Inflight)
		failed  = make(chan error, l.options.Inflight)
	)
	for caller := range samples {
		all.Go(func() {
			for phase.Load() != ending {
				began := now()
				if err := call(ctx, caller); err != nil {
					failed <- err
					return
				}
				if took := since(began); phase.Load() == measuring {
					samples[caller] = append(samples[caller], took)
					done.Add(1)
				}
			}
		})
	}
	err := l.measure(ctx, failed, func() bool { return done.Load() > 0 }, phase.Store)
	phase.Store(ending)
	if err != nil {
		cancel()
	}
	all.Wait()
	select {
	case late := <-failed:
		if err == nil {
			err = fmt.Errorf("a call failed: %w", cause(ctx, late))
		}
	default:
	}
	if err != nil {
		return err
	}
	together := slices.Concat(samples...)
	r := l.result
	r.account(l.before, l.after, len(together)*units)
	r.P50Ms, r.P95Ms, r.P99Ms = percentiles(together)
	return nil
}

// measure waits for the warm-up and the measured time and notes what was used at both ends of it. The measured time goes on
// until something was done in it.
func (l *lab) measure(ctx context.Context, failed chan error, enough func() bool, phase func(int32)) error {
	wait := func(d time.Duration) error {
		timer := time.NewTimer(d) //nolint:forbidigo // measured is real time
		defer timer.Stop()
		select {
		case err := <-failed:
			return fmt.Errorf("a call failed: %w", cause(ctx, err))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		}
	}
	if err := wait(l.options.Warmup); err != nil {
		return err
	}
	var err error
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	finish := l.profile(ctx)
	phase(measuring)
	if err := wait(l.options.Duration); err != nil {
		return errors.Join(err, finish())
	}
	for !enough() {
		if err := wait(10 * time.Millisecond); err != nil {
			return errors.Join(err, finish())
		}
	}
	phase(ending)
	l.after, err = l.usage(ctx)
	return errors.Join(err, finish())
}

// each makes so many calls, as many at a time as may be in flight, and returns how many were made until now and how long
// each took. It stops early, without an error, when no call is begun for the time being up.
func (l *lab) each(ctx context.Context, count int, during time.Duration, call func(ctx context.Context, n int) error) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, during+patience, fmt.Errorf("calls did not come back within %s of the end", patience))
	defer cancel()
	var (
		next    atomic.Int64
		all     sync.WaitGroup
		samples = make([][]time.Duration, l.options.Inflight)
		failed  = make(chan error, l.options.Inflight)
		begun   = now()
	)
	for caller := range samples {
		all.Go(func() {
			for since(begun) < during {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				began := now()
				if err := call(ctx, n); err != nil {
					failed <- fmt.Errorf("call %d failed: %w", n, cause(ctx, err))
					cancel()
					return
				}
				samples[caller] = append(samples[caller], since(began))
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	return slices.Concat(samples...), nil
}

// cause says why a call failed: the reason of the context's end where that is why.
func cause(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
