package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// projectEach is how many events a run of the workload project has, projectEvents how many there are in all unless told otherwise.
const (
	projectEach   = 500
	projectEvents = 500_000
)

// project measures how many events a second a projector writes into the read store when it is behind: it is killed, the log
// is filled, and the time is measured from its start until it has read everything.
func project(ctx context.Context, l *lab) error {
	if l.suite.broker.Together {
		return errors.New("it kills projectors and not gateways: leave --together out")
	}
	projector := l.suite.of("projector")[0]
	if err := projector.Kill(); err != nil {
		return err
	}
	others := l.suite.members
	l.suite.members = nil
	for _, m := range others {
		if m != projector {
			l.suite.members = append(l.suite.members, m)
		}
	}
	count := projectEvents
	if l.options.Events != defaultEvents {
		count = l.options.Events
	}
	if err := l.populate(ctx, max(count/projectEach, 1), projectEach); err != nil {
		return err
	}
	if err := removeSocket(projector.socket); err != nil {
		return err
	}
	if err := projector.Restart(ctx); err != nil {
		return err
	}
	l.suite.members = others
	// Its lag is unknown until it works; its first events say that it does.
	working := func(m map[string]float64) bool { return m["continuo_projector_events_total"] > 0 }
	if err := l.until(ctx, "the projector works", patience, working); err != nil {
		return err
	}
	before, err := l.metrics(ctx)
	if err != nil {
		return err
	}
	if l.before, err = l.usage(ctx); err != nil {
		return err
	}
	begun := now()
	var after map[string]float64
	var took time.Duration
	err = l.until(ctx, "the projector has everything", longest, func(m map[string]float64) bool {
		after, took = m, since(begun)
		return m["continuo_projector_lag_records"] == 0
	})
	if err != nil {
		return err
	}
	if l.after, err = l.usage(ctx); err != nil {
		return err
	}
	projected := after["continuo_projector_events_total"] - before["continuo_projector_events_total"]
	if projected == 0 {
		return fmt.Errorf("the projector was done before it could be measured: take more --events than %d", count)
	}
	r := l.result
	r.account(l.before, l.after, int(projected))
	r.PerSecond = projected / took.Seconds()
	r.set("events", float64(count))
	return nil
}
