package gateway_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
)

func TestAnActivationWithoutAnswerGoesToAnotherWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, settings{clock: clocktest.Bubble()})
		w := s.join(nil)
		s.startOrder("order/1", "1")
		first := w.activation()
		begin := time.Now()
		second := w.activation()
		if took := time.Since(begin); took != 10*time.Second || second.GetActivation().GetAttempt() != 2 || !second.GetFull() {
			t.Errorf("after %s: %v, first %v", took, second, first)
		}
	})
}

// jumping is a clock whose wall clock somebody has set ahead.
type jumping struct {
	clock.Clock

	ahead atomic.Int64 // in nanoseconds
}

func (j *jumping) Now() time.Time { return j.Clock.Now().Add(time.Duration(j.ahead.Load())) }

func TestDeadlinesDoNotFollowTheWallClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wall := &jumping{Clock: clocktest.Bubble()}
		s := start(t, settings{clock: wall.Clock, deps: func(d *gateway.Deps) { d.Clock = wall }})
		w := s.join(nil)
		s.startOrder("order/1", "1")
		w.activation()
		begin := time.Now()
		wall.ahead.Store(int64(time.Hour))
		s.startOrder("order/2", "1") // the gateway looks at its deadlines
		for w.activation().GetActivation().GetAttempt() == 1 {
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("the activation timed out after %s", took)
		}
	})
}

func TestASilentWorkerIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, settings{clock: clocktest.Bubble()})
		w := s.join(nil)
		begin := time.Now()
		_, err := w.stream.Recv()
		if took := time.Since(begin); took < 3*wire.Keepalive || took > 5*wire.Keepalive || wire.FromStatus(err).Code != events.Unavailable {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestAWaitEndsWithTheRunStillRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, settings{clock: clocktest.Bubble()})
		begin := time.Now()
		r, err := s.client.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: "w", Type: "Order", Wait: durationpb.New(time.Hour)})
		if took := time.Since(begin); err != nil || r.GetOutcome() != nil || !r.GetStarted() || took != wire.MaxWait {
			t.Errorf("start with wait: %v %v after %s", r, err, took)
		}
	})
}

// keeping is a journal that makes commands durable and whose engine never answers.
type keeping struct{ journal.Sender }

func (keeping) Send(_ events.Envelope, done func(error)) error {
	go done(nil)
	return nil
}

func TestACommandWithoutAnAnswerTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, kept := range []bool{false, true} {
			s := start(t, settings{clock: clocktest.Bubble(), noEngine: true, options: func(o *gateway.Options) { o.CommandsLogged = true }, deps: func(d *gateway.Deps) {
				if kept {
					d.Sender = keeping{d.Sender}
				}
			}})
			begin := time.Now()
			r, err := s.client.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: "w", Type: "Order"})
			if took := time.Since(begin); took != 10*time.Second || kept != r.GetAccepted() || (err == nil) != kept {
				t.Errorf("kept %v: start gives %v %v after %s", kept, r, err, took)
			}
			if !kept && wire.FromStatus(err).Code != events.DeadlineExceeded {
				t.Errorf("%v", err)
			}
			if _, err := s.client.CancelWorkflow(t.Context(), &apiv1.CancelWorkflowRequest{WorkflowId: "w"}); wire.FromStatus(err).Code != events.DeadlineExceeded {
				t.Errorf("kept %v: cancel gives %v", kept, err)
			}
		}
	})
}

func TestAFullInboxIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.startOrder("order/1", "1")
	body := `{"input":"` + strings.Repeat("x", 120<<10) + `"}`
	for range 20 {
		status, got := s.rest("POST", "/v1/workflows/order%2F1/signals/s", body)
		if status == 200 {
			continue
		}
		if e := decode[restError](t, got); status != 429 || e.Code != "inbox_full" || e.RetryAfterMs == 0 {
			t.Errorf("%d %s", status, got)
		}
		return
	}
	t.Error("20 signals of 120 KiB were taken")
}
