package limits_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/test/fixture"
)

var fullWait = flag.Bool("wait", false, "wait the full 60 s that a request may wait; without it only that a longer wait is taken and ends early when there is news")

func waits(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	ask := func(wait time.Duration) (apiv1.Status, time.Duration) {
		began := time.Now()
		r, err := s.API.GetResult(t.Context(), &apiv1.GetResultRequest{WorkflowId: id, Wait: durationpb.New(wait)})
		must(t, err)
		return r.GetOutcome().GetStatus(), time.Since(began)
	}
	if status, took := ask(200 * time.Millisecond); status != apiv1.Status_STATUS_RUNNING || took < 200*time.Millisecond {
		t.Errorf("a wait of 200 ms ended after %s with %s", took, status)
	}
	if *fullWait {
		if status, took := ask(time.Hour); status != apiv1.Status_STATUS_RUNNING || took < 60*time.Second || took > 65*time.Second {
			t.Errorf("a wait of an hour ended after %s with %s", took, status)
		}
	}
	finish(t, s, id)
	if status, took := ask(time.Hour); status != apiv1.Status_STATUS_COMPLETED || took > 10*time.Second {
		t.Errorf("a wait of an hour for a run that ends: %s after %s", status, took)
	}
}

func pages(t *testing.T, s *fixture.Suite) {
	list := func(size int32) (int, error) {
		r, err := s.API.ListWorkflows(t.Context(), &apiv1.ListWorkflowsRequest{PageSize: size, WorkflowIdPrefix: "page/"})
		return len(r.GetWorkflows()), err
	}
	var token *apiv1.Token
	for i := range 101 {
		r, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: fmt.Sprint("page/", i), Type: "nobody"})
		must(t, err)
		token = r.GetToken()
		if i >= 85 { // every partition has had one
			_, err = s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: fmt.Sprint("page/", i), WaitFor: token})
			must(t, err)
		}
	}
	fixture.Eventually(t, 5*time.Second, func() (bool, string) {
		n, err := list(1000)
		return err == nil && n == 101, fmt.Sprint(n, err)
	})
	if n, err := list(0); err != nil || n != 100 {
		t.Errorf("the default page has %d runs, %v", n, err)
	}
	_, err := list(1001)
	expect(t, err, events.InvalidArgument, "1000")
	history := func(size int32) error {
		_, err := s.API.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: "page/1", PageSize: size})
		return err
	}
	must(t, history(10_000))
	expect(t, history(10_001), events.InvalidArgument, "10000")
}

// statisticsRows asks for top errors; that more than 10,000 rows of statistics are refused is in the suite of read models.
func statisticsRows(t *testing.T, s *fixture.Suite) {
	top := func(limit int32) error {
		_, err := s.API.GetTopErrors(t.Context(), &apiv1.GetTopErrorsRequest{Limit: limit})
		return err
	}
	must(t, top(0))
	must(t, top(1_000))
	expect(t, top(1_001), events.InvalidArgument, "1000")
}

func errorKinds(t *testing.T, s *fixture.Suite) {
	letters := func(n int) string {
		return string([]byte{byte('a' + n/676), byte('a' + n/26%26), byte('a' + n%26)})
	}
	for n := range 1_100 {
		_, err := failing.Start(t.Context(), s.Client, failureShape{Kind: letters(n)}, flow.ID(fmt.Sprint("kind/", n)))
		must(t, err)
	}
	fixture.Eventually(t, 20*time.Second, func() (bool, string) {
		top, err := s.API.GetTopErrors(t.Context(), &apiv1.GetTopErrorsRequest{Limit: 1_000})
		others := int64(0)
		for _, row := range top.GetRows() {
			if row.GetCode() == "other_errors" {
				others = row.GetCount()
			}
		}
		return err == nil && others > 0, fmt.Sprintf("%d rows, %d of other kinds, %v", len(top.GetRows()), others, err)
	})
}

func described(t *testing.T, s *fixture.Suite) {
	id := opened(t, s, timers, opening{First: 1_001})
	waitFor(t, s, id, more.Name())
	d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
	must(t, err)
	if n := len(d.GetTimers()); n != 1_000 {
		t.Errorf("%d timers of 1,001 are listed", n)
	}
	id = opened(t, s, tasks, opening{First: 1_001})
	waitFor(t, s, id, more.Name())
	d, err = s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
	must(t, err)
	if n, all := len(d.GetTasks()), d.GetInfo().GetTasksScheduled(); n != 1_000 || all != 1_001 {
		t.Errorf("%d tasks of %d are listed", n, all)
	}
}

// openCalls has its own server, as have the two below it: they fill it up.
func openCalls(t *testing.T, _ *fixture.Suite) {
	s := fixture.Start(t)
	s.Worker(t, code()...)
	id := open(t, s)
	// A Go client lets the one above its limit wait.
	c := s.Dial(t, client.Options{})
	results := make(chan error)
	const most = client.DefaultMaxOpenCalls
	for range most + 1 {
		go func() {
			_, err := c.Result(t.Context(), waiter.Attach(c, id).Ref())
			results <- err
		}()
	}
	// A stream of its own is refused the one above its limit, and serves the others on.
	stream := connect(t, s)
	stream.wait(t, id, most)
	expect(t, stream.refused(t), events.Overloaded, fmt.Sprint(most))
	finish(t, s, id)
	for range most {
		stream.answered(t)
	}
	for range most + 1 {
		if err := <-results; err != nil {
			t.Fatalf("a call of the client: %v", err)
		}
	}
}

func serverCalls(t *testing.T, _ *fixture.Suite) {
	s := fixture.Start(t)
	s.Worker(t, code()...)
	const most, each = 20_000, 4_000
	var all []*clientStream
	for i := range most / each {
		// A run each: its partition is asked whether it is there, by all of them at once.
		id := fmt.Sprint("server calls/", i)
		_, err := waiter.Start(t.Context(), s.Client, flow.None{}, flow.ID(id))
		must(t, err)
		stream := connect(t, s)
		stream.wait(t, id, each)
		stream.keep(t, id)
		all = append(all, stream)
	}
	list := func() error {
		_, err := s.API.ListQueues(t.Context(), &apiv1.ListQueuesRequest{})
		return err
	}
	fixture.Eventually(t, 10*time.Second, func() (bool, string) {
		e := asError(list())
		return e != nil && e.Code == events.Overloaded && strings.Contains(e.Message, fmt.Sprint(most)) && e.RetryAfterMs > 0, fmt.Sprint(e)
	})
	all[0].kept.Store(false)
	all[0].abandon(t, 1)
	fixture.Eventually(t, 5*time.Second, func() (bool, string) {
		err := list()
		return err == nil, fmt.Sprint(err)
	})
}

func streams(t *testing.T, _ *fixture.Suite) {
	s := fixture.Start(t) // its two clients have a stream each
	for i := range 1_998 {
		if err := tryConnect(t, s); err != nil {
			t.Fatalf("stream %d: %v", i+3, err)
		}
	}
	expect(t, tryConnect(t, s), events.Overloaded, "2000")
}

// waitingCommands sends far more commands at once than a partition holds: what is refused is refused for load, with a time to try
// again, and the rest is done. How many are refused depends on how quick the engine is; the exact bounds are held by
// journaltest (ClientsAreBounded) and by the tests of the gateway's admission.
func waitingCommands(t *testing.T, _ *fixture.Suite) {
	s := fixture.Start(t)
	s.Worker(t, code()...)
	id := open(t, s)
	const each = 4_000
	var all []*clientStream
	for range 4 {
		all = append(all, connect(t, s))
	}
	for _, stream := range all {
		r := &apiv1.ConnectRequest{}
		for range each {
			stream.next++
			r.Calls = append(r.Calls, &apiv1.ClientCall{Call: stream.next, Request: &apiv1.ClientCall_Signal{
				Signal: &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: "limits.Many", RequestId: fmt.Sprintf("%p/%d", stream, stream.next)},
			}})
		}
		must(t, stream.Send(r))
	}
	codes := map[events.Code]int{}
	for _, stream := range all {
		for range each {
			r := stream.receive(t)
			if r.GetError() == nil {
				codes[events.OK]++
				continue
			}
			e := wire.FromCallError(r.GetError())
			if codes[e.Code]++; e.Code == events.Overloaded && e.RetryAfterMs <= 0 {
				t.Fatalf("a refusal does not say when to try again: %v", e)
			}
		}
	}
	if codes[events.OK] == 0 || codes[events.OK]+codes[events.Overloaded]+codes[events.InboxFull] != len(all)*each {
		t.Errorf("the commands are answered %v", codes)
	}
}

// clientStream is a client's stream without the SDK, which would keep the limits by itself.
type clientStream struct {
	apiv1.ClientService_ConnectClient
	next      uint64
	responses []*apiv1.ClientResponse
	kept      atomic.Bool
	send      sync.Mutex
}

func tryConnect(t *testing.T, s *fixture.Suite) error {
	t.Helper()
	_, err := openStream(t, s)
	return err
}

func openStream(t *testing.T, s *fixture.Suite) (*clientStream, error) {
	t.Helper()
	stream, err := apiv1.NewClientServiceClient(s.Client.Conn()).Connect(context.WithoutCancel(t.Context()))
	must(t, err)
	must(t, stream.Send(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 1}}))
	_, err = stream.Recv()
	return &clientStream{ClientService_ConnectClient: stream}, err
}

func connect(t *testing.T, s *fixture.Suite) *clientStream {
	t.Helper()
	stream, err := openStream(t, s)
	must(t, err)
	return stream
}

// wait opens n calls that wait for the end of a run.
func (c *clientStream) wait(t *testing.T, id string, n int) {
	t.Helper()
	c.send.Lock()
	defer c.send.Unlock()
	for range n {
		c.next++
		must(t, c.Send(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{{Call: c.next, Request: &apiv1.ClientCall_Result{
			Result: &apiv1.GetResultRequest{WorkflowId: id, Wait: durationpb.New(time.Minute)},
		}}}}))
	}
}

// keep reads the answers and asks again for each that did not wait: a busy machine may be too slow for one.
func (c *clientStream) keep(t *testing.T, id string) {
	t.Helper()
	c.kept.Store(true)
	go func() {
		for {
			batch, err := c.Recv()
			if err != nil || !c.kept.Load() {
				return
			}
			c.wait(t, id, len(batch.GetResponses()))
		}
	}()
}

func (c *clientStream) abandon(t *testing.T, call uint64) {
	t.Helper()
	c.send.Lock()
	defer c.send.Unlock()
	must(t, c.Send(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{{Call: call, Request: &apiv1.ClientCall_Abandon{Abandon: &apiv1.Abandon{}}}}}))
}

func (c *clientStream) receive(t *testing.T) *apiv1.ClientResponse {
	t.Helper()
	for len(c.responses) == 0 {
		batch, err := c.Recv()
		must(t, err)
		c.responses = batch.GetResponses()
	}
	first := c.responses[0]
	c.responses = c.responses[1:]
	return first
}

// refused opens one call more and returns the refusal, which comes before any other answer.
func (c *clientStream) refused(t *testing.T) error {
	t.Helper()
	c.wait(t, "one more", 1)
	r := c.receive(t)
	if r.GetCall() != c.next {
		t.Fatalf("call %d is answered: %v", r.GetCall(), r)
	}
	return wire.FromCallError(r.GetError())
}

func (c *clientStream) answered(t *testing.T) {
	t.Helper()
	if r := c.receive(t); r.GetResult().GetOutcome().GetStatus() != apiv1.Status_STATUS_COMPLETED {
		t.Fatalf("call %d is answered %v", r.GetCall(), r)
	}
}
