// Package poison_test shows that code, payloads, peers and records that are bad hurt only themselves: others go on, what is
// bad is seen within a second, and the server stays up.
package poison_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/test/fixture"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(fixture.Main(m, roles))
}

// Load of the honest workflows: far below what the server can do, so that a run which is late is late for a reason.
const (
	honestEvery  = 20 * time.Millisecond
	honestWithin = time.Second
	honestShare  = 0.95
)

// load starts honest runs at a steady rate until it is stopped, and counts those that end in time.
type load struct {
	started, inTime atomic.Int64
	worst           atomic.Int64 // ns
	stop            func()
}

func startLoad(tb testing.TB, s *fixture.Suite) *load {
	tb.Helper()
	l := &load{}
	c := s.Dial(tb, client.Options{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var runs sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(honestEvery)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				runs.Wait()
				return
			case <-tick.C:
			}
			runs.Go(func() {
				began := time.Now()
				limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
				defer cancel()
				got, err := honest.Run(limited, c, n)
				took := time.Since(began)
				l.started.Add(1)
				if err == nil && got == 2*n && took <= honestWithin {
					l.inTime.Add(1)
				}
				for worst := l.worst.Load(); int64(took) > worst && !l.worst.CompareAndSwap(worst, int64(took)); worst = l.worst.Load() {
				}
			})
		}
	}()
	l.stop = sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(l.stop)
	return l
}

// reset forgets what was counted.
func (l *load) reset() {
	l.started.Store(0)
	l.inTime.Store(0)
	l.worst.Store(0)
}

func (l *load) share() float64 { return float64(l.inTime.Load()) / float64(max(l.started.Load(), 1)) }

func (l *load) String() string {
	return fmt.Sprintf("%d of %d honest runs within %s, the slowest %s", l.inTime.Load(), l.started.Load(), honestWithin, time.Duration(l.worst.Load()).Round(time.Millisecond))
}

// kind is one kind of poison.
type kind struct {
	name string
	// queue "poisoned" is worked on by a process of its own, for what takes its whole process down.
	queue  string
	within time.Duration
	start  func(ctx context.Context, c *client.Client, id string, o flow.StartOption) error
	// seen reports whether a description shows what is wrong.
	seen func(d *apiv1.DescribeWorkflowResponse) bool
}

func starts[In, Out any](w flow.Workflow[In, Out], in In) func(context.Context, *client.Client, string, flow.StartOption) error {
	return func(ctx context.Context, c *client.Client, id string, o flow.StartOption) error {
		_, err := w.Start(ctx, c, in, flow.ID(id), o)
		return err
	}
}

func activationFails(code string) func(d *apiv1.DescribeWorkflowResponse) bool {
	return func(d *apiv1.DescribeWorkflowResponse) bool {
		return d.GetActivation().GetLastFailure().GetCode() == code && says(d, code)
	}
}

func taskFails(code string) func(d *apiv1.DescribeWorkflowResponse) bool {
	return func(d *apiv1.DescribeWorkflowResponse) bool {
		return len(d.GetTasks()) == 1 && d.GetTasks()[0].GetLastFailure().GetCode() == code && says(d, code)
	}
}

func runFails(code string) func(d *apiv1.DescribeWorkflowResponse) bool {
	return func(d *apiv1.DescribeWorkflowResponse) bool {
		return d.GetInfo().GetStatus() == apiv1.Status_STATUS_FAILED && d.GetInfo().GetFailure().GetCode() == code
	}
}

// says reports whether the words for people have the code.
func says(d *apiv1.DescribeWorkflowResponse, code string) bool {
	return strings.Contains(strings.Join(d.GetWaitsFor(), "\n"), code)
}

func kinds() []kind {
	second := time.Second
	return []kind{
		{"workflow panics", "", second, starts(panics, flow.None{}), activationFails(events.CodeWorkflowPanicked)},
		{"workflow ends its goroutine", "", second, starts(exits, flow.None{}), activationFails(events.CodeWorkflowPanicked)},
		{"workflow blocks", "", second + watchdog, starts(blocks, flow.None{}), activationFails(events.CodeWorkflowBlocked)},
		{"workflow is not deterministic", "poisoned", 3 * second, starts(wanders, flow.None{}), activationFails(events.CodeNonDeterministic)},
		{"workflow goes over a limit", "", 3 * second, starts(greedy, 10_001), activationFails(events.CodeRunLimit)},
		{"workflow publishes too much", "", second, starts(shows, 2<<20), activationFails(events.CodePayloadTooLarge)},
		{"task panics", "", second, starts(calls, "panic"), taskFails(events.CodeTaskPanicked)},
		{"task ends its goroutine", "", second, starts(calls, "goexit"), taskFails(events.CodeTaskPanicked)},
		{"task returns too much", "", second, starts(calls, "produce"), runFails(events.CodePayloadTooLarge)},
		{"task gets what it cannot decode", "", second, starts(calls, "wrong"), func(d *apiv1.DescribeWorkflowResponse) bool {
			return runFails(events.CodeBadPayload)(d) || taskFails(events.CodeBadPayload)(d)
		}},
		{"failure chain of 10,000", "", 2 * second, starts(deep, 10_000), runFails(events.CodeWorkflowFailed)},
		{"workflow input that cannot be decoded", "", second, func(ctx context.Context, c *client.Client, id string, o flow.StartOption) error {
			return starts(flow.NewWorkflow[string, flow.None](greedy.Name()), "a text")(ctx, c, id, o)
		}, func(d *apiv1.DescribeWorkflowResponse) bool {
			return runFails(events.CodeBadPayload)(d) || activationFails(events.CodeBadPayload)(d)
		}},
		{"signal that cannot be decoded", "", second, func(ctx context.Context, c *client.Client, id string, o flow.StartOption) error {
			if err := starts(listens, flow.None{})(ctx, c, id, o); err != nil {
				return err
			}
			return flow.NewSignal[string](number.Name()).Send(ctx, c, id, "a text")
		}, runFails(events.CodeBadPayload)},
		{"task ends its process", "poisoned", 8 * second, starts(calls, "kill"), taskFails(events.CodeWorkerLost)},
		{"workflow continues for ever", "poisoned", second, starts(forever, 0), func(d *apiv1.DescribeWorkflowResponse) bool {
			return d.GetInfo().GetEvents() > 100
		}},
		{"workflow loops for ever", "poisoned", second + watchdog, starts(loops, flow.None{}), activationFails(events.CodeWorkflowBlocked)},
	}
}

// TestPoison holds that every kind of poison hurts only itself.
//
//nolint:paralleltest // it measures
func TestPoison(t *testing.T) {
	s := fixture.Start(t)
	pid := s.PID()
	s.Role(t, "honest")
	l := startLoad(t, s)
	fixture.Eventually(t, 20*time.Second, func() (bool, string) { return l.inTime.Load() > 20, l.String() })
	poisoned := 0
	check := func(t *testing.T, do func(t *testing.T) (what string, late bool)) {
		t.Helper()
		poisoned++
		// The machine may be slow for a moment for reasons of its own: what is too low or too late is measured again.
		for try := 1; ; try++ {
			l.reset()
			began := time.Now()
			what, late := do(t)
			for time.Since(began) < time.Second || l.started.Load() < 20 {
				fixture.Pause(honestEvery)
			}
			if l.share() >= honestShare && !late {
				fmt.Printf("poison: %-42s %s; %s\n", t.Name()[len("TestPoison/"):], what, l)
				break
			}
			if try == 3 {
				t.Errorf("%s (late: %t), %s", what, late, l)
				break
			}
			fmt.Printf("poison: %s: try %d: %s (late: %t), %s\n", t.Name(), try, what, late, l)
		}
		if s.PID() != pid {
			t.Fatal("the server was started again")
		}
		select {
		case <-s.Gone():
			t.Fatalf("the server has ended: %v", s.Err())
		default:
		}
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			n := 0
			check(t, func(t *testing.T) (string, bool) {
				queue := flow.Queue("")
				if k.queue != "" {
					queue = flow.Queue(k.queue)
					role := s.Role(t, "poisoned")
					defer func() { _ = role.Kill() }()
				}
				n++
				id := fmt.Sprintf("%s/%d", k.name, n)
				if err := k.start(t.Context(), s.Client, id, queue); err != nil {
					t.Fatal(err)
				}
				within := k.within
				if k.queue != "" {
					within += 2 * time.Second // for the process to begin
				}
				took := seenWithin(t, s, id, within, k.seen)
				_, _ = s.API.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: id})
				return fmt.Sprintf("seen after %s", took.Round(time.Millisecond)), took > within
			})
		})
	}
	t.Run("peers", func(t *testing.T) { hostilePeers(t, s, check) })
	l.stop()
	fmt.Printf("poison: %d kinds, 0 restarts\n", poisoned)
}

// seenWithin waits until the description of a run shows what is wrong with it, three times as long as it should take and some, and
// returns how long it took.
func seenWithin(t *testing.T, s *fixture.Suite, id string, within time.Duration, seen func(*apiv1.DescribeWorkflowResponse) bool) time.Duration {
	t.Helper()
	began := time.Now()
	fixture.Eventually(t, 3*within+5*time.Second, func() (bool, string) {
		d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
		return err == nil && seen(d), fmt.Sprintf("%v, %.500s, %.300s", err, fmt.Sprint(d.GetWaitsFor()), fmt.Sprint(d.GetInfo()))
	})
	return time.Since(began)
}
