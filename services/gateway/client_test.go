package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
)

type stream struct {
	t testing.TB
	grpc.BidiStreamingClient[apiv1.ConnectRequest, apiv1.ConnectResponse]
}

func (s *suite) connect() stream {
	s.t.Helper()
	c, err := apiv1.NewClientServiceClient(s.conn).Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	out := stream{s.t, c}
	out.say(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 1}})
	if r, err := c.Recv(); err != nil || r.GetWelcome().GetMaxOpenCalls() == 0 {
		s.t.Fatalf("no welcome: %v %v", r, err)
	}
	return out
}

func (s stream) say(r *apiv1.ConnectRequest) {
	s.t.Helper()
	if err := s.Send(r); err != nil {
		s.t.Error(err)
	}
}

// responses reads n responses, by call.
func (s stream) responses(n int) map[uint64]*apiv1.ClientResponse {
	s.t.Helper()
	got := make(map[uint64]*apiv1.ClientResponse)
	for len(got) < n {
		r, err := s.Recv()
		if err != nil {
			s.t.Fatalf("%v after %d responses", err, len(got))
		}
		for _, one := range r.GetResponses() {
			got[one.GetCall()] = one
		}
	}
	return got
}

func startCall(call uint64, id string) *apiv1.ClientCall {
	return &apiv1.ClientCall{Call: call, Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{WorkflowId: id, Type: "Order"}}}
}

func TestManyCallsOnOneStream(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	c := s.connect()
	batch := &apiv1.ConnectRequest{}
	for i := range uint64(200) {
		batch.Calls = append(batch.Calls, startCall(i+1, fmt.Sprintf("order/%d", i)))
	}
	batch.Calls = append(batch.Calls, startCall(201, "bad\n"))
	c.say(batch)
	got := c.responses(201)
	for i := range uint64(200) {
		if r := got[i+1].GetStart(); !r.GetStarted() || r.GetWorkflowId() != fmt.Sprintf("order/%d", i) {
			t.Fatalf("call %d: %v", i+1, got[i+1])
		}
	}
	if e := wire.FromCallError(got[201].GetError()); e.Code != events.BadIDCode {
		t.Errorf("the bad call: %v", e)
	}
}

func TestStartWithWaitGivesTheOutcome(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	c := s.connect()
	call := startCall(1, "order/1")
	call.GetStart().Wait = durationpb.New(time.Minute)
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{call}})
	w.progress(w.activation(), events.WaitSet{}, events.FailRun{Failure: events.Failure{Code: "declined", Message: "no money"}})
	o := c.responses(1)[1].GetStart().GetOutcome()
	if o.GetStatus() != apiv1.Status_STATUS_FAILED || o.GetFailure().GetCode() != "declined" {
		t.Errorf("outcome: %v", o)
	}
}

func TestAnAbandonedCallGetsNoResponse(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.startOrder("order/1", "1")
	c := s.connect()
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{
		{Call: 1, Request: &apiv1.ClientCall_Result{Result: &apiv1.GetResultRequest{WorkflowId: "order/1", Wait: durationpb.New(time.Minute)}}},
	}})
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{{Call: 1, Request: &apiv1.ClientCall_Abandon{Abandon: &apiv1.Abandon{}}}}})
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{startCall(2, "order/2")}})
	if got := c.responses(1); got[2].GetStart() == nil {
		t.Errorf("responses: %v", got)
	}
}

func TestOpenCallsOfAStreamAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, settings{options: func(o *gateway.Options) { o.MaxStreamCalls = 2 }})
	s.startOrder("order/1", "1")
	c := s.connect()
	batch := &apiv1.ConnectRequest{}
	for i := range uint64(3) {
		batch.Calls = append(batch.Calls, &apiv1.ClientCall{Call: i + 1, Request: &apiv1.ClientCall_Result{
			Result: &apiv1.GetResultRequest{WorkflowId: "order/1", Wait: durationpb.New(time.Minute)},
		}})
	}
	c.say(batch)
	if e := wire.FromCallError(c.responses(1)[3].GetError()); e.Code != events.Overloaded || e.RetryAfterMs == 0 {
		t.Errorf("the third call: %v", e)
	}
}

func TestBadClientStreams(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	for name, c := range map[string]struct {
		first *apiv1.ConnectRequest
		want  events.Code
	}{
		"no hello":  {&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{startCall(1, "x")}}, events.InvalidArgument},
		"newer SDK": {&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 2}}, events.SDKTooNew},
	} {
		stream, err := apiv1.NewClientServiceClient(s.conn).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(c.first); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); wire.FromStatus(err).Code != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	run := s.startOrder("order/1", "1").GetRunId()
	ctx := t.Context()
	get := func(id, run string, wait time.Duration) (*apiv1.Outcome, error) {
		r, err := s.client.GetResult(ctx, &apiv1.GetResultRequest{WorkflowId: id, RunId: run, Wait: durationpb.New(wait)})
		return r.GetOutcome(), err
	}
	if o, err := get("order/1", "", 0); err != nil || o.GetStatus() != apiv1.Status_STATUS_RUNNING || o.GetRunId() != run {
		t.Errorf("an open run, newest: %v %v", o, err)
	}
	if o, err := get("order/1", run, 10*time.Millisecond); err != nil || o.GetStatus() != apiv1.Status_STATUS_RUNNING {
		t.Errorf("an open run, by id: %v %v", o, err)
	}
	if _, err := get("order/2", run, 0); wire.FromStatus(err).Code != events.NotFound {
		t.Errorf("a run of another workflow: %v", err)
	}
	w.progress(w.activation(), events.WaitSet{}, events.CompleteRun{Result: payload("7")})
	for _, id := range []string{"", run} {
		if o, err := get("order/1", id, 10*time.Second); err != nil || string(o.GetResult().GetData()) != "7" {
			t.Errorf("an ended run: %v %v", o, err)
		}
	}
	if _, err := get("order/2", run, 0); wire.FromStatus(err).Code != events.NotFound {
		t.Errorf("an ended run of another workflow: %v", err)
	}
}

func TestAGatewayThatBeganLaterKnowsOldResults(t *testing.T) {
	t.Parallel()
	for _, noReading := range []bool{false, true} {
		s := start(t, settings{})
		w := s.join(nil)
		run := s.startOrder("order/1", "1").GetRunId()
		w.progress(w.activation(), events.WaitSet{}, events.CompleteRun{Result: payload("7")})
		if _, err := s.client.GetResult(t.Context(), &apiv1.GetResultRequest{WorkflowId: "order/1", Wait: durationpb.New(10 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		s.stop()
		s.parts.Wait()
		later := start(t, settings{store: s.store.Reopen(), noReading: noReading})
		r, err := later.client.GetResult(t.Context(), &apiv1.GetResultRequest{WorkflowId: "order/1", RunId: run})
		if err != nil || string(r.GetOutcome().GetResult().GetData()) != "7" {
			t.Errorf("without a read model %v: %v %v", noReading, r, err)
		}
	}
}

func TestDescribeSaysWhyARunWaits(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	started := s.startOrder("order/1", "1")
	describe := func() string {
		t.Helper()
		r, err := s.client.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: "order/1", WaitFor: started.GetToken()})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.GetWaitsFor(), "\n")
	}
	if got := describe(); !strings.Contains(got, "no worker offers workflow Order on queue default") {
		t.Errorf("without a worker: %s", got)
	}
	w := s.join(func(h *apiv1.WorkerHello) { h.Tasks = nil })
	w.progress(w.activation(), events.WaitSet{Any: []events.WaitGroup{
		{Steps: []events.Step{1}}, {Steps: []events.Step{2}}, {Signals: []events.SignalWait{{Name: "stop", Index: 1}}},
	}}, events.ScheduleTask{Step: 1, Name: "Pay"}, events.StartTimer{Step: 2, Due: events.TimeOf(time.Now().Add(time.Hour))})
	r, err := s.client.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: "order/1", FromEvent: 3, Wait: durationpb.New(10 * time.Second)})
	if err != nil || r.GetNextEvent() == 0 {
		t.Fatal(r, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := describe()
		if strings.Contains(got, "no worker offers task Pay on queue default") && strings.Contains(got, "timer 2 until ") && strings.Contains(got, "signal stop number 1") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("describe: %s", got)
		}
	}
}

func TestListsAndCounts(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	var last *apiv1.StartWorkflowResponse
	for i := range 5 {
		last = s.startOrder(fmt.Sprintf("order/%d", i), "1")
		if _, err := s.client.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: last.GetWorkflowId(), WaitFor: last.GetToken()}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for token := ""; ; {
		r, err := s.client.ListWorkflows(t.Context(), &apiv1.ListWorkflowsRequest{WorkflowIdPrefix: "order/", PageSize: 2, PageToken: token, WaitFor: last.GetToken()})
		if err != nil {
			t.Fatal(err)
		}
		seen += len(r.GetWorkflows())
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if seen != 5 {
		t.Errorf("the pages have %d runs, want 5", seen)
	}
	count, err := s.client.CountWorkflows(t.Context(), &apiv1.CountWorkflowsRequest{Type: "Order", Statuses: []apiv1.Status{apiv1.Status_STATUS_RUNNING}})
	if err != nil || count.GetTotal() != 5 {
		t.Errorf("count: %v %v", count, err)
	}
}

func TestWorkersAndQueues(t *testing.T) {
	t.Parallel()
	s := start(t, settings{deps: func(d *gateway.Deps) {
		d.Backlog = func() []gateway.QueueBacklog { return []gateway.QueueBacklog{{Queue: "default", Tasks: 3}} }
	}})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{})
	workers, err := s.client.ListWorkers(t.Context(), &apiv1.ListWorkersRequest{Queue: "default"})
	if err != nil || len(workers.GetWorkers()) != 1 || workers.GetWorkers()[0].GetRunningTasks() != 1 {
		t.Errorf("workers: %v %v (task %v)", workers, err, d)
	}
	queues, err := s.client.ListQueues(t.Context(), &apiv1.ListQueuesRequest{})
	if err != nil || len(queues.GetQueues()) != 1 {
		t.Fatalf("queues: %v %v", queues, err)
	}
	if q := queues.GetQueues()[0]; q.GetFreeTaskSlots() != 9 || q.GetWaitingTasks() != 3 || q.GetWorkers() != 1 {
		t.Errorf("queue: %v", q)
	}
}

func TestHistoryByPagesAndLongPoll(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	s.startOrder("order/1", "1")
	d := w.activation()
	type page struct{ text string }
	pages := make(chan page)
	go func() {
		for from := uint64(1); ; {
			r, err := s.client.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: "order/1", FromEvent: from, PageSize: 1, Wait: durationpb.New(20 * time.Second)})
			if err != nil {
				t.Error(err)
				close(pages)
				return
			}
			pages <- page{string(r.GetHistory().GetData())}
			if from = r.GetNextEvent(); from == 0 {
				close(pages)
				return
			}
		}
	}()
	<-pages // RunStarted
	<-pages // ActivationScheduled
	w.progress(d, events.WaitSet{}, events.CompleteRun{})
	var kinds []string
	for p := range pages {
		for _, kind := range []string{"ProgressMade", "RunCompleted"} {
			if strings.Contains(p.text, `"`+kind+`"`) {
				kinds = append(kinds, kind)
			}
		}
	}
	if fmt.Sprint(kinds) != "[ProgressMade RunCompleted]" {
		t.Errorf("pages after the wait: %v", kinds)
	}
}

func TestDrainingFinishesWhatIsOpen(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	run := s.startOrder("order/1", "1").GetRunId()
	d := w.activation()
	c := s.connect()
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{
		{Call: 1, Request: &apiv1.ClientCall_Result{Result: &apiv1.GetResultRequest{WorkflowId: "order/1", RunId: run, Wait: durationpb.New(time.Minute)}}},
	}})
	// The call is on its way once a later one is answered.
	c.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{startCall(2, "order/2")}})
	c.responses(1)
	begin := time.Now()
	s.stop()
	saidSo := false
	for {
		r, err := c.Recv()
		if err != nil {
			break
		}
		saidSo = saidSo || r.GetDraining()
	}
	for {
		r, err := w.stream.Recv()
		if err != nil {
			if wire.FromStatus(err).Code != events.Unavailable {
				t.Errorf("the worker's stream ended with %v", err)
			}
			break
		}
		saidSo = saidSo && r.GetDraining() || saidSo
	}
	s.parts.Wait()
	if took := time.Since(begin); !saidSo || took > time.Second {
		t.Errorf("drained in %s, told %v; activation %v", took, saidSo, d.GetActivation())
	}
	if _, err := s.client.GetServer(context.Background(), &apiv1.GetServerRequest{}); err == nil {
		t.Error("a drained gateway still serves")
	}
}
