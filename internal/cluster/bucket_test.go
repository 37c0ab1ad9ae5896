package cluster_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/continuo-dev/continuo/internal/adapter/cloudobjects"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/cluster"
)

// Checkpoints, rows, histories and large payloads may be in a bucket: what one process has left there the next one goes on from.
func TestObjectsMayBeInABucket(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	backend := s3mem.New()
	if err := backend.CreateBucket("continuo"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	broker, model, ctx := memory.NewBroker(memory.BrokerOptions{Partitions: 4}), memory.NewReadModel(), bg(t)
	large := strings.Repeat("large", 50_000) // above what is inline
	for life := range 2 {
		bucket, err := cloudobjects.Open(ctx, "s3://continuo/cluster/one?region=nowhere-1&use_path_style=true&endpoint="+server.URL)
		if err != nil {
			t.Fatal(err)
		}
		link := broker.Connect()
		p, err := cluster.Start(ctx, cluster.Options{
			Roles: cluster.Roles(), Log: link, Objects: bucket.Objects(), Blobs: bucket.Blobs(), Model: model, Name: t.Name(),
			HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", AnnounceEvery: 20 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("life %d", life), func(t *testing.T) {
			c := member{p, link}.client(ctx, t)
			orders(ctx, t, c, fmt.Sprintf("life-%d", life), 5)
			run, err := process.Start(ctx, c, large)
			if err == nil {
				err = hint.Send(ctx, c, run.ID(), "!")
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := run.Result(ctx); err != nil || got != strings.ToUpper(large)+"!" {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
		})
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		names, err := bucket.Objects().List(ctx, "")
		if err != nil || len(names) == 0 {
			t.Errorf("the bucket has %d objects, %v", len(names), err)
		}
		_, _ = link.Close(), bucket.Close()
	}
}
