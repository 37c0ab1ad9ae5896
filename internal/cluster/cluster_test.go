package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// Clerk is the service that the workflows call.
type Clerk interface {
	File(ctx context.Context, text string) (string, error)
}

type clerk struct{}

func (clerk) File(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil }

var (
	process = flow.NewWorkflow[string, string]("cluster.Process")
	hint    = flow.NewSignal[string]("hint")
)

func runProcess(ctx flow.Context, in string) (string, error) {
	filed, err := flow.Call(ctx, Clerk.File, in)
	if err != nil {
		return "", err
	}
	if err := flow.Sleep(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	given, err := hint.Next(ctx).Await(ctx)
	if err != nil {
		return "", err
	}
	return flow.Call(ctx, Clerk.File, filed+given)
}

// lab is a cluster in this process, over a broker in memory.
type lab struct {
	broker  *memory.Broker
	objects *memory.Objects
	blobs   *files.Store
	model   readmodel.Model
}

func newLab(t *testing.T) *lab {
	t.Helper()
	blobs, err := files.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &lab{
		broker: memory.NewBroker(memory.BrokerOptions{Partitions: 4}), objects: &memory.Objects{}, blobs: blobs, model: memory.NewReadModel(),
	}
}

// member is one process of the cluster.
type member struct {
	*cluster.Process

	link *memory.BrokerLog
}

func (l *lab) start(t *testing.T, roles ...cluster.Role) member {
	t.Helper()
	link := l.broker.Connect()
	o := cluster.Options{
		Roles: roles, Log: link, Objects: l.objects, Blobs: l.blobs, Model: l.model, Name: t.Name(),
		HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", AnnounceEvery: 20 * time.Millisecond,
	}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.Any("roles", roles))
	}
	p, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		_ = link.Close()
	})
	return member{p, link}
}

// client connects to a gateway, with a worker beside it, for as long as the test runs.
func (m member) client(ctx context.Context, t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Dial(m.GRPCAddr(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(c, process.With(runProcess), flow.Service[Clerk](clerk{}), worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	working := make(chan error, 1)
	go func() { working <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-working; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the worker: %v", err)
		}
		_ = c.Close()
	})
	return c
}

// order runs one workflow to its end.
func order(ctx context.Context, c *client.Client, id string) error {
	run, err := process.Start(ctx, c, id, flow.ID(id))
	if err != nil {
		return fmt.Errorf("start of %s: %w", id, err)
	}
	if err := hint.Send(ctx, c, id, "!"); err != nil {
		return fmt.Errorf("signal to %s: %w", id, err)
	}
	got, err := run.Result(ctx)
	if err == nil && got != strings.ToUpper(id)+"!" {
		err = fmt.Errorf("the result is %q", got)
	}
	if err != nil {
		return fmt.Errorf("result of %s: %w", id, err)
	}
	return nil
}

func bg(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// orders runs workflows side by side.
func orders(ctx context.Context, t *testing.T, c *client.Client, name string, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := order(ctx, c, fmt.Sprintf("%s-%d", name, i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestWorkflowsRunOverABroker(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	l.start(t, cluster.Engine)
	l.start(t, cluster.Scheduler)
	l.start(t, cluster.Projector)
	orders(ctx, t, l.start(t, cluster.Gateway).client(ctx, t), "order", 20)
}

// TestAnyProcessMayDie: of each service one is taken from the broker, as by a broken link, and another stops in order, while
// workflows run.
func TestAnyProcessMayDie(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	var victims []member
	for _, r := range []cluster.Role{cluster.Engine, cluster.Scheduler, cluster.Projector} {
		victims = append(victims, l.start(t, r))
	}
	door := l.start(t, cluster.Gateway)
	c := door.client(ctx, t)
	orders(ctx, t, c, "before", 5)
	for i, r := range []cluster.Role{cluster.Engine, cluster.Scheduler, cluster.Projector} {
		next := l.start(t, r)
		var busy sync.WaitGroup
		busy.Go(func() { orders(ctx, t, c, fmt.Sprintf("%s-dies", r), 20) })
		victims[i].link.Kill()
		busy.Wait()
		third := l.start(t, r)
		busy.Go(func() { orders(ctx, t, c, fmt.Sprintf("%s-leaves", r), 20) })
		if err := next.Close(); err != nil {
			t.Errorf("%s: %v", r, err)
		}
		busy.Wait()
		if missing := third.Ready(); missing != "" {
			t.Errorf("%s is not ready: %s", r, missing)
		}
	}
}
