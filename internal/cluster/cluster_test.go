package cluster_test

import (
	"context"
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
	model   *memory.ReadModel
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
	store := memory.New(memory.Options{Partitions: 4})
	o := cluster.Options{
		Roles: roles, Log: link, Objects: l.objects, Blobs: l.blobs, Model: l.model, Index: store.DueIndex(), Name: t.Name(),
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
		store.Close()
	})
	return member{p, link}
}

func TestWorkflowsRunOverABroker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.start(t, cluster.Engine)
	l.start(t, cluster.Scheduler)
	l.start(t, cluster.Projector)
	door := l.start(t, cluster.Gateway)
	c, err := client.Dial(door.GRPCAddr(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	w, err := worker.New(c, process.With(runProcess), flow.Service[Clerk](clerk{}), worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	working := make(chan error, 1)
	go func() { working <- w.Run(ctx) }()

	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			id := fmt.Sprint("order-", n)
			run, err := process.Start(ctx, c, id, flow.ID(id))
			if err == nil {
				err = hint.Send(ctx, c, id, "!")
			}
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			if got, err := run.Result(ctx); err != nil || got != strings.ToUpper(id)+"!" {
				t.Errorf("%s: %q, %v", id, got, err)
			}
		})
	}
	all.Wait()
	cancel()
	<-working
}
