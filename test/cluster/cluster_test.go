// Package cluster runs each service as a process of its own over a real Pulsar and the real engine of ClickHouse, and kills one
// after the other while workflows run: every workflow ends with its result, and the read model has all of them.
package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

var rounds = flag.Int("rounds", 1, "how often each process is killed")

// All tests share the broker, each with a namespace of its own.
func TestMain(m *testing.M) { os.Exit(pulsar.Main(m)) }

// Clerk is the service that the workflows call.
type Clerk interface {
	File(ctx context.Context, text string) (string, error)
}

type clerk struct{ executed atomic.Int64 }

func (c *clerk) File(_ context.Context, text string) (string, error) {
	c.executed.Add(1)
	return strings.ToUpper(text), nil
}

var (
	process = flow.NewWorkflow[string, string]("cluster.Order")
	hint    = flow.NewSignal[string]("hint")
)

func runProcess(ctx flow.Context, in string) (string, error) {
	filed, err := flow.Call(ctx, Clerk.File, in)
	if err != nil {
		return "", err
	}
	if err := flow.Sleep(ctx, 100*time.Millisecond); err != nil {
		return "", err
	}
	given, err := hint.Next(ctx).Await(ctx)
	if err != nil {
		return "", err
	}
	return flow.Call(ctx, Clerk.File, filed+given)
}

// suite is all processes of a cluster.
type suite struct {
	binary, dir string
	database    string
	broker      *pulsar.Server
	store       *clickhouse.Server
	shared      []string // arguments of every process
	processes   map[string]*child.Server
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	dir := t.TempDir()
	s := &suite{dir: dir, broker: pulsar.Shared(t), store: clickhouse.Start(t, clickhouse.Options{}), processes: map[string]*child.Server{}}
	s.database = s.store.NewDatabase()
	var err error
	if s.binary, err = child.Build(t.Context(), dir, "./cmd/continuo"); err != nil {
		t.Fatal(err)
	}
	s.shared = []string{
		"--pulsar", s.broker.URL(), "--pulsar-admin", s.broker.AdminURL(), "--clickhouse", s.store.URL(s.database),
		"--pulsar-namespace", strings.ToLower(t.Name()), "--objects", filepath.Join(dir, "objects"), "--partitions", "8",
	}
	t.Cleanup(func() {
		for name, p := range s.processes {
			_ = p.Kill()
			if text, _ := os.ReadFile(filepath.Join(dir, name+".log")); t.Failed() {
				t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-3<<10):])
			}
		}
	})
	return s
}

// start starts a process, which is told by its service and a number.
func (s *suite) start(ctx context.Context, t *testing.T, role string, n int) {
	t.Helper()
	name := fmt.Sprintf("%s-%d", role, n)
	p, err := child.StartServer(ctx, child.ServerOptions{Binary: s.binary, Verb: role, Log: filepath.Join(s.dir, name+".log"), Args: s.shared})
	if err != nil {
		t.Fatal(err)
	}
	s.processes[name] = p
}

// load starts workflows without a pause, a few at a time, until it is told to stop.
type load struct {
	client *client.Client
	stop   chan struct{}
	all    sync.WaitGroup
	begun  atomic.Int64
	ended  atomic.Int64

	mu     sync.Mutex
	errs   []error
	newest time.Duration // the longest time of a workflow since it was asked for last
}

func (l *load) run(ctx context.Context, lanes int) {
	for range lanes {
		l.all.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				began := time.Now()
				err := l.order(ctx, fmt.Sprintf("order-%d", l.begun.Add(1)))
				l.mu.Lock()
				l.newest = max(l.newest, time.Since(began))
				if err != nil {
					l.errs = append(l.errs, err)
				}
				l.mu.Unlock()
				l.ended.Add(1)
			}
		})
	}
}

// order runs one workflow to its end. What the gateway cannot answer now is asked again: all requests may be repeated.
func (l *load) order(ctx context.Context, id string) error {
	again := func(what string, request func() error) error {
		for {
			err := request()
			if err == nil || ctx.Err() != nil || !later(err) {
				if err != nil {
					err = fmt.Errorf("%s %s: %w", what, id, err)
				}
				return err
			}
		}
	}
	var run flow.Run[string]
	if err := again("start", func() (err error) { run, err = process.Start(ctx, l.client, id, flow.ID(id)); return err }); err != nil {
		return err
	}
	if err := again("signal", func() error { return hint.Send(ctx, l.client, id, "!") }); err != nil {
		return err
	}
	var got string
	if err := again("result", func() (err error) { got, err = run.Result(ctx); return err }); err != nil {
		return err
	}
	if got != strings.ToUpper(id)+"!" {
		return fmt.Errorf("result of %s: %q", id, got)
	}
	return nil
}

// later reports whether a request may be answered when it is made again.
func later(err error) bool {
	refused, is := errors.AsType[*events.Error](err)
	return is && (refused.Code == events.Unavailable || refused.RetryAfterMs > 0) || errors.Is(err, context.DeadlineExceeded)
}

// settle waits until so many more workflows have ended, and returns how long the slowest took.
func (l *load) settle(ctx context.Context, t *testing.T, more int64) time.Duration {
	t.Helper()
	until := l.ended.Load() + more
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for l.ended.Load() < until {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("workflows do not end any more: %d of %d begun ended", l.ended.Load(), l.begun.Load())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slowest := l.newest
	l.newest = 0
	return slowest
}

func TestAnyProcessIsKilled(t *testing.T) { //nolint:paralleltest // it tells how long it takes
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSuite(t)
	for _, role := range []string{"engine", "scheduler", "projector"} {
		s.start(ctx, t, role, 1)
		s.start(ctx, t, role, 2)
	}
	s.start(ctx, t, "gateway", 1)
	c, err := client.Dial(s.processes["gateway-1"].GRPCAddr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	desk := &clerk{}
	w, err := worker.New(c, process.With(runProcess), flow.Service[Clerk](desk), worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var working sync.WaitGroup
	working.Go(func() {
		if err := w.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the worker: %v", err)
		}
	})
	const lanes = 16
	l := &load{client: c, stop: make(chan struct{})}
	l.run(ctx, lanes)
	calm := l.settle(ctx, t, 10*lanes)

	var slowest []string
	for range *rounds {
		for _, name := range []string{"engine-1", "scheduler-1", "projector-1", "engine-2", "gateway-1"} {
			if err := s.processes[name].Kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.processes[name].Restart(ctx); err != nil {
				t.Fatal(err)
			}
			slowest = append(slowest, fmt.Sprintf("%s %.1f", name, l.settle(ctx, t, 4*lanes).Seconds()))
		}
		for name, server := range map[string]interface {
			Kill() error
			Restart(ctx context.Context) error
		}{"clickhouse": s.store, "pulsar": s.broker} {
			if err := errors.Join(server.Kill(), server.Restart(ctx)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			slowest = append(slowest, fmt.Sprintf("%s %.1f", name, l.settle(ctx, t, 4*lanes).Seconds()))
		}
	}
	for _, role := range []string{"engine", "scheduler", "projector"} { // a whole service is away; the gateway has been
		both := []*child.Server{s.processes[role+"-1"], s.processes[role+"-2"]}
		if err := errors.Join(both[0].Kill(), both[1].Kill()); err != nil {
			t.Fatal(err)
		}
		for _, p := range both {
			if err := p.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		slowest = append(slowest, fmt.Sprintf("both %ss %.1f", role, l.settle(ctx, t, 4*lanes).Seconds()))
	}
	close(l.stop)
	l.all.Wait()
	for _, err := range l.errs {
		t.Error(err)
	}
	counted := s.count(ctx, t, l.begun.Load())
	fmt.Printf("cluster: %d workflows of 2 tasks over Pulsar and ClickHouse, %d lost, %d executions; calm %.1f s at most; the slowest after each kill, in s: %s; the read model has %d\n",
		l.begun.Load(), len(l.errs), desk.executed.Load(), calm.Seconds(), strings.Join(slowest, ", "), counted)
	s.audit(ctx, t, counted)
	cancel()
	working.Wait()
}

// count waits until the read model has as many completed workflows as there are.
func (s *suite) count(ctx context.Context, t *testing.T, want int64) (completed int64) {
	t.Helper()
	conn, err := grpc.NewClient(s.processes["gateway-1"].GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	api := apiv1.NewWorkflowServiceClient(conn)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		got, err := api.CountWorkflows(ctx, &apiv1.CountWorkflowsRequest{Statuses: []apiv1.Status{apiv1.Status_STATUS_COMPLETED}})
		if completed = got.GetTotal(); err == nil && completed == want {
			return completed
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the read model has %d of %d completed workflows: %v", completed, want, err)
		}
	}
}
