package poison_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
)

// watchdog is short, so that code which blocks is found within the second that the test allows.
const watchdog = 300 * time.Millisecond

var (
	honest = flow.NewWorkflow[int, int]("honest.Run")
	double = flow.NewTask[int, int]("honest.Double")

	panics   = flow.NewWorkflow[flow.None, flow.None]("poison.Panics")
	exits    = flow.NewWorkflow[flow.None, flow.None]("poison.Exits")
	blocks   = flow.NewWorkflow[flow.None, flow.None]("poison.Blocks")
	loops    = flow.NewWorkflow[flow.None, flow.None]("poison.Loops")
	forever  = flow.NewWorkflow[int, flow.None]("poison.ContinuesForEver")
	wanders  = flow.NewWorkflow[flow.None, flow.None]("poison.Wanders")
	calls    = flow.NewWorkflow[string, string]("poison.Calls")
	deep     = flow.NewWorkflow[int, flow.None]("poison.Deep")
	greedy   = flow.NewWorkflow[int, flow.None]("poison.Greedy")
	shows    = flow.NewWorkflow[int, flow.None]("poison.Shows")
	listens  = flow.NewWorkflow[flow.None, int]("poison.Listens")
	number   = flow.NewSignal[int]("poison.Number")
	panicky  = flow.NewTask[string, string]("panic", flow.Retry(flow.RetryPolicy{Initial: time.Hour}))
	quitter  = flow.NewTask[string, string]("goexit", flow.Retry(flow.RetryPolicy{Initial: time.Hour}))
	produces = flow.NewTask[string, string]("produce")
	kills    = flow.NewTask[string, string]("kill", flow.Retry(flow.RetryPolicy{Initial: time.Hour}))
	wrong    = flow.NewTask[int, int]("wrong", flow.Retry(flow.RetryPolicy{Initial: time.Hour}))
)

// roles are the processes beside the test: workers that are killed with it.
var roles = map[string]fixture.Role{
	"honest": func(ctx context.Context, addr string) error {
		return work(ctx, addr, "", 0, append(honestCode(), poisonCode()...)...)
	},
	"poisoned": func(ctx context.Context, addr string) error { return work(ctx, addr, "poisoned", -1, poisonCode()...) },
}

// work is a worker; live -1 keeps no run in memory, so that each activation is a replay.
func work(ctx context.Context, addr, queue string, live int, code ...worker.Option) error {
	c, err := client.Dial(addr, client.Options{})
	if err != nil {
		return err
	}
	w, err := worker.New(c, append(code, worker.Options{Queue: queue, Watchdog: watchdog, LiveRuns: live, Log: slog.New(slog.DiscardHandler)})...)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func honestCode() []worker.Option {
	return []worker.Option{
		double.With(func(_ context.Context, n int) (int, error) { return 2 * n, nil }),
		honest.With(func(ctx flow.Context, n int) (int, error) { return double.Call(ctx, n) }),
	}
}

// times counts the runs of code that is not deterministic.
var times int //nolint:gochecknoglobals // the poison itself

func poisonCode() []worker.Option {
	return []worker.Option{
		panics.With(func(flow.Context, flow.None) (flow.None, error) { panic("on purpose") }),
		exits.With(func(flow.Context, flow.None) (flow.None, error) {
			runtime.Goexit()
			return flow.None{}, nil
		}),
		blocks.With(func(flow.Context, flow.None) (flow.None, error) { select {} }),
		loops.With(func(flow.Context, flow.None) (flow.None, error) {
			for n := 0; ; n++ {
			}
		}),
		forever.With(func(ctx flow.Context, n int) (flow.None, error) { return forever.Continue(ctx, n+1) }),
		wanders.With(func(ctx flow.Context, _ flow.None) (flow.None, error) {
			times++
			if times%2 == 0 {
				flow.NewView[int](fmt.Sprint("time", times)).Set(ctx, times)
			}
			return flow.None{}, flow.Sleep(ctx, time.Millisecond)
		}),
		calls.With(func(ctx flow.Context, name string) (string, error) {
			if name == "wrong" {
				// The task takes a number and gets a text.
				return flow.NewTask[string, string](name, flow.Retry(flow.RetryPolicy{Initial: time.Hour})).Call(ctx, "a text")
			}
			return flow.NewTask[string, string](name, flow.Retry(flow.RetryPolicy{Initial: time.Hour})).Call(ctx, name)
		}),
		deep.With(func(_ flow.Context, depth int) (flow.None, error) {
			err := errors.New("the first")
			for range depth {
				err = fmt.Errorf("so: %w", err)
			}
			return flow.None{}, err
		}),
		greedy.With(func(ctx flow.Context, n int) (flow.None, error) {
			for range n {
				flow.After(ctx, time.Hour)
			}
			return flow.None{}, flow.Sleep(ctx, time.Hour)
		}),
		shows.With(func(ctx flow.Context, bytes int) (flow.None, error) {
			flow.NewView[string]("large").Set(ctx, strings.Repeat("x", bytes))
			return flow.None{}, flow.Sleep(ctx, time.Hour)
		}),
		listens.With(func(ctx flow.Context, _ flow.None) (int, error) { return number.Next(ctx).Await(ctx) }),
		panicky.With(func(context.Context, string) (string, error) { panic("on purpose") }),
		quitter.With(func(context.Context, string) (string, error) {
			runtime.Goexit()
			return "", nil
		}),
		produces.With(func(context.Context, string) (string, error) { return strings.Repeat("x", 2<<20), nil }),
		kills.With(func(context.Context, string) (string, error) {
			os.Exit(7)
			return "", nil
		}),
		wrong.With(func(_ context.Context, n int) (int, error) { return n, nil }),
	}
}
