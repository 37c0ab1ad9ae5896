package worker_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a scripted server that speaks the workers' protocol: the test says what it sends, and looks at what came.
type gateway struct {
	apiv1.UnimplementedWorkerServiceServer
	apiv1.UnimplementedClientServiceServer

	t      *testing.T
	conns  chan net.Conn
	closed chan struct{}
	server *grpc.Server

	mu      sync.Mutex
	down    bool
	wires   []net.Conn
	refuse  error // how the next streams end before their welcome
	keep    time.Duration
	limit   int64
	streams []*stream
}

// stream is one stream of the worker.
type stream struct {
	hello *apiv1.WorkerHello
	send  chan *apiv1.WorkResponse
	end   chan error

	mu    sync.Mutex
	said  []*apiv1.WorkRequest
	given []*apiv1.WorkResponse
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{t: t, conns: make(chan net.Conn), closed: make(chan struct{}), keep: 10 * time.Second, limit: 2 << 20}
	g.server = grpc.NewServer(grpc.MaxRecvMsgSize(4<<20), grpc.WaitForHandlers(true))
	apiv1.RegisterWorkerServiceServer(g.server, g)
	apiv1.RegisterClientServiceServer(g.server, g)
	return g
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

// Connect keeps the client of the worker quiet.
func (g *gateway) Connect(s grpc.BidiStreamingServer[apiv1.ConnectRequest, apiv1.ConnectResponse]) error {
	if err := s.Send(&apiv1.ConnectResponse{Welcome: &apiv1.ClientWelcome{}}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (g *gateway) Work(ws grpc.BidiStreamingServer[apiv1.WorkRequest, apiv1.WorkResponse]) error {
	first, err := ws.Recv()
	if err != nil {
		return err
	}
	g.mu.Lock()
	if err := g.refuse; err != nil {
		g.mu.Unlock()
		return err
	}
	s := &stream{hello: first.GetHello(), send: make(chan *apiv1.WorkResponse), end: make(chan error, 1)}
	g.streams = append(g.streams, s)
	g.mu.Unlock()
	if err := ws.Send(&apiv1.WorkResponse{Welcome: &apiv1.WorkerWelcome{
		Version: "fake", MaxPayloadBytes: g.limit, Keepalive: durationpb.New(g.keep),
	}}); err != nil {
		return err
	}
	go func() {
		for {
			r, err := ws.Recv()
			if err != nil {
				select {
				case s.end <- io.EOF:
				default:
				}
				return
			}
			s.mu.Lock()
			s.said = append(s.said, r)
			s.mu.Unlock()
		}
	}()
	for {
		select {
		case r := <-s.send:
			if err := ws.Send(r); err != nil {
				return err
			}
		case err := <-s.end:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// count returns how many streams were welcomed.
func (g *gateway) count() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.streams)
}

// stream returns the n-th welcomed stream, from 0, waiting for it.
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

// hangUp cuts all connections.
func (g *gateway) hangUp() {
	g.set(func() {
		for _, c := range g.wires {
			_ = c.Close()
		}
		g.wires = nil
	})
	synctest.Wait()
}

func (g *gateway) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// give sends a message and waits until the worker has made of it what it can without time passing.
func (s *stream) give(t *testing.T, r *apiv1.WorkResponse) {
	t.Helper()
	s.mu.Lock()
	s.given = append(s.given, r)
	s.mu.Unlock()
	s.send <- r
	synctest.Wait()
}

// messages returns how many messages came.
func (s *stream) messages() int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.said)
}

// delivered returns how many tasks and activations were given to the worker on the stream.
func (s *stream) delivered() (tasks, activations int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.given {
		tasks += int32(len(r.GetTasks()))
		activations += int32(len(r.GetActivations()))
	}
	return tasks, activations
}

// cut ends the stream with an error and waits until that is known.
func (s *stream) cut(err error) {
	s.end <- err
	synctest.Wait()
}

// heard is all that a stream has said, added up.
func (s *stream) heard() *apiv1.WorkRequest {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := &apiv1.WorkRequest{}
	for _, r := range s.said {
		sum.TaskCredits += r.GetTaskCredits()
		sum.ActivationCredits += r.GetActivationCredits()
		sum.TaskResults = append(sum.TaskResults, r.GetTaskResults()...)
		sum.Heartbeats = append(sum.Heartbeats, r.GetHeartbeats()...)
		sum.ActivationResults = append(sum.ActivationResults, r.GetActivationResults()...)
		sum.ActivationHeartbeats = append(sum.ActivationHeartbeats, r.GetActivationHeartbeats()...)
		sum.ReplayRequests = append(sum.ReplayRequests, r.GetReplayRequests()...)
		sum.EvictedRunIds = append(sum.EvictedRunIds, r.GetEvictedRunIds()...)
		sum.Draining = sum.GetDraining() || r.GetDraining()
	}
	return sum
}

// running is a worker under test.
type running struct {
	t      *testing.T
	client *client.Client
	stop   context.CancelFunc
	done   chan error
}

// run starts a worker against the gateway. The test ends it with finish, or leaves that to the clean-up.
func (g *gateway) run(parts ...worker.Option) *running {
	g.t.Helper()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.server.Serve(g)
	}()
	c, err := client.Dial("passthrough:fake", client.Options{DialOptions: []grpc.DialOption{grpc.WithContextDialer(g.dial)}})
	if err != nil {
		g.t.Fatal(err)
	}
	w, err := worker.New(c, parts...)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: g.t, client: c, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	g.t.Cleanup(func() {
		stop()
		if err := <-r.done; err != nil {
			g.t.Logf("Run: %v", err)
		}
		_ = c.Close()
		g.server.Stop()
		<-served
	})
	return r
}

// ended reports whether Run has returned, and what.
func (r *running) ended() (bool, error) {
	synctest.Wait()
	select {
	case err := <-r.done:
		r.done <- err
		return true, err
	default:
		return false, nil
	}
}

func quiet(o worker.Options) worker.Options {
	o.Log = slog.New(slog.DiscardHandler)
	return o
}

func runID(n byte) events.RunID { return events.MakeRunID(int64(n), [10]byte{n}) }

func attempt(n byte, step uint64, attempt uint32) *apiv1.AttemptRef {
	return &apiv1.AttemptRef{WorkflowId: "w", RunId: runID(n).String(), Step: step, Attempt: attempt}
}

func activation(n byte, number uint64, attempt uint32) *apiv1.ActivationRef {
	return &apiv1.ActivationRef{WorkflowId: "w", RunId: runID(n).String(), Activation: number, Attempt: attempt}
}

func value(t *testing.T, v any) *apiv1.Payload {
	t.Helper()
	p, err := payload.Converter{}.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return &apiv1.Payload{Encoding: p.Encoding, Data: p.Data}
}

func (s *stream) task(t *testing.T, name string, ref *apiv1.AttemptRef, in any) {
	t.Helper()
	s.give(t, &apiv1.WorkResponse{Tasks: []*apiv1.TaskDelivery{{
		Task: ref, Name: name, Input: value(t, in), StartToClose: durationpb.New(5 * time.Minute), Delivery: 1,
	}}})
}

// history is that of one run as the gateway would send it.
type history struct {
	run    events.RunID
	events []events.Event
}

func started(t *testing.T, n byte, name string, in any) *history {
	t.Helper()
	p, err := payload.Converter{}.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	return &history{run: runID(n), events: []events.Event{events.RunStarted{Type: events.WorkflowType(name), Input: p}}}
}

func (h *history) add(e ...events.Event) *history {
	h.events = append(h.events, e...)
	return h
}

func (h *history) last() uint64 { return uint64(len(h.events)) }

// frame encodes the events from first to last.
func (h *history) frame(first, last uint64) []byte {
	r := &events.Record{Events: h.events[first-1 : last]}
	r.RunID, r.First, r.Seq = h.run, events.EventNumber(first), events.Seq(first)
	return events.AppendFrame(nil, r)
}

// delivery is an activation up to the last event, with the whole history in it.
func (h *history) delivery(name string, number uint64, try uint32) *apiv1.ActivationDelivery {
	return &apiv1.ActivationDelivery{
		Activation:   &apiv1.ActivationRef{WorkflowId: "w", RunId: h.run.String(), Activation: number, Attempt: try},
		WorkflowType: name, At: timestamppb.New(time.Now()), ReplayFrom: 1, Upto: h.last(), Full: true,
		History: h.frame(1, h.last()), Deadline: durationpb.New(10 * time.Second),
	}
}

// delta is an activation for a live run that made the ProgressMade numbered base.
func (h *history) delta(name string, number, base, after uint64) *apiv1.ActivationDelivery {
	d := h.delivery(name, number, 1)
	d.Full, d.Base, d.History = false, base, h.frame(after+1, h.last())
	return d
}

func (s *stream) activate(t *testing.T, d *apiv1.ActivationDelivery) {
	t.Helper()
	s.give(t, &apiv1.WorkResponse{Activations: []*apiv1.ActivationDelivery{d}})
}

// progress decodes the n-th result of an activation.
func (s *stream) progress(t *testing.T, n int) events.ReportProgress {
	t.Helper()
	results := s.heard().GetActivationResults()
	if len(results) <= n {
		t.Fatalf("there are %d results of activations, want more than %d", len(results), n)
	}
	if f := results[n].GetFailure(); f != nil {
		t.Fatalf("activation failed: %s %s", f.GetCode(), f.GetMessage())
	}
	p, err := events.DecodeReportProgress(results[n].GetProgress())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// accept is the event of an accepted progress.
func accept(p events.ReportProgress) events.ProgressMade {
	return events.ProgressMade{
		Activation: p.Activation, Attempt: p.Attempt, At: p.At, Upto: p.Upto, Reads: p.Reads, Wait: p.Wait, Build: p.Build, Worker: p.Worker,
	}
}
