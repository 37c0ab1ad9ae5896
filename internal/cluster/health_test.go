package cluster_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/readmodel"
)

// until asks until the answer is as wanted.
func until(ctx context.Context, t *testing.T, what string, want func() (got string, ok bool)) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		got, ok := want()
		if ok {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: %s", what, got)
		}
	}
}

// readiness waits until /readyz has a status and says something.
func (m member) readiness(ctx context.Context, t *testing.T, code int, status, says string) {
	t.Helper()
	until(ctx, t, "readiness, wanted "+status+" and "+says, func() (string, bool) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.HTTPAddr()+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		var document struct{ Status string }
		if err != nil || json.Unmarshal(body, &document) != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return string(body), answer.StatusCode == code && document.Status == status && strings.Contains(string(body), says)
	})
}

func TestReadinessSaysThatNobodyOwnsPartitions(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	door := l.start(t, cluster.Gateway)
	door.readiness(ctx, t, http.StatusServiceUnavailable, "not ready", "partitions [0 1 2 3] have no owner: is an engine running?")
	l.start(t, cluster.Engine)
	door.readiness(ctx, t, http.StatusOK, "ready", "4 partitions are followed")
}

// Services that need the whole log end with the reason; an engine goes on with its other partitions and tells.
func TestReadinessSaysThatTheLogIsHalted(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	own := l.start(t, cluster.Engine)
	l.start(t, cluster.Scheduler)
	l.start(t, cluster.Projector)
	door := l.start(t, cluster.Gateway)
	orders(ctx, t, door.client(ctx, t), "order", 20)
	l.broker.LoseTail(brokerlog.Events, 2, 3)
	own.readiness(ctx, t, http.StatusServiceUnavailable, "not ready", "partition 2 has halted: partition 2: ")
	<-door.Done()
	if err := door.Close(); err == nil || !strings.Contains(err.Error(), "partition 2: ") {
		t.Errorf("the gateway ended with %v", err)
	}
}

// away is a read store that is not there now and then.
type away struct {
	readmodel.Model
	gone atomic.Bool
}

func (m *away) Watermark(ctx context.Context) ([]readmodel.Position, error) {
	if m.gone.Load() {
		return nil, readmodel.ErrUnavailable
	}
	return m.Model.Watermark(ctx)
}

func (m *away) Apply(ctx context.Context, b readmodel.Batch) error {
	if m.gone.Load() {
		return readmodel.ErrUnavailable
	}
	return m.Model.Apply(ctx, b)
}

func TestReadinessSaysThatTheReadStoreIsAway(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t), bg(t)
	store := &away{Model: l.model}
	l.model = store
	l.start(t, cluster.Engine)
	l.start(t, cluster.Scheduler)
	project := l.start(t, cluster.Projector)
	door := l.start(t, cluster.Gateway)
	door.readiness(ctx, t, http.StatusOK, "ready", "answers")
	store.gone.Store(true)
	c := door.client(ctx, t)
	orders(ctx, t, c, "order", 5) // what is no query goes on
	door.readiness(ctx, t, http.StatusOK, "degraded", "queries are not answered: the read model is not available")
	project.readiness(ctx, t, http.StatusServiceUnavailable, "not ready", "the read store cannot be used: the read model is not available")
	store.gone.Store(false)
	door.readiness(ctx, t, http.StatusOK, "ready", "answers")
	project.readiness(ctx, t, http.StatusOK, "ready", "works")
}
