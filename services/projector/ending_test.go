package projector

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/readmodel"
)

// underWay is a model whose first write takes until it is let go on.
type underWay struct {
	*counting

	begun, goOn chan struct{}
	broken      bool
}

func (m *underWay) Apply(ctx context.Context, b readmodel.Batch) error {
	if m.begun != nil {
		close(m.begun)
		m.begun = nil
		select {
		case <-m.goOn:
		case <-ctx.Done():
			m.broken = true
			return ctx.Err()
		}
	}
	return m.counting.Apply(ctx, b)
}

// A write that is under way when a projector ends, or makes room for an exchange, is finished: what breaks off looks like that of
// another projector.
func TestAWriteUnderWayIsFinished(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.stop()
		begun := make(chan struct{})
		model := &underWay{counting: l.model, begun: begun, goOn: make(chan struct{})}
		deps := l.deps(clocktest.Bubble())
		deps.Model = model
		ctx, cancel := context.WithCancel(l.t.Context())
		done := make(chan error, 1)
		go func() { done <- New(deps, Options{}).Run(ctx) }()
		l.record(1, started())
		<-begun
		cancel()
		synctest.Wait()
		close(model.goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if model.broken {
			t.Error("the write is broken off")
		}
		l.want("what was written", l.status(1), "running")
		l.start(clocktest.Bubble())
	})
}
