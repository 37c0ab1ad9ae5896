package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// idle checks that nothing is left of the calls of a stream.
func (c *clientConn) idle(t *testing.T) {
	t.Helper()
	c.calls.Wait()
	g := c.gateway
	if len(c.open) != 0 || len(g.calls.open) != 0 || g.admission.inFlight != 0 || g.openCalls.Load() != 0 {
		t.Errorf("left: %d open, %d in the table, %d in flight, %d counted", len(c.open), len(g.calls.open), g.admission.inFlight, g.openCalls.Load())
	}
}

func TestAnAbandonedCommandLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := crowded(t)
	c.say(t, 1, "a")
	if _, err := c.begin(&apiv1.ClientCall{Call: 1, Request: &apiv1.ClientCall_Abandon{}}); err != nil {
		t.Fatal(err)
	}
	c.idle(t)
	if len(c.out) != 0 {
		t.Errorf("it is answered: %v", c.out)
	}
}

// A command that the engine does not answer in time is over; where commands are durable before their answer it is accepted.
func TestACommandIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	for _, logged := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := crowded(t)
			c.gateway.options.AnswerTimeout, c.gateway.options.CommandsLogged = time.Second, logged
			c.say(t, 1, "a")
			id := c.asked(t)
			defer c.gateway.calls.deliver(id, sessions.Reply{Seq: 1}) // too late
			c.gateway.calls.keep(id)
			began := time.Now()
			c.idle(t)
			if took := time.Since(began); took != time.Second {
				t.Errorf("it was given up after %s", took)
			}
			if len(c.out) != 1 || c.out[0].GetStart().GetAccepted() != logged {
				t.Fatalf("commands logged %t: %v", logged, c.out)
			}
			if e := wire.FromCallError(c.out[0].GetError()); !logged && e.Code != events.DeadlineExceeded {
				t.Errorf("it ends with %v", e)
			}
		})
	}
}

// When the loop has stopped nobody is left to wait for.
func TestCommandsAreAnsweredWhenTheLoopHasStopped(t *testing.T) {
	t.Parallel()
	c := crowded(t)
	c.gateway.admission.bound = 2
	c.say(t, 1, "a")
	close(c.gateway.stopped)
	c.gateway.calls.end(errStopping)
	c.say(t, 2, "b")
	c.idle(t)
	for _, r := range c.out {
		if e := wire.FromCallError(r.GetError()); e.Code != events.Unavailable {
			t.Errorf("call %d: %v", r.GetCall(), e)
		}
	}
	if len(c.out) != 2 {
		t.Errorf("%d of 2 are answered", len(c.out))
	}
}
