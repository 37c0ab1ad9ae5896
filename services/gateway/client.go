package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// clientService implements the clients' stream on a gateway.
type clientService struct {
	apiv1.UnimplementedClientServiceServer
	*Gateway
}

type clientStream = grpc.BidiStreamingServer[apiv1.ConnectRequest, apiv1.ConnectResponse]

// Connect serves the stream of one client: calls run side by side, so a client that needs an order waits for the response.
func (s clientService) Connect(stream clientStream) error {
	return asStatus(s.connect(stream))
}

// clientConn is one client's stream.
type clientConn struct {
	gateway *Gateway
	ctx     context.Context //nolint:containedctx // of the stream; calls made on it end with it
	calls   sync.WaitGroup
	wake    chan struct{}
	room    chan struct{} // has a value when out may have room again

	mu   sync.Mutex
	open map[uint64]context.CancelFunc
	out  []*apiv1.ClientResponse // bounded by the open calls, maxUnsent, and the calls in one message
}

func (g *Gateway) connect(stream clientStream) error {
	if err := g.enterStream(); err != nil {
		return err
	}
	defer g.leaveStream()
	first, err := stream.Recv()
	if err != nil {
		return streamEnd(err)
	}
	hello := first.GetHello()
	if hello == nil || len(first.GetCalls()) > 0 {
		return &events.Error{Code: events.InvalidArgument, Message: "the first message of a client's stream has hello and nothing else"}
	}
	if err := wire.CheckProtocol(hello.GetProtocol()); err != nil {
		return err
	}
	err = stream.Send(&apiv1.ConnectResponse{Welcome: &apiv1.ClientWelcome{
		Version: g.options.Version, MaxPayloadBytes: int64(g.options.MaxPayloadBytes), MaxOpenCalls: int32(g.options.MaxStreamCalls),
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	c := &clientConn{gateway: g, ctx: ctx, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), open: make(map[uint64]context.CancelFunc)}
	reading := make(chan error, 1)
	go func() { reading <- c.read(stream) }()
	err = c.write(stream, reading)
	cancel()
	c.calls.Wait()
	return err
}

// read takes calls until the client has no more.
func (c *clientConn) read(stream clientStream) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if r.GetHello() != nil {
			return &events.Error{Code: events.InvalidArgument, Message: "a second hello came on a client's stream"}
		}
		if err := c.awaitRoom(); err != nil {
			return err
		}
		var refused []*apiv1.ClientResponse
		for _, m := range r.GetCalls() {
			no, err := c.begin(m)
			if err != nil {
				return err
			}
			if no != nil {
				no.Call = m.GetCall()
				refused = append(refused, no)
			}
		}
		c.respond(refused...)
	}
}

// awaitRoom waits until less than maxUnsent waits to be sent.
func (c *clientConn) awaitRoom() error {
	for {
		c.mu.Lock()
		waiting := len(c.out)
		c.mu.Unlock()
		if waiting < maxUnsent {
			return nil
		}
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// begin starts a call, or forgets one. What is refused for load costs as little as can be: neither a goroutine nor a look at the
// request.
func (c *clientConn) begin(m *apiv1.ClientCall) (refused *apiv1.ClientResponse, err error) {
	var let *place
	if isCommand(m) {
		if let, err = c.gateway.letIn(); err != nil {
			c.gateway.metrics.refusal()
			return toRefusal(err), nil
		}
	}
	ctx, cancel, err := c.enter(m)
	if ctx == nil {
		let.giveBack(c.gateway)
		if errors.Is(err, &events.Error{Code: events.Overloaded}) {
			return toRefusal(err), nil
		}
		return nil, err
	}
	if let != nil {
		if d, ok, wrong := c.gateway.directly(ctx, m); ok {
			d.begin(ctx, cancel, c, wrong)
			return nil, nil
		}
	}
	c.calls.Go(func() {
		defer cancel()
		response := c.gateway.call(let.with(ctx), m)
		let.giveBack(c.gateway)
		c.finish(m.GetCall(), response)
	})
	return nil, nil
}

// enter notes a call as open, and returns its context, which is nil if it forgets one.
func (c *clientConn) enter(m *apiv1.ClientCall) (context.Context, context.CancelFunc, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cancel, open := c.open[m.GetCall()]
	_, abandoned := m.GetRequest().(*apiv1.ClientCall_Abandon)
	switch {
	case abandoned && open:
		cancel()
		delete(c.open, m.GetCall())
		return nil, nil, nil
	case abandoned:
		return nil, nil, nil
	case open:
		return nil, nil, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("call number %d is open already", m.GetCall())}
	case len(c.open) >= c.gateway.options.MaxStreamCalls:
		return nil, nil, &events.Error{
			Code: events.Overloaded, RetryAfterMs: 250,
			Message: fmt.Sprintf("%d calls are open on this stream, which is its limit; nothing was kept", c.gateway.options.MaxStreamCalls),
		}
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.open[m.GetCall()] = cancel
	return ctx, cancel, nil
}

// finish sends the response of a call, unless it was abandoned.
func (c *clientConn) finish(call uint64, response *apiv1.ClientResponse) {
	c.mu.Lock()
	_, wanted := c.open[call]
	delete(c.open, call)
	c.mu.Unlock()
	if wanted {
		response.Call = call
		c.respond(response)
	}
	c.signal()
}

func toRefusal(err error) *apiv1.ClientResponse {
	return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Error{Error: wire.ToCallError(wire.AsError(err))}}
}

// isCommand reports whether a call asks for a command, which waits for the engine.
func isCommand(m *apiv1.ClientCall) bool {
	switch m.GetRequest().(type) {
	case *apiv1.ClientCall_Start, *apiv1.ClientCall_Signal, *apiv1.ClientCall_Cancel, *apiv1.ClientCall_Terminate:
		return true
	default:
		return false
	}
}

func (c *clientConn) respond(responses ...*apiv1.ClientResponse) {
	if len(responses) == 0 {
		return
	}
	c.mu.Lock()
	c.out = append(c.out, responses...)
	c.mu.Unlock()
	c.signal()
}

func (c *clientConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends responses, batched, until the client is gone, or has no more calls and all are answered.
func (c *clientConn) write(stream clientStream, reading <-chan error) error {
	draining := c.gateway.drained
	var ended error
	for over := false; ; {
		select {
		case <-c.wake:
		case err := <-reading:
			reading, over, ended = nil, true, streamEnd(err)
			if ended != nil {
				return ended
			}
		case <-draining:
			draining, over = nil, true
			if err := stream.Send(&apiv1.ConnectResponse{Draining: true}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		done, err := c.flush(stream)
		if err != nil {
			return err
		}
		if over && done {
			return nil
		}
	}
}

// flush sends the responses that wait and reports whether no call is open.
func (c *clientConn) flush(stream clientStream) (done bool, err error) {
	for {
		c.mu.Lock()
		out := c.out
		c.out = nil
		done = len(c.open) == 0
		c.mu.Unlock()
		signalRoom(c.room)
		if len(out) == 0 {
			return done, nil
		}
		for len(out) > 0 {
			n, size := 0, 0
			for n < len(out) {
				next := proto.Size(out[n])
				if n > 0 && size+next > batchBytes {
					break
				}
				size += next
				n++
			}
			if err := stream.Send(&apiv1.ConnectResponse{Responses: out[:n]}); err != nil {
				return false, err
			}
			out = out[n:]
		}
	}
}

// call runs one call of a client's stream. A panic in it is an internal error of this call alone.
func (g *Gateway) call(ctx context.Context, m *apiv1.ClientCall) (out *apiv1.ClientResponse) {
	out = &apiv1.ClientResponse{}
	method := "unknown"
	err := g.observed(ctx, func() (string, error) {
		err := g.enterCall()
		if err != nil {
			return "refused", err
		}
		defer g.leaveCall()
		switch r := m.GetRequest().(type) {
		case *apiv1.ClientCall_Start:
			var response *apiv1.StartWorkflowResponse
			method = "StartWorkflow"
			response, err = g.start(ctx, r.Start)
			out.Response = &apiv1.ClientResponse_Start{Start: response}
		case *apiv1.ClientCall_Signal:
			var response *apiv1.SignalWorkflowResponse
			method = "SignalWorkflow"
			response, err = g.signal(ctx, r.Signal)
			out.Response = &apiv1.ClientResponse_Signal{Signal: response}
		case *apiv1.ClientCall_Cancel:
			var response *apiv1.CancelWorkflowResponse
			method = "CancelWorkflow"
			response, err = g.cancel(ctx, r.Cancel)
			out.Response = &apiv1.ClientResponse_Cancel{Cancel: response}
		case *apiv1.ClientCall_Terminate:
			var response *apiv1.TerminateWorkflowResponse
			method = "TerminateWorkflow"
			response, err = g.terminate(ctx, r.Terminate)
			out.Response = &apiv1.ClientResponse_Terminate{Terminate: response}
		case *apiv1.ClientCall_Result:
			var response *apiv1.GetResultResponse
			method = "GetResult"
			response, err = g.result(ctx, r.Result)
			out.Response = &apiv1.ClientResponse_Result{Result: response}
		case *apiv1.ClientCall_View:
			var response *apiv1.GetViewResponse
			method = "GetView"
			response, err = g.view(ctx, r.View)
			out.Response = &apiv1.ClientResponse_View{View: response}
		default:
			err = &events.Error{Code: events.NotImplemented, Message: "this server does not know that call; upgrade it"}
		}
		return method, err
	})
	if err != nil {
		out.Response = &apiv1.ClientResponse_Error{Error: wire.ToCallError(wire.FromStatus(err))}
	}
	return out
}
