package bench

import (
	"context"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

var (
	hub     = flow.NewWorkflow[flow.None, int]("bench.Hub")
	alarm   = flow.NewWorkflow[time.Time, ring]("bench.Alarm")
	sleeper = flow.NewWorkflow[int, string]("bench.Sleeper")
	hot     = flow.NewWorkflow[int, []time.Time]("bench.Hot")

	message = flow.NewSignal[string]("bench.Message")
	noise   = flow.NewSignal[string]("bench.Noise") // nobody takes it
	pulse   = flow.NewView[string]("bench.Pulse")
)

// last is the message after which a run expects no other.
const last = "last"

// waitingBindings is the code of runs that wait.
func waitingBindings() []flow.Binding {
	return []flow.Binding{hub.With(runHub), alarm.With(runAlarm), sleeper.With(runSleeper), hot.With(runHot)}
}

// runHub takes messages and returns how many came before the last.
func runHub(ctx flow.Context, _ flow.None) (int, error) {
	for n := 0; ; n++ {
		switch m, err := message.Next(ctx).Await(ctx); {
		case err != nil:
			return 0, err
		case m == last:
			return n, nil
		}
	}
}

// ring says when an alarm rang: by the record of its timer, and by the clock of the worker that went on with the code.
type ring struct{ Fired, Seen time.Time }

func runAlarm(ctx flow.Context, due time.Time) (r ring, err error) {
	if _, err := flow.At(ctx, due).Await(ctx); err != nil {
		return r, err
	}
	r.Fired = flow.Now(ctx)
	r.Seen, err = workerTime(ctx)
	return r, err
}

// workerTime is the time in the worker.
func workerTime(ctx flow.Context) (time.Time, error) {
	return flow.Step(ctx, "clock", func(context.Context) (time.Time, error) { return now(), nil })
}

// runSleeper publishes a view so many times and sleeps, for a day or until a message comes, which it returns.
func runSleeper(ctx flow.Context, pulses int) (string, error) {
	publish(ctx, pulses)
	woken, late := message.Next(ctx), flow.After(ctx, 24*time.Hour)
	if flow.First(ctx, woken, late) == late {
		return "", flow.Fail("bench_overslept", "nobody woke the sleeper")
	}
	return woken.Await(ctx)
}

// made is the pulse of a run whose history is made.
const made = "made"

// runHot makes a history of so many events, says that it is there, and takes messages; it returns when it saw each.
func runHot(ctx flow.Context, history int) (seen []time.Time, err error) {
	publish(ctx, history)
	pulse.Set(ctx, made)
	for {
		m, err := message.Next(ctx).Await(ctx)
		if err != nil || m == last {
			return seen, err
		}
		at, err := workerTime(ctx)
		if err != nil {
			return nil, err
		}
		seen = append(seen, at)
	}
}

// publish makes so many events, 1,000 in a record.
func publish(ctx flow.Context, count int) {
	for range count {
		pulse.Set(ctx, text)
	}
}
