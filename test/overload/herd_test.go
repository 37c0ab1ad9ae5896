package overload_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
)

var herdOf = flag.Int("timers", 100_000, "how many timers are due in one second")

// herd arms timers that are all due within one second.
type herd struct {
	Timers int
	From   time.Time
}

var herding = flow.NewWorkflow[herd, int]("overload.Herd")

func runHerd(ctx flow.Context, h herd) (int, error) {
	var timers []*flow.Future[time.Time]
	for i := range h.Timers {
		timers = append(timers, flow.At(ctx, h.From.Add(time.Duration(i)*time.Second/time.Duration(h.Timers))))
	}
	fired, err := flow.All(ctx, timers...)
	return len(fired), err
}

const (
	timersPerRun = 5_000
	herdDrained  = 15 * time.Second
	herdAPI      = 250 * time.Millisecond
)

// TestTimerHerd lets 100,000 timers be due within one second: they have all fired 15 s later, none before its time, none twice,
// none not at all, and the API answers meanwhile.
//
//nolint:paralleltest // it measures
func TestTimerHerd(t *testing.T) {
	// Arming them must be over before the first is due, which takes as long as the machine needs.
	lead := 5 * time.Second
	for try := 1; ; try++ {
		wrong := stampede(t, lead)
		if len(wrong) == 0 {
			return
		}
		fmt.Printf("herd: try %d: %q\n", try, wrong)
		if try == trials {
			t.Fatalf("%q", wrong)
		}
		lead *= 2
	}
}

func stampede(t *testing.T, lead time.Duration) (wrong []string) {
	s := fixture.Start(t)
	defer func() { _ = s.Kill() }()
	stop := s.Worker(t, herding.With(runHerd), worker.Options{Log: fixture.Quiet(), Watchdog: time.Minute})
	defer stop()
	from := time.Now().Add(lead).Truncate(time.Microsecond)
	var runs []flow.Run[int]
	for i := range (*herdOf + timersPerRun - 1) / timersPerRun {
		run, err := herding.Start(t.Context(), s.Client, herd{Timers: min(timersPerRun, *herdOf-i*timersPerRun), From: from}, flow.ID(fmt.Sprint("herd/", i)))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	fixture.Pause(time.Until(from))
	probes := probe(t, s)
	fired := 0
	for _, run := range runs {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		n, err := run.Result(ctx)
		cancel()
		if err != nil {
			t.Fatalf("run %s: %v", run.ID(), err)
		}
		fired += n
	}
	api, asked := probes()
	var timers tally
	for _, run := range runs {
		timers.read(t, s, run)
	}
	drained := timers.last.Sub(from)
	fmt.Printf("herd: %d timers due in 1 s: %d fired, %d early, %d twice, %d not at all; the last %s after the first was due; API p99 %.1f ms of %d questions; armed %s before\n",
		*herdOf, timers.fired, timers.early, timers.twice, timers.armed-timers.fired, drained.Round(time.Millisecond), api, asked, from.Sub(timers.armedLast).Round(time.Millisecond))
	must := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	// These have no second try.
	if fired != *herdOf || timers.fired != *herdOf || timers.armed != *herdOf || timers.early > 0 || timers.twice > 0 {
		t.Fatalf("of %d timers %d were armed, %d fired, %d early, %d twice; the code saw %d", *herdOf, timers.armed, timers.fired, timers.early, timers.twice, fired)
	}
	must(timers.armedLast.Before(from), "the last timer was armed %s after the first was due", timers.armedLast.Sub(from))
	must(drained <= herdDrained, "they fired within %s", drained)
	must(api <= float64(herdAPI/time.Millisecond), "the API took %.1f ms", api)
	return wrong
}

// probe asks the API something every 20 ms until the returned function is called, which tells the p99 in ms.
func probe(t *testing.T, s *fixture.Suite) func() (p99 float64, asked int) {
	t.Helper()
	var (
		mu   sync.Mutex
		took []time.Duration
		over = make(chan struct{})
		all  sync.WaitGroup
	)
	all.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			all.Go(func() {
				began := time.Now()
				var err error
				if n%2 == 0 {
					_, err = s.API.StartWorkflow(context.Background(), &apiv1.StartWorkflowRequest{Type: "overload.Nobody", WorkflowId: fmt.Sprint("probe/", n)})
				} else {
					_, err = s.API.DescribeWorkflow(context.Background(), &apiv1.DescribeWorkflowRequest{WorkflowId: "herd/0"})
				}
				if err != nil {
					t.Errorf("the API: %v", err)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			})
		}
	})
	return func() (float64, int) {
		close(over)
		all.Wait()
		return quantile(took, .99), len(took)
	}
}

// tally counts what histories say of timers.
type tally struct {
	armed, fired, early, twice int
	last, armedLast            time.Time
}

func (c *tally) read(t *testing.T, s *fixture.Suite, run flow.Run[int]) {
	t.Helper()
	due, fired := map[events.Step]events.Time{}, map[events.Step]bool{}
	for from := uint64(1); from != 0; {
		r, err := s.API.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: run.ID(), RunId: run.RunID().String(), FromEvent: from, PageSize: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		_, records, err := events.UnmarshalHistory(r.GetHistory().GetData())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			for _, e := range record.Events {
				switch e := e.(type) {
				case events.TimerStarted:
					c.armed++
					due[e.Step] = e.Due
					c.armedLast = latest(c.armedLast, record.Time.Std())
				case events.TimerFired:
					c.fired++
					if fired[e.Step] {
						c.twice++
					}
					if record.Time < due[e.Step] {
						c.early++
					}
					fired[e.Step] = true
					c.last = latest(c.last, record.Time.Std())
				default:
				}
			}
		}
		if from = r.GetNextEvent(); len(records) == 0 {
			return
		}
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
