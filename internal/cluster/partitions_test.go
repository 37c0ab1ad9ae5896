package cluster_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/cluster"
)

func TestAGatewayKnowsWhoOwnsPartitions(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	store := &away{Model: l.model}
	l.model = store
	door := l.start(t, cluster.Gateway)
	conn, err := grpc.NewClient(door.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	api := apiv1.NewWorkflowServiceClient(conn)
	list := func() *apiv1.ListPartitionsResponse {
		got, err := api.ListPartitions(ctx, &apiv1.ListPartitionsRequest{})
		if err != nil || len(got.GetPartitions()) != 4 {
			t.Fatalf("%v, %v", got, err)
		}
		return got
	}
	for _, p := range list().GetPartitions() {
		if p.GetState() != "unowned" || p.GetOwner() != "" || p.GetReason() == "" {
			t.Errorf("without an engine: %v", p)
		}
	}
	own := l.start(t, cluster.Engine)
	l.start(t, cluster.Scheduler)
	l.start(t, cluster.Projector)
	orders(ctx, t, door.client(ctx, t), "order", 20)
	until(ctx, t, "a cluster that works", func() (string, bool) {
		got := list()
		ok := got.GetScheduler() != "" && got.GetProjector() != ""
		for _, p := range got.GetPartitions() {
			ok = ok && p.GetState() == "running" && p.GetOwner() == t.Name() && p.GetEpoch() == 1 && p.GetLastSeq() > 0 &&
				p.GetProjector().GetLagRecords() == 0 && p.GetProjector().GetLag() != nil && p.GetScheduler() != nil && p.GetScheduler().GetNext() > 0
		}
		return fmt.Sprint(got), ok
	})
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	l.start(t, cluster.Engine)
	until(ctx, t, "another owner", func() (string, bool) {
		got := list()
		ok := true
		for _, p := range got.GetPartitions() {
			ok = ok && p.GetState() == "running" && p.GetEpoch() == 2 && p.GetCheckpoint().GetNext() > 1
		}
		return fmt.Sprint(got), ok
	})
	store.gone.Store(true)
	for _, p := range list().GetPartitions() {
		if p.GetProjector() != nil || p.GetState() != "running" {
			t.Errorf("while the read store is away: %v", p)
		}
	}
}
