package client_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errCut = status.Error(codes.Unavailable, "the line is cut")

// gateway is a scripted server: it notes the calls of every stream, and answers them as the test says.
type gateway struct {
	apiv1.UnimplementedClientServiceServer

	t      *testing.T
	conns  chan net.Conn
	closed chan struct{}

	mu      sync.Mutex
	down    bool
	refuse  error
	judge   func(ctx context.Context) error // of a stream; nil lets it in
	maxOpen int32
	answer  func(n int, call *apiv1.ClientCall) *apiv1.ClientResponse // nil gives none
	streams []*stream
	wires   []net.Conn
}

type stream struct {
	end  chan error
	send chan *apiv1.ConnectResponse

	mu    sync.Mutex
	calls []*apiv1.ClientCall
}

func (s *stream) got() []*apiv1.ClientCall {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*apiv1.ClientCall(nil), s.calls...)
}

func (s *stream) cut(err error) {
	s.end <- err
	synctest.Wait()
}

func (g *gateway) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *gateway) Close() error   { close(g.closed); return nil }
func (g *gateway) Addr() net.Addr { return &net.UnixAddr{Name: "fake"} }

func (g *gateway) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *gateway) dial(ctx context.Context, _ string) (net.Conn, error) {
	g.mu.Lock()
	down := g.down
	g.mu.Unlock()
	if down {
		return nil, net.ErrClosed
	}
	here, there := net.Pipe()
	select {
	case g.conns <- there:
		g.set(func() { g.wires = append(g.wires, there) })
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gateway) Connect(cs grpc.BidiStreamingServer[apiv1.ConnectRequest, apiv1.ConnectResponse]) error {
	if _, err := cs.Recv(); err != nil {
		return err
	}
	g.mu.Lock()
	s := &stream{end: make(chan error, 1), send: make(chan *apiv1.ConnectResponse, 10_000)}
	refuse, maxOpen := g.refuse, g.maxOpen
	if refuse == nil && g.judge != nil {
		refuse = g.judge(cs.Context())
	}
	if refuse == nil {
		g.streams = append(g.streams, s)
	}
	g.mu.Unlock()
	if refuse != nil {
		return refuse
	}
	if err := cs.Send(&apiv1.ConnectResponse{Welcome: &apiv1.ClientWelcome{MaxOpenCalls: maxOpen}}); err != nil {
		return err
	}
	broken := make(chan error, 1)
	go func() {
		for {
			r, err := cs.Recv()
			if err != nil {
				broken <- err
				return
			}
			s.mu.Lock()
			s.calls = append(s.calls, r.GetCalls()...)
			n := len(s.calls)
			s.mu.Unlock()
			g.mu.Lock()
			answer := g.answer
			g.mu.Unlock()
			for i, call := range r.GetCalls() {
				if answer == nil || call.GetAbandon() != nil {
					continue
				}
				if response := answer(n-len(r.GetCalls())+i, call); response != nil {
					response.Call = call.GetCall()
					s.send <- &apiv1.ConnectResponse{Responses: []*apiv1.ClientResponse{response}}
				}
			}
		}
	}()
	for {
		select {
		case r := <-s.send:
			if err := cs.Send(r); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case err := <-broken:
			return err
		}
	}
}

func (g *gateway) count() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.streams)
}

func (g *gateway) stream(n int) *stream {
	g.t.Helper()
	for range 10_000 {
		if g.count() > n {
			var s *stream
			g.set(func() { s = g.streams[n] })
			return s
		}
		time.Sleep(10 * time.Millisecond) // of the bubble's clock
	}
	g.t.Fatalf("stream %d never came", n)
	return nil
}

// dialled serves and makes a client.
func dialled(t *testing.T, o client.Options, change func(*gateway)) (*gateway, *client.Client) {
	t.Helper()
	return dialledAt(t, "passthrough:fake", o, change)
}

// dialledAt is dialled with an address of the client's.
func dialledAt(t *testing.T, addr string, o client.Options, change func(*gateway)) (*gateway, *client.Client) {
	t.Helper()
	g := &gateway{t: t, conns: make(chan net.Conn), closed: make(chan struct{}), maxOpen: 4096, answer: started}
	if change != nil {
		change(g)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(wire.MaxMessageBytes+64<<10), grpc.WaitForHandlers(true))
	apiv1.RegisterClientServiceServer(server, g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(g)
	}()
	o.DialOptions = append(o.DialOptions, grpc.WithContextDialer(g.dial))
	c, err := client.Dial(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		server.Stop()
		<-served
	})
	return g, c
}

// started answers what a server without trouble would.
func started(_ int, call *apiv1.ClientCall) *apiv1.ClientResponse {
	switch {
	case call.GetStart() != nil:
		return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Start{Start: &apiv1.StartWorkflowResponse{
			RunId: call.GetStart().GetRunId(), Started: true,
		}}}
	case call.GetSignal() != nil:
		return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Signal{Signal: &apiv1.SignalWorkflowResponse{}}}
	}
	return nil
}

func refusal(code events.Code, retryAfter int64) *apiv1.ClientResponse {
	return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Error{
		Error: wire.ToCallError(&events.Error{Code: code, Message: "refused", RetryAfterMs: retryAfter}),
	}}
}

func outcome(run events.RunID, s apiv1.Status) *apiv1.ClientResponse {
	return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Result{Result: &apiv1.GetResultResponse{
		Outcome: &apiv1.Outcome{WorkflowId: "w", RunId: run.String(), Status: s},
	}}}
}

func runID(n byte) events.RunID { return events.MakeRunID(int64(n), [10]byte{n}) }

func start(n byte, bytes int) events.Envelope {
	return events.Envelope{WorkflowID: "w", RunID: runID(n), Command: events.StartWorkflow{
		Type: "test.Flow", Input: events.Payload{Encoding: "raw", Data: make([]byte, bytes)},
	}}
}

func signal(text string) events.Envelope {
	return events.Envelope{WorkflowID: "w", Command: events.SignalWorkflow{Name: "s", Input: events.Payload{Encoding: "raw", Data: []byte(text)}}}
}
