package embedded_test

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/embedded"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

func TestQuickBench(t *testing.T) {
	one := flow.NewWorkflow[int, int]("bench.One")
	seq := flow.NewWorkflow[int, int]("bench.Seq")
	st := flow.NewWorkflow[int, int]("bench.Steps")
	suite := start(t, embedded.Options{Dir: t.TempDir()}, double.With(doubling), one.With(func(ctx flow.Context, n int) (int, error) { return double.Call(ctx, n) }),
		seq.With(func(ctx flow.Context, n int) (int, error) {
			for range 10 {
				if _, err := double.Call(ctx, n); err != nil {
					return 0, err
				}
			}
			return n, nil
		}), st.With(func(ctx flow.Context, n int) (int, error) {
			for range 10 {
				if _, err := flow.Step(ctx, "s", func(context.Context) (int, error) { return 1, nil }); err != nil {
					return 0, err
				}
			}
			return n, nil
		}))
	ctx := context.Background()
	cpu := func() float64 {
		var ru syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		return float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
	}
	bench := func(name string, w flow.Workflow[int, int], inflight int, per int) {
		var n atomic.Int64
		end := time.Now().Add(3 * time.Second)
		c0 := cpu()
		t0 := time.Now()
		var wg sync.WaitGroup
		for range inflight {
			wg.Go(func() {
				for time.Now().Before(end) {
					run, err := w.Start(ctx, suite, 1)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := run.Result(ctx); err != nil {
						t.Error(err)
						return
					}
					n.Add(1)
				}
			})
		}
		wg.Wait()
		el := time.Since(t0).Seconds()
		units := float64(n.Load()) * float64(per)
		t.Logf("%s inflight %d: %.0f wf/s, %.0f units/s, %.3f CPU s per 1000 units (all)", name, inflight, float64(n.Load())/el, units/el, (cpu()-c0)/units*1000)
	}
	bench("one", one, 1, 1)
	bench("one", one, 256, 1)
	bench("seq", seq, 64, 10)
	bench("steps", st, 64, 10)
}
