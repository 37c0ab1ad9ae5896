package cluster_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/clickhouse"
	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/cluster"
	engineserver "github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	broker "github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// TestWorkflowsRunOverPulsarAndClickHouse: the real broker and the real read store, each service with links of its own.
func TestWorkflowsRunOverPulsarAndClickHouse(t *testing.T) {
	t.Parallel()
	server, store := broker.Start(t, broker.Options{}), engineserver.Start(t, engineserver.Options{})
	ctx := bg(t)
	objects, err := files.OpenObjects(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := files.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	database := store.NewDatabase()
	start := func(roles ...cluster.Role) *cluster.Process {
		t.Helper()
		log, err := pulsar.Open(ctx, pulsar.Options{URL: server.URL(), AdminURL: server.AdminURL(), Partitions: 4})
		if err != nil {
			t.Fatal(err)
		}
		model, err := clickhouse.Open(clickhouse.Options{URL: store.URL(database)})
		if err != nil {
			t.Fatal(err)
		}
		o := cluster.Options{
			Roles: roles, Log: log, Objects: objects, Blobs: blobs, Model: model, Name: t.Name(), HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0",
		}
		if testing.Verbose() {
			o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.Any("roles", roles))
		}
		p, err := cluster.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = p.Close()
			_ = log.Close()
			_ = model.Close()
		})
		return p
	}
	for _, r := range []cluster.Role{cluster.Engine, cluster.Engine, cluster.Scheduler, cluster.Projector} {
		start(r)
	}
	c := member{Process: start(cluster.Gateway)}.client(ctx, t)
	orders(ctx, t, c, "order", 20)
	began := time.Now()
	orders(ctx, t, c, "more", 100)
	t.Logf("100 workflows of two tasks, a timer and a signal took %v", time.Since(began))
}
