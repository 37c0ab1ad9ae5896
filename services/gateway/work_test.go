package gateway_test

import (
	"slices"
	"strconv"
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

func TestARunFromStartToResult(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	started := s.startOrder("order/1", `{"amount": 42}`)
	if !started.GetStarted() || started.GetToken().GetSeq() == 0 {
		t.Fatalf("start: %v", started)
	}
	first := w.activation()
	records, err := events.DecodeFrame(first.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := records[0].Events[0].(events.RunStarted); !ok || string(e.Input.Data) != `{"amount": 42}` || !first.GetFull() {
		t.Fatalf("the first activation has %+v", records[0])
	}
	w.progress(first, waitForStep1, events.ScheduleTask{Step: 1, Name: "Pay", Input: payload("42")})
	task := w.task()
	if task.GetName() != "Pay" || string(task.GetInput().GetData()) != "42" || task.GetWorkflowType() != "Order" ||
		task.GetStartToClose().AsDuration() != 5*time.Minute {
		t.Fatalf("task: %v", task)
	}
	w.say(&apiv1.WorkRequest{TaskCredits: 1, TaskResults: []*apiv1.TaskResult{{
		Task: task.GetTask(), Outcome: &apiv1.TaskResult_Result{Result: &apiv1.Payload{Encoding: "json", Data: []byte("43")}},
	}}})
	acked, second := false, (*apiv1.ActivationDelivery)(nil)
	w.next(func(r *apiv1.WorkResponse) bool {
		acked = acked || len(r.GetAcknowledgedTasks()) > 0
		if len(r.GetActivations()) > 0 {
			second = r.GetActivations()[0]
		}
		return acked && second != nil
	})
	if second.GetFull() || second.GetBase() == 0 {
		t.Errorf("the second activation of a live run is full: %v", second)
	}
	records, err = events.DecodeFrame(second.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	completed := false
	for _, r := range records {
		for _, e := range r.Events {
			if e, ok := e.(events.TaskCompleted); ok && string(e.Result.Data) == "43" {
				completed = true
			}
		}
	}
	if !completed {
		t.Errorf("the second activation lacks the task's result: %v", records)
	}
	w.progress(second, events.WaitSet{}, events.CompleteRun{Result: payload(`"paid"`)})
	result, err := s.client.GetResult(t.Context(), &apiv1.GetResultRequest{WorkflowId: "order/1", Wait: durationpb.New(10 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if o := result.GetOutcome(); o.GetStatus() != apiv1.Status_STATUS_COMPLETED || string(o.GetResult().GetData()) != `"paid"` || o.GetRunId() != started.GetRunId() {
		t.Errorf("outcome: %v", o)
	}
}

func TestBadHellosAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.join(nil)
	for name, c := range map[string]struct {
		change func(*apiv1.WorkerHello)
		want   events.Code
		says   string
	}{
		"newer SDK":      {func(h *apiv1.WorkerHello) { h.Protocol = 99 }, events.SDKTooNew, "upgrade the server"},
		"no protocol":    {func(h *apiv1.WorkerHello) { h.Protocol = 0 }, events.InvalidArgument, "protocol"},
		"no id":          {func(h *apiv1.WorkerHello) { h.WorkerId = "" }, events.InvalidArgument, "worker_id"},
		"bad queue":      {func(h *apiv1.WorkerHello) { h.Queue = "a b" }, events.BadIDCode, "task queue"},
		"bad name":       {func(h *apiv1.WorkerHello) { h.Tasks = []*apiv1.Offer{{Name: "a b"}} }, events.BadIDCode, "task name"},
		"bad namespace":  {func(h *apiv1.WorkerHello) { h.Namespace = "acme" }, events.NotFound, "acme"},
		"negative slots": {func(h *apiv1.WorkerHello) { h.TaskSlots = -1 }, events.InvalidArgument, "slots"},
		"duplicate": {
			func(h *apiv1.WorkerHello) { h.Tasks = []*apiv1.Offer{{Name: "Pay"}, {Name: "Pay"}} }, events.DuplicateName, "two tasks named Pay",
		},
		"other signature": {
			func(h *apiv1.WorkerHello) { h.Tasks = []*apiv1.Offer{{Name: "Pay", Signature: "(string) error"}} },
			events.SignatureMismatch, "give the changed one a new name",
		},
		"bad running": {
			func(h *apiv1.WorkerHello) { h.RunningTasks = []*apiv1.AttemptRef{{RunId: "x"}} }, events.BadIDCode, "workflow id",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := s.hello(func(h *apiv1.WorkerHello) { h.WorkerId = "other"; c.change(h) })
			_, err := w.stream.Recv()
			if got := wire.FromStatus(err); got == nil || got.Code != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("got %v, want %s with %q", got, c.want, c.says)
			}
		})
	}
}

func (w *worker) fail(d *apiv1.TaskDelivery, f *apiv1.Failure) {
	w.say(&apiv1.WorkRequest{TaskCredits: 1, TaskResults: []*apiv1.TaskResult{{Task: d.GetTask(), Outcome: &apiv1.TaskResult_Failure{Failure: f}}}})
}

// runTask starts an order and brings it to its task.
func (s *suite) runTask(w *worker, id string, options events.TaskOptions) *apiv1.TaskDelivery {
	s.t.Helper()
	s.startOrder(id, "1")
	w.progress(w.activation(), waitForStep1, events.ScheduleTask{Step: 1, Name: "Pay", Input: payload("42"), Options: options})
	return w.task()
}

func TestAFailedTaskIsTriedAgainWithItsHeartbeat(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{Retry: events.RetryPolicy{Initial: time.Millisecond}})
	w.say(&apiv1.WorkRequest{Heartbeats: []*apiv1.TaskHeartbeat{{Task: d.GetTask(), Details: &apiv1.Payload{Encoding: "json", Data: []byte(`"half"`)}}}})
	w.fail(d, &apiv1.Failure{Code: "declined", Message: "no money"})
	again := w.task()
	if again.GetTask().GetAttempt() != 2 || string(again.GetLastHeartbeat().GetData()) != `"half"` || string(again.GetInput().GetData()) != "42" {
		t.Errorf("second attempt: %v", again)
	}
	if again.GetScheduled() == nil {
		t.Error("a later attempt does not tell when the task was called")
	}
}

func TestACancelledTaskIsStopped(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{})
	if _, err := s.client.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: "order/1", Reason: "wrong"}); err != nil {
		t.Fatal(err)
	}
	r := w.next(func(r *apiv1.WorkResponse) bool { return len(r.GetCancelledTasks()) > 0 })
	if got := r.GetCancelledTasks()[0]; got.GetRunId() != d.GetTask().GetRunId() || got.GetStep() != 1 {
		t.Errorf("cancelled: %v", got)
	}
	// Its result is acknowledged and ignored.
	w.say(&apiv1.WorkRequest{TaskResults: []*apiv1.TaskResult{{Task: d.GetTask(), Outcome: &apiv1.TaskResult_Result{}}}})
	w.next(func(r *apiv1.WorkResponse) bool { return len(r.GetAcknowledgedTasks()) > 0 })
}

func TestALostWorkersTaskGoesToAnother(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{})
	other := s.join(func(h *apiv1.WorkerHello) { h.WorkerId = "worker-2" })
	w.cancel()
	again := other.task()
	if again.GetTask().GetRunId() != d.GetTask().GetRunId() || again.GetTask().GetAttempt() != 2 {
		t.Errorf("after the loss: %v", again)
	}
}

func TestAWorkerThatComesBackKeepsItsTask(t *testing.T) {
	t.Parallel()
	s := start(t, settings{options: func(o *gateway.Options) { o.Grace = time.Minute }})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{})
	w.cancel()
	back := s.join(func(h *apiv1.WorkerHello) { h.RunningTasks = []*apiv1.AttemptRef{d.GetTask()} })
	back.say(&apiv1.WorkRequest{TaskResults: []*apiv1.TaskResult{{
		Task: d.GetTask(), Outcome: &apiv1.TaskResult_Result{Result: &apiv1.Payload{Encoding: "json", Data: []byte("43")}},
	}}})
	acked, next := false, (*apiv1.ActivationDelivery)(nil)
	back.next(func(r *apiv1.WorkResponse) bool {
		acked = acked || len(r.GetAcknowledgedTasks()) > 0
		if len(r.GetActivations()) > 0 {
			next = r.GetActivations()[0]
		}
		return acked && next != nil
	})
	if !next.GetFull() {
		t.Error("an activation for a worker that came back counts on its memory")
	}
}

func TestATaskThatTakesTooLongIsTimedOut(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{StartToClose: 50 * time.Millisecond, Retry: events.RetryPolicy{Initial: time.Millisecond}})
	stopped, again := false, (*apiv1.TaskDelivery)(nil)
	w.next(func(r *apiv1.WorkResponse) bool {
		stopped = stopped || len(r.GetCancelledTasks()) > 0
		if len(r.GetTasks()) > 0 {
			again = r.GetTasks()[0]
		}
		return stopped && again != nil
	})
	if again.GetTask().GetAttempt() != 2 || d.GetTask().GetAttempt() != 1 {
		t.Errorf("again: %v", again)
	}
	r, err := s.client.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: "order/1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.GetTasks()) == 0 {
		t.Fatalf("describe: %v", r)
	}
}

func TestLargePayloadsTravelByBlob(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	large := `"` + strings.Repeat("x", 300<<10) + `"`
	s.startOrder("order/1", large)
	d := w.activation()
	records, err := events.DecodeFrame(d.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := records[0].Events[0].(events.RunStarted); !ok || string(e.Input.Data) != large || e.Input.Blob != "" {
		t.Fatal("a large input did not arrive as bytes")
	}
	// 20 inputs of 100 KiB are each small enough, but together too large for a record.
	var intents []events.Intent
	group := events.WaitGroup{}
	for step := events.Step(1); step <= 20; step++ {
		intents = append(intents, events.ScheduleTask{Step: step, Name: "Pay", Input: payload(`"` + strings.Repeat("y", 100<<10) + `"`)})
		group.Steps = append(group.Steps, step)
	}
	w.progress(d, events.WaitSet{Any: []events.WaitGroup{group}}, intents...)
	if task := w.task(); len(task.GetInput().GetData()) != 100<<10+2 {
		t.Errorf("a task's input has %d bytes", len(task.GetInput().GetData()))
	}
	if _, err := s.client.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{
		WorkflowId: "order/1", Name: "big", Input: &apiv1.Payload{Encoding: "json", Data: []byte(large)},
	}); err != nil {
		t.Fatal(err)
	}
	history, err := s.client.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: "order/1"}, grpc.MaxCallRecvMsgSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(history.GetHistory().GetData()), large); n == 0 || strings.Contains(string(history.GetHistory().GetData()), `"blob"`) {
		t.Errorf("the history has the large values %d times, or names blobs", n)
	}
}

func TestAResultThatIsTooLargeFailsTheTask(t *testing.T) {
	t.Parallel()
	s := start(t, settings{options: func(o *gateway.Options) { o.MaxPayloadBytes = 1000 }})
	w := s.join(nil)
	d := s.runTask(w, "order/1", events.TaskOptions{})
	w.say(&apiv1.WorkRequest{TaskResults: []*apiv1.TaskResult{{
		Task: d.GetTask(), Outcome: &apiv1.TaskResult_Result{Result: &apiv1.Payload{Encoding: "json", Data: make([]byte, 1001)}},
	}}})
	next := w.activation()
	records, err := events.DecodeFrame(next.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		for _, e := range r.Events {
			if e, ok := e.(events.TaskFailed); ok && e.Failure.Code == events.CodePayloadTooLarge && strings.Contains(e.Failure.Message, "1001") {
				return
			}
		}
	}
	t.Errorf("no failure that says so: %v", records)
}

func TestBadProgressFailsTheActivationVisibly(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	s.startOrder("order/1", "1")
	w.progress(w.activation(), events.WaitSet{}, events.CompleteRun{Result: events.Payload{Encoding: "json", Blob: "default/other/secret", BlobBytes: 1}})
	r, err := s.client.GetHistory(t.Context(), &apiv1.GetHistoryRequest{WorkflowId: "order/1", FromEvent: 3, Wait: durationpb.New(10 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(r.GetHistory().GetData()); !strings.Contains(text, "ActivationFailed") || !strings.Contains(text, "names a blob") {
		t.Errorf("history: %s", text)
	}
}

func TestAReplayComesInChunks(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	started := s.startOrder("order/1", "1")
	d := w.activation()
	w.progress(d, events.WaitSet{Any: []events.WaitGroup{{Signals: []events.SignalWait{{Name: "s", Index: 30}}}}})
	for range 30 {
		if _, err := s.client.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{
			WorkflowId: "order/1", Name: "s", Input: &apiv1.Payload{Encoding: "json", Data: []byte(`"` + strings.Repeat("z", 200<<10) + `"`)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	d = w.activation()
	if d.GetFull() {
		t.Error("a live run gets a full replay")
	}
	// The worker forgot the run and asks for everything.
	signals, chunks := 0, 0
	for from := uint64(0); ; chunks++ {
		w.say(&apiv1.WorkRequest{ReplayRequests: []*apiv1.ReplayRequest{{Activation: d.GetActivation(), FromEvent: from}}})
		r := w.next(func(r *apiv1.WorkResponse) bool { return len(r.GetReplayChunks()) > 0 })
		chunk := r.GetReplayChunks()[0]
		if chunk.GetError() != "" {
			t.Fatal(chunk.GetError())
		}
		records, err := events.DecodeFrame(chunk.GetHistory())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			for _, e := range r.Events {
				if _, ok := e.(events.SignalReceived); ok {
					signals++
				}
			}
		}
		if from = chunk.GetNextEvent(); from == 0 {
			break
		}
	}
	if signals != 30 || chunks < 2 {
		t.Errorf("%d signals in %d chunks of run %s", signals, chunks+1, started.GetRunId())
	}
}

func TestAReplayAfterContinueHasTheUnreadSignals(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	s.startOrder("order/1", "1")
	d := w.activation()
	for range 3 {
		if _, err := s.client.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{WorkflowId: "order/1", Name: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	// The code has read one signal of another time; Continue keeps the others.
	w.progress(d, events.WaitSet{Now: true})
	d = w.activation()
	p := events.ReportProgress{
		Activation: d.GetActivation().GetActivation(), Attempt: 1, At: events.TimeOf(d.GetAt().AsTime()), Upto: events.EventNumber(d.GetUpto()),
		Reads: []events.SignalRead{{Name: "s", Count: 1}}, Intents: []events.Intent{events.ContinueRun{Input: payload("2")}},
	}
	w.say(&apiv1.WorkRequest{ActivationCredits: 1, ActivationResults: []*apiv1.ActivationResult{{
		Activation: d.GetActivation(), Outcome: &apiv1.ActivationResult_Progress{Progress: events.AppendReportProgress(nil, &p)},
	}}})
	d = w.activation()
	records, err := events.DecodeFrame(d.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		for i, e := range r.Events {
			if e, ok := e.(events.SignalReceived); ok {
				got = append(got, string(e.Name)+strconv.FormatUint(e.Index, 10))
			}
			if e, ok := e.(events.RunContinued); ok {
				got = append(got, "continued "+string(e.Input.Data))
				if n := uint64(r.First) + uint64(i); n != d.GetReplayFrom() {
					t.Errorf("RunContinued is event %d, replay_from is %d", n, d.GetReplayFrom())
				}
			}
		}
	}
	if want := []string{"s2", "s3", "continued 2"}; !slices.Equal(got, want) {
		t.Errorf("the replay has %v, want %v", got, want)
	}
}
