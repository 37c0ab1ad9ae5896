package overload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/test/fixture"
)

// plan is what a generator does: starts of the one-task workflow at a steady rate, whether they are answered or not; or, with
// Closed set, that many at a time.
type plan struct {
	Rate   float64 // per second
	Closed int
	For    time.Duration
	// Skip is how long at the beginning nothing is counted.
	Skip time.Duration
	Tag  string // makes the workflow ids unique
	// Wait says that a start is answered by the end of its run.
	Wait bool
}

// result is what came out.
type result struct {
	Sent, Accepted, Refused, Failed int
	// Seconds is how long it took in all, without the skipped part.
	Seconds                float64
	P50, P99, Max          float64 // ms until a start was accepted
	RefusedP50, RefusedP99 float64 // ms until a start was refused
	RefusedMax             float64
	WithoutRetryAfter      int // refusals that did not say when to try again
	FirstFailure           string
	Behind                 float64 // ms by which the generator itself was late with a start, p99
	Unanswered             int
	AcceptedPerSecond      float64
}

// generate is the role of a generator: the plan is in the environment, the result goes to the file named there.
func generate(ctx context.Context, addr string) error {
	var p plan
	if err := json.Unmarshal([]byte(os.Getenv("OVERLOAD_PLAN")), &p); err != nil {
		return err
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithReadBufferSize(256<<10), grpc.WithWriteBufferSize(256<<10), grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(8<<20))
	if err != nil {
		return err
	}
	defer conn.Close()
	g := &generator{plan: p, open: map[uint64]start{}}
	const streams = 4
	for range streams {
		stream, err := apiv1.NewClientServiceClient(conn).Connect(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: wire.MaxProtocol}}); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		g.streams = append(g.streams, stream)
		go g.receive(stream)
	}
	began := time.Now()
	g.counted.Store(p.Skip == 0)
	if p.Skip > 0 {
		time.AfterFunc(p.Skip, func() { g.counted.Store(true) })
	}
	if p.Closed > 0 {
		g.closed(began)
	} else {
		g.steady(began)
	}
	for deadline := time.Now().Add(15 * time.Second); g.waiting() > 0 && time.Now().Before(deadline); {
		fixture.Pause(10 * time.Millisecond)
	}
	text, err := json.Marshal(g.result())
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("OVERLOAD_RESULT"), text, 0o600)
}

// start is one that is not answered.
type start struct{ due, sent time.Time }

type generator struct {
	plan    plan
	streams []apiv1.ClientService_ConnectClient
	counted atomic.Bool
	room    chan struct{}

	mu       sync.Mutex
	next     uint64
	open     map[uint64]start
	r        result
	accepted []time.Duration
	refused  []time.Duration
	behind   []time.Duration
}

// steady sends what is due, a few at a time. A start that is accepted counts from when it was due, so that a generator that is
// late does not make the server look quick; a refusal counts from when the start was sent.
func (g *generator) steady(began time.Time) {
	for sent := 0; ; {
		since := time.Since(began)
		if since >= g.plan.For {
			return
		}
		if due := int(since.Seconds() * g.plan.Rate); due > sent {
			n := min(due-sent, 64)
			g.send(n, func(i int) time.Time {
				return began.Add(time.Duration(float64(sent+i+1) / g.plan.Rate * float64(time.Second)))
			})
			sent += n
			continue
		}
		fixture.Pause(time.Millisecond)
	}
}

// closed keeps a number of starts open.
func (g *generator) closed(began time.Time) {
	g.mu.Lock()
	g.room = make(chan struct{}, g.plan.Closed)
	g.mu.Unlock()
	for time.Since(began) < g.plan.For {
		g.room <- struct{}{}
		n := 1
	more:
		for n < 32 {
			select {
			case g.room <- struct{}{}:
				n++
			default:
				break more
			}
		}
		g.send(n, func(int) time.Time { return time.Now() })
	}
}

func (g *generator) send(n int, due func(i int) time.Time) {
	r := &apiv1.ConnectRequest{}
	now := time.Now()
	var wait *durationpb.Duration
	if g.plan.Wait {
		wait = durationpb.New(wire.MaxWait)
	}
	g.mu.Lock()
	for i := range n {
		g.next++
		at := due(i)
		g.open[g.next] = start{due: at, sent: now}
		if g.counted.Load() {
			g.r.Sent++
			g.behind = append(g.behind, now.Sub(at))
		}
		r.Calls = append(r.Calls, &apiv1.ClientCall{Call: g.next, Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{
			Type: oneTask.Name(), WorkflowId: fmt.Sprintf("%s/%d", g.plan.Tag, g.next), Input: &apiv1.Payload{Encoding: "json", Data: []byte("7")},
			Wait: wait,
		}}})
	}
	stream := g.streams[int(g.next/64)%len(g.streams)]
	g.mu.Unlock()
	if err := stream.Send(r); err != nil {
		panic(err)
	}
}

func (g *generator) receive(stream apiv1.ClientService_ConnectClient) {
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		now := time.Now()
		g.mu.Lock()
		for _, one := range r.GetResponses() {
			g.answered(one, now)
		}
		g.mu.Unlock()
	}
}

func (g *generator) answered(r *apiv1.ClientResponse, now time.Time) {
	s, ok := g.open[r.GetCall()]
	if !ok {
		return
	}
	delete(g.open, r.GetCall())
	var e *events.Error
	if r.GetError() != nil {
		e = wire.FromCallError(r.GetError())
	}
	switch {
	case g.room == nil:
	case e == nil:
		<-g.room
	default: // as a client does that keeps to what it is told
		time.AfterFunc(time.Duration(e.RetryAfterMs)*time.Millisecond, func() { <-g.room })
	}
	if !g.counted.Load() {
		return
	}
	if e == nil {
		g.accepted = append(g.accepted, now.Sub(s.due))
		return
	}
	if e.Code != events.Overloaded {
		g.r.Failed++
		g.r.FirstFailure = e.Error()
		return
	}
	if e.RetryAfterMs <= 0 {
		g.r.WithoutRetryAfter++
	}
	g.refused = append(g.refused, now.Sub(s.sent))
}

func (g *generator) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

func (g *generator) result() result {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.r
	r.Accepted, r.Refused, r.Unanswered = len(g.accepted), len(g.refused), len(g.open)
	r.Seconds = (g.plan.For - g.plan.Skip).Seconds()
	r.AcceptedPerSecond = float64(r.Accepted) / r.Seconds
	r.P50, r.P99, r.Max = quantile(g.accepted, .5), quantile(g.accepted, .99), quantile(g.accepted, 1)
	r.RefusedP50, r.RefusedP99, r.RefusedMax = quantile(g.refused, .5), quantile(g.refused, .99), quantile(g.refused, 1)
	r.Behind = quantile(g.behind, .99)
	return r
}

// quantile returns a quantile in milliseconds; 0 when there is nothing.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))]) / float64(time.Millisecond)
}
