package overload_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
)

var signalsOf = flag.Int("signals", 20_000, "how many signals one run is sent (the long form is 1,000,000)")

var (
	hot    = flow.NewWorkflow[int, sum]("overload.Hot")
	number = flow.NewSignal[int]("overload.Number")
)

// sum is what a run has seen of the numbers from 1 on, each sent once.
type sum struct{ Seen, Total int }

// runHot reads as many signals as it is told, without ever beginning anew: its history holds them all.
func runHot(ctx flow.Context, n int) (sum, error) {
	var s sum
	for s.Seen < n {
		v, err := number.Next(ctx).Await(ctx)
		if err != nil {
			return s, err
		}
		s.Seen++
		s.Total += v
	}
	return s, nil
}

const (
	probed       = 300              // signals sent one after another at the beginning and at the end
	slower       = 2.0              // how much slower the last may be than the first
	slowerFloor  = 10.0             // ms; below nobody cares
	signalsGrow  = int64(300 << 20) // bytes that the server may grow by
	sideBySide   = 64
	fullPatience = 5 * time.Millisecond
)

// TestOneRunWithManySignals sends one run tens of thousands of signals as fast as it takes them: each is kept and read once,
// the server's memory is bounded, and the last signal is answered as quickly as the first.
//
//nolint:paralleltest // it measures
func TestOneRunWithManySignals(t *testing.T) {
	for try := 1; ; try++ {
		wrong := flood(t)
		if len(wrong) == 0 {
			return
		}
		fmt.Printf("signals: try %d: %q\n", try, wrong)
		if try == trials {
			t.Fatalf("%q", wrong)
		}
	}
}

func flood(t *testing.T) (wrong []string) {
	s := fixture.Start(t)
	defer func() { _ = s.Kill() }()
	stop := s.Worker(t, hot.With(runHot), worker.Options{Log: fixture.Quiet(), Watchdog: time.Minute})
	defer stop()
	n := *signalsOf
	run, err := hot.Start(t.Context(), s.Client, n, flow.ID("hot"))
	if err != nil {
		t.Fatal(err)
	}
	var full atomic.Int64
	send := func(i int) time.Duration {
		for {
			began := time.Now()
			err := number.Send(t.Context(), s.Client, "hot", i, flow.RequestID(fmt.Sprint("n", i)))
			if err == nil {
				return time.Since(began)
			}
			if !errors.Is(err, &events.Error{Code: events.InboxFull}) {
				t.Errorf("signal %d: %v", i, err)
				return 0
			}
			full.Add(1)
			fixture.Pause(fullPatience)
		}
	}
	oneByOne := func(from int) float64 {
		var took []time.Duration
		for i := range probed {
			took = append(took, send(from+i))
		}
		return quantile(took, .99)
	}
	first := oneByOne(1)
	before := rss(t, s.Process)
	began := time.Now()
	var (
		all  sync.WaitGroup
		next atomic.Int64
	)
	next.Store(probed)
	for range sideBySide {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n-probed && !t.Failed(); i = int(next.Add(1)) {
				send(i)
			}
		})
	}
	all.Wait()
	rate := float64(n-2*probed) / time.Since(began).Seconds()
	last := oneByOne(n - probed + 1)
	after := rss(t, s.Process)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	got, err := run.Result(ctx)
	if err != nil || got.Seen != n || got.Total != n*(n+1)/2 {
		t.Fatalf("the run has seen %+v of %d signals, %v", got, n, err)
	}
	fmt.Printf("signals: %d into one run at %.0f/s, all read once; %d times full; one at a time p99 %.1f ms at the beginning, %.1f ms at the end; server %d -> %d MiB\n",
		n, rate, full.Load(), first, last, before>>20, after>>20)
	must := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	must(last <= max(slower*first, slowerFloor), "a signal takes %.1f ms at the end and %.1f ms at the beginning", last, first)
	must(after-before <= signalsGrow, "the server grew by %d MiB", (after-before)>>20)
	return wrong
}
