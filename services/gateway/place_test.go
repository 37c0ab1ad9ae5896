package gateway

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// crowded returns the stream of a client at a gateway that lets one command in at a time, and that nobody turns.
func crowded(t *testing.T) *clientConn {
	t.Helper()
	g := &Gateway{deps: Deps{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)}, stopped: make(chan struct{})}
	g.options.MaxPayloadBytes, g.options.MaxOpenCalls, g.options.MaxStreamCalls, g.options.AnswerTimeout = 1<<20, 100, 100, wire.MaxWait
	g.in.wake = make(chan struct{}, 1)
	g.calls.open = make(map[sessions.Call]*call)
	g.admission.bound, g.admission.began = 1, g.deps.Clock.Boot()+wire.MaxWait // no window ends
	g.admission.asked = g.admission.began                                      // nor does the overload
	var err error
	if g.metrics, err = newMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	return &clientConn{gateway: g, ctx: t.Context(), wake: make(chan struct{}, 1), open: make(map[uint64]context.CancelFunc)}
}

// say begins a start and returns how it was refused at once; OK means that it was let in.
func (c *clientConn) say(t *testing.T, number uint64, id string) events.Code {
	t.Helper()
	refused, err := c.begin(&apiv1.ClientCall{Call: number, Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{WorkflowId: id, Type: "Order"}}})
	if err != nil {
		t.Fatal(err)
	}
	if refused == nil {
		return events.OK
	}
	e := wire.FromCallError(refused.GetError())
	if e.RetryAfterMs <= 0 {
		t.Errorf("call %d: the refusal does not say when to try again", number)
	}
	return e.Code
}

// asked returns the one call that waits for the loop.
func (c *clientConn) asked(t *testing.T) (id sessions.Call) {
	t.Helper()
	c.gateway.calls.mu.Lock()
	defer c.gateway.calls.mu.Unlock()
	if len(c.gateway.calls.open) != 1 {
		t.Fatalf("%d calls wait", len(c.gateway.calls.open))
	}
	for id = range c.gateway.calls.open {
	}
	return id
}

// A command has its place from when it comes, not from when somebody looks at it: of many that come at once the others are refused
// at once.
func TestACommandTakesItsPlaceWhenItComes(t *testing.T) {
	t.Parallel()
	c := crowded(t)
	if code := c.say(t, 1, "a"); code != events.OK {
		t.Fatalf("the first is refused: %s", code)
	}
	for n := range uint64(50) {
		if code := c.say(t, 2+n, "b"); code != events.Overloaded {
			t.Fatalf("call %d: %s, want overloaded", 2+n, code)
		}
	}
	id := c.asked(t)
	c.gateway.calls.deliver(id, sessions.Reply{Call: id, Answer: events.Answer{Started: true}, Seq: 1})
	c.calls.Wait()
	if n := c.gateway.admission.inFlight; n != 0 {
		t.Fatalf("%d are in flight when all is answered", n)
	}
	if code := c.say(t, 100, "bad\n"); code != events.OK {
		t.Fatalf("the next is not let in: %s", code)
	}
	c.calls.Wait()
}

// A command that is wrong never reaches the engine, and gives its place back.
func TestAWrongCommandGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	c := crowded(t)
	for n := range uint64(10) {
		if code := c.say(t, 1+n, "bad\n"); code != events.OK {
			t.Fatalf("call %d: %s", 1+n, code)
		}
		c.calls.Wait()
		if e := wire.FromCallError(c.out[n].GetError()); e.Code != events.BadIDCode {
			t.Fatalf("call %d: %v", 1+n, e)
		}
	}
	if n := c.gateway.admission.inFlight; n != 0 {
		t.Errorf("%d are in flight", n)
	}
}
