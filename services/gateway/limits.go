package gateway

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// enterStream counts a stream of a client or worker in, or refuses it.
func (g *Gateway) enterStream() error {
	if err := g.admit(); err != nil {
		return err
	}
	if n := g.openStreams.Add(1); n > int64(g.options.MaxStreams) {
		g.openStreams.Add(-1)
		return &events.Error{Code: events.Overloaded, RetryAfterMs: 5000, Message: fmt.Sprintf(
			"%d streams of clients and workers are open, which is the limit; raise it or use another gateway", g.options.MaxStreams)}
	}
	return nil
}

func (g *Gateway) leaveStream() { g.openStreams.Add(-1) }

// enterCall counts a unary call in, or refuses it: a call waits at most here, so this bounds what the gateway holds.
func (g *Gateway) enterCall() error {
	if n := g.openCalls.Add(1); n > int64(g.options.MaxOpenCalls) {
		g.openCalls.Add(-1)
		return &events.Error{Code: events.Overloaded, RetryAfterMs: 250, Message: fmt.Sprintf(
			"%d calls are open, which is the limit of this gateway; nothing was kept", g.options.MaxOpenCalls)}
	}
	return nil
}

func (g *Gateway) leaveCall() { g.openCalls.Add(-1) }
