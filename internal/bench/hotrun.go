package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// shortHistory is how many events the run has that the long one is compared with.
const shortHistory = 1_000

// hotrun compares signals to a run with a long history with those to a run with a short one: each signal in turn, until it
// is durable, and until the code has it.
func hotrun(ctx context.Context, l *lab) error {
	var (
		kinds   = [2]string{"short", "long"}
		history = [2]int{shortHistory, l.options.Events}
		runs    [2]flow.Run[[]time.Time]
		sent    [2][]time.Time
		acked   [2][]time.Duration
	)
	for i, length := range history {
		began := now()
		run, err := hot.Start(ctx, l.client, length, flow.ID(l.id(kinds[i], i)), l.queue)
		if err != nil {
			return fmt.Errorf("start of the run with a %s history: %w", kinds[i], err)
		}
		if err := l.awaitHistory(ctx, run.ID()); err != nil {
			return fmt.Errorf("the %s history: %w", kinds[i], err)
		}
		l.result.set(kinds[i]+"_made_seconds", since(began).Seconds())
		runs[i] = run
	}
	send := func(measured bool) error {
		for i, run := range runs {
			began := now()
			if err := message.Send(ctx, l.client, run.ID(), text); err != nil {
				return fmt.Errorf("signal to the run with a %s history: %w", kinds[i], err)
			}
			if measured {
				acked[i] = append(acked[i], since(began))
			}
			sent[i] = append(sent[i], began)
		}
		return nil
	}
	for begun := now(); since(begun) < l.options.Warmup; {
		if err := send(false); err != nil {
			return err
		}
	}
	warm := len(sent[0])
	var err error
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	finish := l.profile(ctx)
	for begun := now(); since(begun) < l.options.Duration; {
		if err := send(true); err != nil {
			return errors.Join(err, finish())
		}
	}
	if l.after, err = l.usage(ctx); err != nil {
		return errors.Join(err, finish())
	}
	if err := finish(); err != nil {
		return err
	}
	r := l.result
	r.account(l.before, l.after, 2*len(acked[0]))
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the runs have not taken all signals after %s", patience))
	defer cancel()
	var p99, seen99 [2]float64
	for i, run := range runs {
		if err := message.Send(ctx, l.client, run.ID(), last); err != nil {
			return cause(ctx, err)
		}
		seen, err := run.Result(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		if len(seen) != len(sent[i]) {
			return fmt.Errorf("run %s has seen %d signals, and %d were acknowledged", run.ID(), len(seen), len(sent[i]))
		}
		var until []time.Duration
		for n := warm; n < len(seen); n++ {
			until = append(until, seen[n].Sub(sent[i][n]))
		}
		_, _, seen99[i] = percentiles(until)
		r.P50Ms, r.P95Ms, p99[i] = percentiles(acked[i])
		r.set(kinds[i]+"_acknowledged_p99_ms", p99[i])
		r.set(kinds[i]+"_seen_p99_ms", seen99[i])
	}
	r.P99Ms = p99[1]
	r.set("events", float64(l.options.Events))
	r.set("acknowledged_p99_ratio", p99[1]/p99[0])
	r.set("seen_p99_ratio", seen99[1]/seen99[0])
	return nil
}

// awaitHistory waits until a run says that its history is made.
func (l *lab) awaitHistory(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it is not made after %s", longest))
	defer cancel()
	for {
		said, err := pulse.Get(ctx, l.client, id)
		if err == nil && said == made {
			return nil
		}
		if err != nil && !errors.Is(err, &events.Error{Code: events.ViewNotFound}) {
			return cause(ctx, err)
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}
