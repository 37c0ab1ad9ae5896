package poison_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/test/fixture"
)

// grows is how much memory a hostile peer may cost the server.
const grows = 150 << 20

type checker = func(t *testing.T, do func(t *testing.T) (what string, late bool))

func hostilePeers(t *testing.T, s *fixture.Suite, check checker) {
	for name, do := range map[string]func(t *testing.T, s *fixture.Suite) string{
		"garbage on the ports":               garbage,
		"worker reports what is not":         absurdWorker,
		"worker talks and never listens":     deafWorker,
		"client calls and never listens":     deafClient,
		"worker sends progress of any bytes": wildProgress,
	} {
		t.Run(name, func(t *testing.T) {
			check(t, func(t *testing.T) (string, bool) {
				before, err := s.RSS()
				if err != nil {
					t.Fatal(err)
				}
				what := do(t, s)
				after, err := s.RSS()
				if err != nil {
					t.Fatal(err)
				}
				if after-before > grows {
					t.Errorf("the server grew by %d MiB", (after-before)>>20)
				}
				return fmt.Sprintf("%s, server %+d MiB", what, (after-before)>>20), false
			})
		})
	}
}

// garbage writes bytes without a meaning to both ports, some behind the first bytes of a real protocol.
func garbage(t *testing.T, s *fixture.Suite) string {
	random := rand.NewChaCha8([32]byte{1})
	n := 0
	for _, addr := range []string{s.GRPCAddr, s.HTTPAddr} {
		for _, head := range []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n", "POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"} {
			for range 20 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				body := make([]byte, 64<<10)
				_, _ = random.Read(body)
				_ = c.SetDeadline(time.Now().Add(time.Second))
				_, _ = c.Write([]byte(head))
				_, _ = c.Write(body) // the server may have hung up
				t.Cleanup(func() { _ = c.Close() })
				n++
			}
		}
	}
	return fmt.Sprintf("%d connections", n)
}

// absurdWorker sends results of things that were never given out, or that are over, again and again.
func absurdWorker(t *testing.T, s *fixture.Suite) string {
	id := fmt.Sprintf("absurd/%d", time.Now().UnixNano())
	raw := s.RawWorker(t, id, []string{"poison.Absurd"}, []string{"poison.Task"})
	started, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: id, Type: "poison.Absurd", Queue: id})
	if err != nil {
		t.Fatal(err)
	}
	activation := raw.Activation()
	raw.Report(activation, events.ReportProgress{
		Intents: []events.Intent{events.ScheduleTask{Step: 1, Name: "poison.Task"}},
		Wait:    events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}},
	})
	task := raw.Task()
	deep := &apiv1.Failure{Code: "root"}
	for range 5_000 { // deeper than protobuf itself takes
		deep = &apiv1.Failure{Code: "so", Cause: deep}
	}
	other := &apiv1.AttemptRef{WorkflowId: "nobody", RunId: started.GetRunId(), Step: 99, Attempt: 7}
	value := &apiv1.Payload{Encoding: "json", Data: []byte("1")}
	for range 50 {
		raw.Say(&apiv1.WorkRequest{
			TaskResults: []*apiv1.TaskResult{
				{Task: other, Outcome: &apiv1.TaskResult_Result{Result: value}},
				{Task: &apiv1.AttemptRef{WorkflowId: id, RunId: started.GetRunId(), Step: 1, Attempt: 9}, Outcome: &apiv1.TaskResult_Result{Result: value}},
			},
			ActivationResults: []*apiv1.ActivationResult{{Activation: activation.GetActivation(), Outcome: &apiv1.ActivationResult_Failure{Failure: &apiv1.Failure{Code: "late"}}}},
			Heartbeats:        []*apiv1.TaskHeartbeat{{Task: other, Details: value}},
			EvictedRunIds:     []string{started.GetRunId()}, TaskCredits: 1 << 30, ActivationCredits: 1 << 30,
		})
	}
	// Two results for one attempt: the first one counts.
	raw.Say(&apiv1.WorkRequest{TaskResults: []*apiv1.TaskResult{
		{Task: task.GetTask(), Outcome: &apiv1.TaskResult_Result{Result: value}},
		{Task: task.GetTask(), Outcome: &apiv1.TaskResult_Failure{Failure: &apiv1.Failure{Code: "second"}}},
	}})
	next := raw.Activation()
	raw.Report(next, events.ReportProgress{Intents: []events.Intent{events.CompleteRun{Result: events.Payload{Encoding: "json", Data: []byte(`"done"`)}}}})
	fixture.Eventually(t, 5*time.Second, func() (bool, string) {
		d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
		return err == nil && d.GetInfo().GetStatus() == apiv1.Status_STATUS_COMPLETED, fmt.Sprint(d, err)
	})
	// A failure that no decoder takes ends this stream, with a reason.
	_ = raw.Send(&apiv1.WorkRequest{TaskResults: []*apiv1.TaskResult{{Task: task.GetTask(), Outcome: &apiv1.TaskResult_Failure{Failure: deep}}}})
	return "its own run ended well"
}

// wildProgress answers activations with bytes that are no progress, or one that breaks the rules: each is seen on the run.
func wildProgress(t *testing.T, s *fixture.Suite) string {
	id := fmt.Sprintf("wild/%d", time.Now().UnixNano())
	raw := s.RawWorker(t, id, []string{"poison.Wild"}, nil)
	random := rand.NewChaCha8([32]byte{2})
	for n, bytes := range [][]byte{nil, {0xff}, make([]byte, 1<<20), events.AppendReportProgress(nil, &events.ReportProgress{
		Activation: 77, Upto: 1 << 60, Intents: []events.Intent{events.RecordStep{Step: 0}, events.CompleteRun{}, events.CompleteRun{}},
	})} {
		if n == 2 {
			_, _ = random.Read(bytes)
		}
		run := fmt.Sprint(id, "/", n)
		if _, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: run, Type: "poison.Wild", Queue: id}); err != nil {
			t.Fatal(err)
		}
		raw.Say(&apiv1.WorkRequest{ActivationResults: []*apiv1.ActivationResult{{
			Activation: raw.Activation().GetActivation(), Outcome: &apiv1.ActivationResult_Progress{Progress: bytes},
		}}})
		seenWithin(t, s, run, time.Second, activationFails(events.CodeInvalidProgress))
		if _, err := s.API.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: run}); err != nil {
			t.Fatal(err)
		}
	}
	return "seen"
}

// ownConn is a connection of its own with small windows, whose peer is soon held up when nobody reads.
func ownConn(t *testing.T, s *fixture.Suite) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// talking is how long a deaf peer goes on.
const talking = 3 * time.Second

// talk sends for a while, as fast as it is let, and returns how often it could.
func talk(t *testing.T, send func() error) (n int) {
	t.Helper()
	sent := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		for send() == nil {
			select {
			case sent <- struct{}{}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	for deadline := time.After(talking); ; {
		select {
		case <-sent:
			n++
		case <-over:
			return n
		case <-deadline:
			return n
		}
	}
}

// deafWorker sends heartbeats of tasks that it does not have and never reads what it is told about them.
func deafWorker(t *testing.T, s *fixture.Suite) string {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := apiv1.NewWorkerServiceClient(ownConn(t, s)).Work(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&apiv1.WorkRequest{Hello: &apiv1.WorkerHello{Protocol: wire.MaxProtocol, WorkerId: "deaf", Queue: "deaf"}}); err != nil {
		t.Fatal(err)
	}
	var heartbeats []*apiv1.TaskHeartbeat
	for i := range 5_000 {
		heartbeats = append(heartbeats, &apiv1.TaskHeartbeat{Task: &apiv1.AttemptRef{
			WorkflowId: "nobody", RunId: "01924560-6c00-7001-8203-040506070809", Step: uint64(i + 1), Attempt: 1,
		}})
	}
	n := talk(t, func() error { return stream.Send(&apiv1.WorkRequest{Heartbeats: heartbeats}) })
	return fmt.Sprintf("%d heartbeats", n*len(heartbeats))
}

// deafClient makes calls and never reads the answers.
func deafClient(t *testing.T, s *fixture.Suite) string {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := apiv1.NewClientServiceClient(ownConn(t, s)).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: wire.MaxProtocol}}); err != nil {
		t.Fatal(err)
	}
	next := uint64(0)
	n := talk(t, func() error {
		r := &apiv1.ConnectRequest{}
		for range 1_000 {
			next++
			r.Calls = append(r.Calls, &apiv1.ClientCall{Call: next, Request: &apiv1.ClientCall_Result{Result: &apiv1.GetResultRequest{WorkflowId: "\n"}}})
		}
		return stream.Send(r)
	})
	return fmt.Sprintf("%d calls", n*1_000)
}

// TestRecordThatCannotBeApplied writes a record into the log of a stopped server that does not fit its run, as a defect of an
// engine would: that run is quarantined, says so, and is released no sooner than its history fits; all others go on.
//
//nolint:paralleltest // beside TestPoison it would be load of another kind
func TestRecordThatCannotBeApplied(t *testing.T) {
	s := fixture.Start(t)
	s.Worker(t, append(honestCode(), poisonCode()...)...)
	run, err := listens.Start(t.Context(), s.Client, flow.None{}, flow.ID("damaged"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := listens.Start(t.Context(), s.Client, flow.None{}, flow.ID("sound"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: "damaged"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	inject(t, s.Dir, "damaged", run.RunID(), events.EventNumber(d.GetInfo().GetEvents()), events.TaskCompleted{Step: 99, Attempt: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	took := seenWithin(t, s, "damaged", time.Second, func(d *apiv1.DescribeWorkflowResponse) bool {
		return d.GetInfo().GetQuarantine() != "" && says(d, "quarantined")
	})
	_, err = s.API.ReleaseWorkflow(ctx, &apiv1.ReleaseWorkflowRequest{WorkflowId: "damaged"})
	if e := wire.FromStatus(err); err == nil || e.Code != events.Quarantined {
		t.Errorf("releasing it is answered %v", err)
	}
	if e := wire.FromStatus(signal(ctx, s, "damaged")); e == nil || e.Code != events.Quarantined {
		t.Errorf("a signal to it is answered %v", e)
	}
	if err := signal(ctx, s, "sound"); err != nil {
		t.Fatal(err)
	}
	if n, err := other.Result(ctx); err != nil || n != 7 {
		t.Errorf("the other run ends with %d, %v", n, err)
	}
	fmt.Printf("poison: a record that cannot be applied: seen %s after the server was ready\n", took.Round(time.Millisecond))
}

func signal(ctx context.Context, s *fixture.Suite, id string) error {
	_, err := s.API.SignalWorkflow(ctx, &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: number.Name(), Input: &apiv1.Payload{Encoding: "json", Data: []byte("7")}})
	return err
}

// inject appends an event to the history of a run in the store of a stopped server.
func inject(t *testing.T, dir, id string, run events.RunID, last events.EventNumber, e events.Event) {
	t.Helper()
	store, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p := events.PartitionOf(events.DefaultNamespace, events.WorkflowID(id), store.Journal().Partitions())
	owner, err := store.Journal().Acquire(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Release()
	record := &events.Record{
		Header: events.Header{
			Partition: p, Epoch: owner.Epoch(), Owner: owner.ID(), Seq: owner.Last() + 1, Confirmed: owner.Last(), Time: events.TimeOf(time.Now()),
			Schema: events.Schema, Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(id), RunID: run, First: last + 1,
		},
		Events: []events.Event{e},
	}
	if err := owner.Commit(t.Context(), step(record)); err != nil {
		t.Fatal(err)
	}
}

func step(records ...*events.Record) journal.Step { return journal.Step{Records: records} }
