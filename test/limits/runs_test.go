package limits_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
)

func messages(t *testing.T, s *fixture.Suite) {
	const most, slack = 4 << 20, 64 << 10
	// REST: a body of exactly n bytes, most of them blanks.
	var post func(n int) (int, string)
	post = func(n int) (int, string) {
		body := `{"type": "nobody"` + strings.Repeat(" ", n-18) + "}"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.HTTPAddr+"/v1/workflows", strings.NewReader(body))
		must(t, err)
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		must(t, err)
		if response.StatusCode == http.StatusTooManyRequests {
			return post(n) // the engine is behind
		}
		return response.StatusCode, string(answer)
	}
	if status, answer := post(most); status != http.StatusOK {
		t.Errorf("a body of 4 MiB: %d %s", status, answer)
	}
	if status, answer := post(most + 1); status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, string(events.PayloadTooLarge)) ||
		!strings.Contains(answer, fmt.Sprint(most)) {
		t.Errorf("a body above 4 MiB: %d %s", status, answer)
	}
	// gRPC: a message of exactly n bytes, most of them in a field that the server does not know.
	start := func(n int) error {
		request := &apiv1.StartWorkflowRequest{Type: "nobody"}
		const head = 8 + 2 + 4 // the type, the tag of field 2000, its length in 4 bytes
		unknown := protowire.AppendTag(nil, 2000, protowire.BytesType)
		request.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, make([]byte, n-head)))
		_, err := s.API.StartWorkflow(t.Context(), request, grpc.MaxCallSendMsgSize(2*most))
		return err
	}
	must(t, start(most+slack))
	expect(t, start(most+slack+1), events.PayloadTooLarge, fmt.Sprint(most+slack))
}

func failures(t *testing.T, s *fixture.Suite) {
	fail := func(shape failureShape) *events.Failure {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := failing.Run(ctx, s.Client, shape)
		var failed *flow.RunError
		if !errors.As(err, &failed) {
			t.Fatalf("it did not fail: %v", err)
		}
		return failed.Failure()
	}
	const most = 32 << 10
	if f := fail(failureShape{Message: most}); f.Message != strings.Repeat("m", most) {
		t.Errorf("a message of 32 KiB came as %d bytes", len(f.Message))
	}
	if f := fail(failureShape{Message: most + 1}); len(f.Message) != most || !strings.HasSuffix(f.Message, fmt.Sprintf("(cut from %d bytes)", most+1)) {
		t.Errorf("a longer message came as %d bytes: …%s", len(f.Message), f.Message[max(0, len(f.Message)-40):])
	}
	if f := fail(failureShape{Message: 1, Details: most}); len(f.Details.Data) != most {
		t.Errorf("details of 32 KiB came as %d bytes", len(f.Details.Data))
	}
	if f := fail(failureShape{Message: 1, Details: most + 1}); !f.Details.IsZero() || !strings.Contains(f.Message, "left out") {
		t.Errorf("longer details: %.100q with %d bytes", f.Message, len(f.Details.Data))
	}
	depth := func(f *events.Failure) (n int) {
		for ; f != nil; f = f.Cause {
			n++
		}
		return n
	}
	if n := depth(fail(failureShape{Causes: 15})); n != 16 {
		t.Errorf("a chain of 16 came as one of %d", n)
	}
	if n := depth(fail(failureShape{Causes: 16})); n != 16 {
		t.Errorf("a chain of 17 came as one of %d", n)
	}
}

type threeArguments interface {
	Three(ctx context.Context, a, b, c int) error
}

type fourArguments interface {
	Four(ctx context.Context, a, b, c, d int) error
}

type anyArguments struct{}

func (anyArguments) Three(context.Context, int, int, int) error     { return nil }
func (anyArguments) Four(context.Context, int, int, int, int) error { return nil }

func arguments(t *testing.T, s *fixture.Suite) {
	if _, err := worker.New(s.Client, flow.Service[threeArguments](anyArguments{})); err != nil {
		t.Errorf("three arguments: %v", err)
	}
	if _, err := worker.New(s.Client, flow.Service[fourArguments](anyArguments{})); err == nil || !strings.Contains(err.Error(), "three") {
		t.Errorf("four arguments: %v", err)
	}
}

func retryCodes(t *testing.T, s *fixture.Suite) {
	with := func(n int) error {
		var policy flow.RetryPolicy
		for i := range n {
			policy.NonRetryable = append(policy.NonRetryable, fmt.Sprint("code", i))
		}
		task := flow.NewTask[string, flow.None]("limits.Coded", flow.Retry(policy))
		_, err := worker.New(s.Client, task.With(func(context.Context, string) (flow.None, error) { return flow.None{}, nil }))
		return err
	}
	must(t, with(100))
	if err := with(101); err == nil || !strings.Contains(err.Error(), "100") {
		t.Errorf("101 codes: %v", err)
	}
}

func offers(t *testing.T, s *fixture.Suite) {
	offer := func(n int) error {
		h := &apiv1.WorkerHello{}
		for i := range n {
			h.Tasks = append(h.Tasks, &apiv1.Offer{Name: fmt.Sprint("task", i)})
		}
		return hello(t, s, h)
	}
	must(t, offer(10_000))
	expect(t, offer(10_001), events.InvalidArgument, "10000")
}

func slots(t *testing.T, s *fixture.Suite) {
	must(t, hello(t, s, &apiv1.WorkerHello{TaskSlots: 100_000, ActivationSlots: 100_000}))
	expect(t, hello(t, s, &apiv1.WorkerHello{TaskSlots: 100_001}), events.InvalidArgument, "100000")
	expect(t, hello(t, s, &apiv1.WorkerHello{ActivationSlots: 100_001}), events.InvalidArgument, "100000")
}

// sendAll sends n signals side by side and returns the first error.
func sendAll(t *testing.T, n int, send func(i int) error) {
	t.Helper()
	const side = 256
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for k := range side {
		all.Go(func() {
			for i := k; i < n; i += side {
				if err := send(i); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	must(t, first)
}

func unreadSignals(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	unread := flow.NewSignal[string]("limits.Unread")
	send := func(value string) error { return unread.Send(t.Context(), s.Client, id, value) }
	sendAll(t, 10_000, func(int) error { return send("") })
	expect(t, send(""), events.InboxFull, "10000")
	// Bytes: a run that has 1 MiB takes nothing more, however small.
	t.Run("bytes", func(t *testing.T) {
		id := open(t, s)
		for range 8 {
			must(t, unread.Send(t.Context(), s.Client, id, text(128<<10-2)))
		}
		expect(t, unread.Send(t.Context(), s.Client, id, ""), events.InboxFull, "1048576")
	})
	t.Run("above 128 KiB", func(t *testing.T) {
		id := open(t, s)
		for range 9 {
			must(t, unread.Send(t.Context(), s.Client, id, text(128<<10)))
		}
	})
}

func signalNames(t *testing.T, s *fixture.Suite) {
	id := open(t, s) // it waits for limits.End, which is one name
	send := func(i int) error {
		return flow.NewSignal[flow.None](fmt.Sprint("name", i)).Send(t.Context(), s.Client, id, flow.None{})
	}
	sendAll(t, 999, send)
	expect(t, send(999), events.InboxFull, "1000")
	must(t, send(7))
}

// opened starts a run that opens o and returns its id.
func opened(t *testing.T, s *fixture.Suite, w flow.Workflow[opening, flow.None], o opening) string {
	t.Helper()
	id := fmt.Sprintf("%s/%s/%d+%d*%d", t.Name(), w.Name(), o.First, o.Then, o.Bytes)
	_, err := w.Start(t.Context(), s.Client, o, flow.ID(id))
	must(t, err)
	if o.Then > 0 {
		must(t, more.Send(t.Context(), s.Client, id, flow.None{}))
	}
	return id
}

// waitFor waits until a run waits for one of the signals and nothing is wrong with it.
func waitFor(t *testing.T, s *fixture.Suite, id string, signals ...string) {
	t.Helper()
	fixture.Eventually(t, 30*time.Second, func() (bool, string) {
		d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
		if err != nil {
			return false, err.Error()
		}
		if f := d.GetActivation().GetLastFailure(); f != nil {
			t.Fatalf("run %s: %s: %s", id, f.GetCode(), f.GetMessage())
		}
		for _, w := range d.GetSignals() {
			for _, name := range signals {
				if w.GetName() == name && d.GetActivation() == nil {
					return true, ""
				}
			}
		}
		return false, fmt.Sprintf("it waits for %.300s", fmt.Sprint(d.GetWaitsFor()))
	})
}

// bounded holds a bound of what a run has open: n in two activations are taken, and in another run one more is not.
func bounded(t *testing.T, s *fixture.Suite, w flow.Workflow[opening, flow.None], n, bytes int, says string) {
	t.Helper()
	full := opened(t, s, w, opening{First: n / 2, Then: n - n/2, Bytes: bytes})
	waitFor(t, s, full, "limits.End")
	over := opened(t, s, w, opening{First: n / 2, Then: n - n/2 + 1, Bytes: bytes})
	expectFailure(t, failedActivation(t, s, over), events.CodeRunLimit, says)
	for _, id := range []string{full, over} {
		_, err := s.API.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: id})
		must(t, err)
	}
}

func openTasks(t *testing.T, s *fixture.Suite) {
	bounded(t, s, tasks, 10_000, 0, "10001 tasks would be open; the limit is 10000")
}

func openTimers(t *testing.T, s *fixture.Suite) {
	bounded(t, s, timers, 10_000, 0, "10001 timers would be open; the limit is 10000")
}

func views(t *testing.T, s *fixture.Suite) {
	bounded(t, s, publisher, 1_000, 0, "1001 views; the limit is 1000")
	t.Run("bytes", func(t *testing.T) { bounded(t, s, publisher, 8, 128<<10-2, "views of the run would have") })
}

// reported starts a run of a worker without the SDK, which answers its first activation with the given intents.
func reported(t *testing.T, s *fixture.Suite, intents []events.Intent) string {
	t.Helper()
	queue := fmt.Sprintf("raw/%d/%d", len(intents), time.Now().UnixNano())
	raw := s.RawWorker(t, queue, []string{"limits.Raw"}, nil)
	_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: queue, Type: "limits.Raw", Queue: queue})
	must(t, err)
	raw.Report(raw.Activation(), events.ReportProgress{Intents: intents, Wait: events.WaitSet{Any: []events.WaitGroup{
		{Signals: []events.SignalWait{{Name: events.SignalName(end.Name()), Index: 1}}},
	}}})
	return queue
}

func reportedCalls(t *testing.T, s *fixture.Suite) {
	calls := func(n int) []events.Intent {
		var all []events.Intent
		for i := range n {
			all = append(all, events.SetView{Name: events.ViewName(fmt.Sprint("view", i%7))})
		}
		return all
	}
	waitFor(t, s, reported(t, s, calls(10_000)), end.Name())
	expectFailure(t, failedActivation(t, s, reported(t, s, calls(10_001))), events.CodeRunLimit, "10000")
}

func smallPayloads(t *testing.T, s *fixture.Suite) {
	const each, most = 1<<10 - 1, 768 << 10
	calls := func(n, bytes int) []events.Intent {
		var all []events.Intent
		for i := range n {
			all = append(all, events.ScheduleTask{
				Step: events.Step(i + 1), Name: "limits.Nothing", Input: events.Payload{Encoding: "json", Data: []byte(`"` + text(bytes-2) + `"`)},
			})
		}
		return all
	}
	waitFor(t, s, reported(t, s, calls(most/each, each)), end.Name())
	expectFailure(t, failedActivation(t, s, reported(t, s, calls(most/each+1, each))), events.CodePayloadTooLarge, fmt.Sprint(most))
	waitFor(t, s, reported(t, s, calls(most/each+1, each+1)), end.Name()) // some are kept as blobs
	// The Go SDK reports them in pages.
	waitFor(t, s, opened(t, s, tasks, opening{First: most/each + 1, Bytes: each - 2}), more.Name())
}

func requestsRemembered(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	unread := flow.NewSignal[flow.None]("limits.Repeated")
	send := func(i int) {
		must(t, unread.Send(t.Context(), s.Client, id, flow.None{}, flow.RequestID(fmt.Sprint("request", i))))
	}
	for i := range 1_001 {
		send(i)
	}
	received := func() uint64 {
		response, err := s.API.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: "limits.Count"})
		must(t, err)
		d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id, WaitFor: response.GetToken()})
		must(t, err)
		return d.GetInfo().GetUnreadSignals()
	}
	before := received()
	send(1_000)
	send(2)
	if now := received(); now != before+1 {
		t.Errorf("repetitions of remembered requests left %d more signals", now-before-1)
	}
	send(0)
	if now := received(); now != before+3 {
		t.Errorf("the repetition of a forgotten request left %d more signals, want 1", now-before-2)
	}
}
