package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/embedded"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// line is a connection that a test can cut and keep cut.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	l.conns = append(l.conns, c)
	return c, nil
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut = cut; cut {
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.conns = nil
	}
}

// join runs a worker of its own against a server; stop ends it.
func join(t *testing.T, addr string, parts ...worker.Option) (l *line, stop func() error) {
	t.Helper()
	l = &line{}
	c, err := client.Dial("passthrough:"+addr, client.Options{DialOptions: []grpc.DialOption{grpc.WithContextDialer(l.dial)}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(c, parts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, c.Close())
	})
	t.Cleanup(func() { _ = stop() })
	return l, stop
}

func describe(t *testing.T, s *embedded.Suite, id string, until func(*apiv1.DescribeWorkflowResponse) bool) *apiv1.DescribeWorkflowResponse {
	t.Helper()
	ctx := within(t)
	for {
		d, err := apiv1.NewWorkflowServiceClient(s.Conn()).DescribeWorkflow(ctx, &apiv1.DescribeWorkflowRequest{WorkflowId: id})
		if err == nil && until(d) {
			return d
		}
		select {
		case <-ctx.Done():
			t.Fatalf("describe: %v, %v", d, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	pilot  = flow.NewWorkflow[string, string]("trouble.Pilot")
	assist = flow.NewTask[string, string]("trouble.Task", flow.Retry(flow.RetryPolicy{Initial: time.Millisecond}))
)

func callAssist(ctx flow.Context, in string) (string, error) { return assist.Call(ctx, in) }

func TestAResultMadeWhileTheServerWasGoneCountsAfterItsRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := within(t)
	var (
		tries   atomic.Int32
		running = make(chan struct{}, 8)
		gate    = make(chan struct{})
	)
	first := start(t, embedded.Options{Dir: dir, GRPCAddr: "127.0.0.1:0"}, pilot.With(callAssist))
	addr := first.GRPCAddr()
	join(t, addr, worker.Options{}, assist.With(func(context.Context, string) (string, error) {
		tries.Add(1)
		running <- struct{}{}
		<-gate
		return "done", nil
	}))
	if _, err := pilot.Start(ctx, first, "x", flow.ID("pilot/1")); err != nil {
		t.Fatal(err)
	}
	<-running
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	close(gate)
	second := start(t, embedded.Options{Dir: dir, GRPCAddr: addr}, pilot.With(callAssist))
	if got, err := pilot.Attach(second, "pilot/1").Result(ctx); err != nil || got != "done" {
		t.Errorf("got %q, %v", got, err)
	}
	if tries.Load() > 2 {
		t.Errorf("the task was executed %d times", tries.Load())
	}
}

func TestATaskOfALostWorkerIsDoneByAnother(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	suite := start(t, embedded.Options{GRPCAddr: "127.0.0.1:0"}, pilot.With(callAssist))
	running := make(chan struct{}, 1)
	lost, _ := join(t, suite.GRPCAddr(), worker.Options{DrainTimeout: time.Millisecond}, assist.With(func(ctx context.Context, _ string) (string, error) {
		running <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}))
	run, err := pilot.Start(ctx, suite, "x")
	if err != nil {
		t.Fatal(err)
	}
	<-running
	lost.set(true)
	attempts := make(chan events.Attempt, 8)
	join(t, suite.GRPCAddr(), worker.Options{}, assist.With(func(ctx context.Context, _ string) (string, error) {
		attempts <- task.Info(ctx).Attempt
		return "by another", nil
	}))
	if got, err := run.Result(ctx); err != nil || got != "by another" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := <-attempts; n != 2 {
		t.Errorf("attempt %d, want 2: the first was lost", n)
	}
}

func TestTwoWorkersShareAQueueAndOneLeavesWithoutLoss(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	once := flow.NewTask[int, int]("trouble.Once", flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
	many := flow.NewWorkflow[int, int]("trouble.Many")
	suite := start(t, embedded.Options{GRPCAddr: "127.0.0.1:0"}, many.With(func(ctx flow.Context, n int) (int, error) {
		total := 0
		for i := range n {
			v, err := once.Call(ctx, i)
			if err != nil {
				return 0, err
			}
			total += v
		}
		return total, nil
	}))
	first := make(chan struct{}, 10_000)
	code := once.With(func(_ context.Context, n int) (int, error) { first <- struct{}{}; return n, nil })
	_, leave := join(t, suite.GRPCAddr(), worker.Options{}, code)
	join(t, suite.GRPCAddr(), worker.Options{}, code)
	var runs []flow.Run[int]
	for range 20 {
		run, err := many.Start(ctx, suite, 20)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	for range 50 {
		<-first
	}
	if err := leave(); err != nil { // under load, with tasks that may be tried only once
		t.Errorf("the worker that left: %v", err)
	}
	for _, run := range runs {
		if got, err := run.Result(ctx); err != nil || got != 190 {
			t.Fatalf("got %d, %v, want 190", got, err)
		}
	}
}

func TestAWorkerWithOtherTypesIsRefused(t *testing.T) {
	t.Parallel()
	suite := start(t, embedded.Options{GRPCAddr: "127.0.0.1:0"}, assist.With(func(_ context.Context, in string) (string, error) { return in, nil }))
	describeReady(t, suite)
	c, err := client.Dial(suite.GRPCAddr(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := flow.NewTask[int, int](assist.Name())
	w, err := worker.New(c, other.With(func(_ context.Context, n int) (int, error) { return n, nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(within(t)); !errors.Is(err, &events.Error{Code: events.SignatureMismatch}) || !strings.Contains(err.Error(), "new name") {
		t.Errorf("got %v, want signature_mismatch and what to do", err)
	}
}

// describeReady waits until the suite's own worker is connected: a run through it says so.
func describeReady(t *testing.T, s *embedded.Suite) {
	t.Helper()
	ctx := within(t)
	for {
		r, err := apiv1.NewWorkflowServiceClient(s.Conn()).ListWorkers(ctx, &apiv1.ListWorkersRequest{})
		if err == nil && len(r.GetWorkers()) > 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no worker: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Two deploys: the first does not fit the open run and says so on it, the second fits and goes on at once, although the
// run's back-off has not passed.
func TestCodeThatDoesNotFitIsVisibleUntilFittingCodeComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := within(t)
	signalled := flow.NewSignal[string]("trouble.go")
	fits := func(ctx flow.Context, in string) (string, error) {
		if _, err := assist.Call(ctx, in); err != nil {
			return "", err
		}
		return signalled.Next(ctx).Await(ctx)
	}
	code := assist.With(func(_ context.Context, in string) (string, error) { return in, nil })
	build := func(name string) embedded.Options {
		return embedded.Options{Dir: dir, Worker: worker.Options{Build: name}}
	}
	first := start(t, build("one"), pilot.With(fits), code)
	if _, err := pilot.Start(ctx, first, "x", flow.ID("pilot/2")); err != nil {
		t.Fatal(err)
	}
	describe(t, first, "pilot/2", func(d *apiv1.DescribeWorkflowResponse) bool { return strings.Contains(fmt.Sprint(d), "trouble.go") })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, build("two"), pilot.With(func(ctx flow.Context, _ string) (string, error) {
		return signalled.Next(ctx).Await(ctx) // the call is gone
	}), code)
	if err := signalled.Send(ctx, second, "pilot/2", "went on"); err != nil {
		t.Fatal(err)
	}
	d := describe(t, second, "pilot/2", func(d *apiv1.DescribeWorkflowResponse) bool {
		return strings.Contains(fmt.Sprint(d), events.CodeNonDeterministic)
	})
	if text := fmt.Sprint(d); !strings.Contains(text, "trouble.Task") || !strings.Contains(text, "trouble_test.go") {
		t.Errorf("describe does not say what does not fit and where: %s", text)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := start(t, build("three"), pilot.With(fits), code)
	if got, err := pilot.Attach(third, "pilot/2").Result(ctx); err != nil || got != "went on" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPanicsAreVisibleAndDoNotSpread(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	var tries atomic.Int32
	bad := flow.NewWorkflow[string, string]("trouble.Bad")
	suite := start(t, embedded.Options{},
		bad.With(func(flow.Context, string) (string, error) { panic("workflow trouble") }),
		pilot.With(callAssist),
		assist.With(func(context.Context, string) (string, error) {
			if tries.Add(1) == 1 {
				panic("task trouble")
			}
			return "recovered", nil
		}),
	)
	if _, err := bad.Start(ctx, suite, "x", flow.ID("bad/1")); err != nil {
		t.Fatal(err)
	}
	if got, err := pilot.Run(ctx, suite, "x"); err != nil || got != "recovered" {
		t.Errorf("got %q, %v", got, err)
	}
	describe(t, suite, "bad/1", func(d *apiv1.DescribeWorkflowResponse) bool {
		return strings.Contains(fmt.Sprint(d), "workflow trouble")
	})
}

// Code that never waits costs its own run and no other.
func TestAPoisonWorkflowThatLoopsHarmsNoOther(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	var stop atomic.Bool
	poison := flow.NewWorkflow[string, string]("trouble.Poison")
	suite := start(t, embedded.Options{Worker: worker.Options{Watchdog: 200 * time.Millisecond}},
		poison.With(func(flow.Context, string) (string, error) {
			for !stop.Load() {
				runtime.Gosched()
			}
			return "", nil
		}),
		pilot.With(callAssist), assist.With(func(_ context.Context, in string) (string, error) { return in, nil }),
	)
	t.Cleanup(func() { stop.Store(true) })
	if _, err := poison.Start(ctx, suite, "x", flow.ID("poison/1")); err != nil {
		t.Fatal(err)
	}
	if got, err := pilot.Run(ctx, suite, "fine"); err != nil || got != "fine" {
		t.Errorf("got %q, %v", got, err)
	}
	describe(t, suite, "poison/1", func(d *apiv1.DescribeWorkflowResponse) bool {
		return strings.Contains(fmt.Sprint(d), events.CodeWorkflowBlocked) && strings.Contains(fmt.Sprint(d), "trouble_test.go")
	})
}

func TestStartSaysWhatIsWrongWithTheCode(t *testing.T) {
	t.Parallel()
	code := assist.With(func(_ context.Context, in string) (string, error) { return in, nil })
	_, err := embedded.Start(t.Context(), embedded.Options{}, code, code)
	if !errors.Is(err, &events.Error{Code: events.DuplicateName}) {
		t.Errorf("got %v, want duplicate_name", err)
	}
}

func TestATaskWithoutCodeWaitsForAWorkerThatHasIt(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	suite := start(t, embedded.Options{GRPCAddr: "127.0.0.1:0"}, pilot.With(callAssist))
	run, err := pilot.Start(ctx, suite, "x", flow.ID("pilot/3"))
	if err != nil {
		t.Fatal(err)
	}
	describe(t, suite, "pilot/3", func(d *apiv1.DescribeWorkflowResponse) bool { return strings.Contains(fmt.Sprint(d), "trouble.Task") })
	join(t, suite.GRPCAddr(), worker.Options{}, assist.With(func(_ context.Context, in string) (string, error) { return in, nil }))
	if got, err := run.Result(ctx); err != nil || got != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}
