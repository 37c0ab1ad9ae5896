package gateway

import (
	"context"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// direct is a command of a client's stream that needs the engine's answer and nothing else. It has no goroutine while it waits:
// under load hundreds of them would stand in line for the processors, in front of those that serve them.
type direct struct {
	conn   *clientConn
	number uint64 // of the call on its stream
	method string
	env    events.Envelope
	wait   time.Duration // for the end of the run that it starts

	ctx    context.Context //nolint:containedctx // ends when the call is abandoned or its stream is over
	cancel context.CancelFunc
	// patience ends with ctx or when the engine takes too long; settle lets its end mean nothing.
	patience context.Context //nolint:containedctx // as above
	giveIn   context.CancelFunc
	settle   func() bool
	call     *call
	counted  bool // among the open calls
	began    time.Duration
	asked    time.Duration // 0 before
	span     *telemetry.Span
}

// directly reads a command that can go to the engine as it is; ok is false for any other call.
func (g *Gateway) directly(ctx context.Context, m *apiv1.ClientCall) (d *direct, ok bool, err error) {
	d = &direct{number: m.GetCall(), began: g.deps.Clock.Boot()}
	defer func() {
		if p := recover(); p != nil {
			ok, err = true, g.panicked(d.method, p)
		}
	}()
	switch r := m.GetRequest().(type) {
	case *apiv1.ClientCall_Start:
		if len(r.Start.GetInput().GetData()) > events.InlinePayloadBytes {
			return nil, false, nil
		}
		d.method = "StartWorkflow"
		d.env, d.wait, err = g.toStart(ctx, r.Start)
	case *apiv1.ClientCall_Signal:
		if len(r.Signal.GetInput().GetData()) > events.InlinePayloadBytes {
			return nil, false, nil
		}
		d.method = "SignalWorkflow"
		if d.env, err = wire.FromSignal(r.Signal, g.options.MaxPayloadBytes); err == nil {
			err = g.toSteer(ctx, &d.env)
		}
	default:
		return nil, false, nil
	}
	if err == nil {
		err = d.env.Validate()
	}
	if start, is := d.env.Command.(events.StartWorkflow); is && err == nil {
		d.span = g.trace(ctx, &d.env, &start)
		d.env.Command = start
	}
	return d, true, err
}

// begin sends a command that has its place in the admission to the engine, or answers what is wrong with it.
func (d *direct) begin(ctx context.Context, cancel context.CancelFunc, c *clientConn, wrong error) {
	g := c.gateway
	d.conn, d.ctx, d.cancel = c, ctx, cancel
	c.calls.Add(1)
	if wrong == nil {
		wrong = g.enterCall()
		d.counted = wrong == nil
	}
	if wrong != nil {
		d.answered(sessions.Reply{}, wrong)
		return
	}
	d.asked = g.deps.Clock.Boot()
	d.patience, d.giveIn = context.WithTimeout(ctx, g.options.AnswerTimeout)
	d.call = &call{id: g.callID(), then: d.replied}
	d.settle = context.AfterFunc(d.patience, d.giveUp)
	g.calls.enlist(d.call)
	if d.patience.Err() != nil {
		d.giveUp() // maybe it was tried before the call was open
		return
	}
	g.post(sessions.Ask{Call: d.call.id, Envelope: d.env})
	select {
	case <-g.stopped: // maybe before the call was open
		g.calls.deliver(d.call.id, sessions.Reply{Err: errStopping})
	default:
	}
}

// replied takes the engine's answer. It is called by the loop, once, unless the call was given up before.
func (d *direct) replied(out sessions.Output) {
	d.settle()
	d.answered(replyOf(out))
}

// giveUp ends a call without an answer, unless it is being answered.
func (d *direct) giveUp() {
	g := d.conn.gateway
	if !g.closeCall(d.call) {
		return
	}
	g.post(sessions.Forget{Call: d.call.id})
	err := d.patience.Err()
	if g.late(d.call, err) {
		err = errAccepted
	}
	d.answered(sessions.Reply{}, err)
}

// answered makes the response of what the engine has answered, or of why it has not.
func (d *direct) answered(reply sessions.Reply, err error) {
	g := d.conn.gateway
	now := g.deps.Clock.Boot()
	if d.asked == 0 {
		d.asked = now
	}
	g.admission.leave(d.asked, now, reply.Seq != 0)
	if d.method == "SignalWorkflow" {
		var response *apiv1.SignalWorkflowResponse
		if err = steered(err); err == nil {
			response = &apiv1.SignalWorkflowResponse{RunId: reply.Answer.RunID.String(), Token: tokenOf(reply)}
		}
		d.end(&apiv1.ClientResponse{Response: &apiv1.ClientResponse_Signal{Signal: response}}, err)
		return
	}
	response, err := started(&d.env, reply, err)
	endSpan(d.span, err)
	out := &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Start{Start: response}}
	if err != nil || response.GetAccepted() || d.wait == 0 {
		d.end(out, err)
		return
	}
	d.conn.calls.Go(func() {
		defer func() {
			var err error
			if p := recover(); p != nil {
				err = g.panicked(d.method, p)
			}
			d.end(out, err)
		}()
		g.addOutcome(d.ctx, response, &d.env, reply.Answer.RunID, d.wait)
	})
}

// end answers the call.
func (d *direct) end(out *apiv1.ClientResponse, err error) {
	g := d.conn.gateway
	if d.counted {
		g.leaveCall()
	}
	if err = g.observe(d.conn.ctx, d.method, err, d.began); err != nil {
		out = &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Error{Error: wire.ToCallError(wire.FromStatus(err))}}
	}
	if d.giveIn != nil {
		d.giveIn()
	}
	d.cancel()
	d.conn.finish(d.number, out)
	d.conn.calls.Done()
}
