package limits_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// opening says how much a run is to open, in how many activations.
type opening struct {
	First, Then, Bytes int
}

var (
	waiter    = flow.NewWorkflow[flow.None, flow.None]("limits.Waiter")
	echo      = flow.NewWorkflow[int, string]("limits.Echo")
	failing   = flow.NewWorkflow[failureShape, flow.None]("limits.Failing")
	tasks     = flow.NewWorkflow[opening, flow.None]("limits.Tasks")
	timers    = flow.NewWorkflow[opening, flow.None]("limits.Timers")
	publisher = flow.NewWorkflow[opening, flow.None]("limits.Publisher")

	end     = flow.NewSignal[flow.None]("limits.End")
	more    = flow.NewSignal[flow.None]("limits.More")
	nothing = flow.NewTask[string, flow.None]("limits.Nothing")
	produce = flow.NewTask[int, string]("limits.Produce")
)

type failureShape struct {
	Message, Details, Causes int
	Kind                     string
}

// code is what the worker of the tests offers; nobody offers the task limits.Nothing.
func code() []worker.Option {
	return []worker.Option{
		waiter.With(func(ctx flow.Context, _ flow.None) (flow.None, error) {
			return end.Next(ctx).Await(ctx)
		}),
		produce.With(func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }),
		echo.With(func(ctx flow.Context, n int) (string, error) { return produce.Call(ctx, n) }),
		failing.With(func(_ flow.Context, shape failureShape) (flow.None, error) {
			if shape.Kind != "" {
				return flow.None{}, flow.Fail("kind", shape.Kind)
			}
			if shape.Causes > 0 {
				err := errors.New("the first")
				for range shape.Causes {
					err = fmt.Errorf("so: %w", err)
				}
				return flow.None{}, err
			}
			err := flow.Fail("shaped", strings.Repeat("m", shape.Message))
			if shape.Details > 0 {
				err = err.With(strings.Repeat("d", shape.Details-2)) // and two quotes
			}
			return flow.None{}, err
		}),
		tasks.With(opens(func(ctx flow.Context, _ int, bytes int) {
			flow.Go(ctx, nothing.Call, strings.Repeat("x", bytes))
		})),
		timers.With(opens(func(ctx flow.Context, _ int, _ int) { flow.After(ctx, 24*time.Hour) })),
		publisher.With(opens(func(ctx flow.Context, n int, bytes int) {
			flow.NewView[string](fmt.Sprint("view", n)).Set(ctx, strings.Repeat("x", bytes))
		})),
	}
}

// opens is a workflow that does something First times, waits for the signal more, does it Then times more, and waits for its end.
func opens(one func(ctx flow.Context, n, bytes int)) func(flow.Context, opening) (flow.None, error) {
	return func(ctx flow.Context, o opening) (flow.None, error) {
		for n := range o.First {
			one(ctx, n, o.Bytes)
		}
		if _, err := more.Next(ctx).Await(ctx); err != nil {
			return flow.None{}, err
		}
		for n := range o.Then {
			one(ctx, o.First+n, o.Bytes)
		}
		return end.Next(ctx).Await(ctx)
	}
}
