package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/projector/projection"
	"github.com/continuo-dev/continuo/services/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 4

// suite is a whole suite in memory: the real engine and scheduler, a projector as simple as can be, and the gateway.
type suite struct {
	t       testing.TB
	store   *memory.Store
	model   *memory.ReadModel
	gateway *gateway.Gateway
	handler http.Handler
	conn    *grpc.ClientConn
	client  apiv1.WorkflowServiceClient
	logs    *logBuffer
	stop    context.CancelFunc
	parts   sync.WaitGroup
}

type settings struct {
	options   func(*gateway.Options)
	deps      func(*gateway.Deps)
	store     *memory.Store
	noEngine  bool
	noReading bool // no projector: the read model stays empty
	clock     clock.Clock
}

func start(t testing.TB, s settings) *suite {
	t.Helper()
	if s.clock == nil {
		s.clock = clock.Real()
	}
	if s.store == nil {
		s.store = memory.New(memory.Options{Partitions: partitions})
	}
	logs := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := context.WithCancel(context.Background())
	out := &suite{t: t, store: s.store, model: memory.NewReadModel(), logs: logs, stop: stop}
	log0 := s.store.Journal()
	if !s.noEngine {
		e, err := engine.New(engine.Deps{
			Log: log0, Runs: s.store.RunStore(), Archive: s.store.Archive(), Blobs: s.store.Blobs(), Clock: s.clock, Logger: log,
		}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out.run("engine", func() error { return e.Run(ctx) })
	}
	var all []events.Partition
	for p := range log0.Partitions() {
		all = append(all, events.Partition(p))
	}
	schedule := scheduler.New(scheduler.Deps{
		Log: log0, Commands: log0, Index: s.store.DueIndex(), Inbox: s.store.Inbox(), Clock: s.clock, Logger: log, Partitions: all,
	}, scheduler.Options{})
	out.run("scheduler", func() error { return schedule.Run(ctx) })
	if !s.noReading {
		out.run("projector", func() error { return project(ctx, log0, out.model) })
	}
	grpcListener, httpListener := bufconn.Listen(1<<20), bufconn.Listen(1<<20)
	deps := gateway.Deps{
		Sender: log0, Follower: log0, Partitions: log0.Partitions(), Archive: s.store.Archive(), Inbox: s.store.Inbox(), Reader: out.model,
		Blobs: s.store.Blobs(), Clock: s.clock, Log: log, Metrics: prometheus.NewRegistry(),
	}
	options := gateway.Options{
		GRPC: grpcListener, HTTP: httpListener, Version: "test", Grace: 300 * time.Millisecond, DrainTimeout: 2 * time.Second,
	}
	if s.deps != nil {
		s.deps(&deps)
	}
	if s.options != nil {
		s.options(&options)
	}
	g, err := gateway.New(deps, options)
	if err != nil {
		t.Fatal(err)
	}
	out.gateway, out.handler = g, g.Handler()
	out.run("gateway", func() error { return g.Run(ctx) })
	out.conn, err = grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return grpcListener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	out.client = apiv1.NewWorkflowServiceClient(out.conn)
	t.Cleanup(out.close)
	return out
}

func (s *suite) run(name string, run func() error) {
	s.parts.Go(func() {
		if err := run(); err != nil && !strings.Contains(err.Error(), "context canceled") {
			s.t.Errorf("%s: %v", name, err)
		}
	})
}

func (s *suite) close() {
	_ = s.conn.Close()
	s.stop()
	s.parts.Wait()
	s.store.Close()
	if s.t.Failed() && os.Getenv("GATEWAY_LOG") != "" {
		s.t.Log(s.logs.String())
	}
}

// project folds the log into the read model, record by record.
func project(ctx context.Context, log journal.Journal, model *memory.ReadModel) error {
	var from []journal.Position
	for p := range log.Partitions() {
		from = append(from, journal.Position{Partition: events.Partition(p), Next: 1})
	}
	if err := log.Hold("projector", from); err != nil {
		return err
	}
	reader, err := log.Follow(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		records, err := reader.Next(ctx, 100)
		if err != nil {
			return err
		}
		for _, r := range records {
			b := readmodel.Batch{Positions: []readmodel.Position{{Partition: r.Partition, Next: r.Seq + 1, Time: r.Time}}}
			if len(r.Events) > 0 && !r.RunID.IsZero() {
				old, err := model.Rows(ctx, []events.RunID{r.RunID})
				if err != nil {
					return err
				}
				var run row.Run
				if len(old) > 0 {
					run = old[0]
				}
				projection.Fold(&run, r)
				b.Rows = append(b.Rows, run)
			}
			if err := model.Apply(ctx, b); err != nil {
				return err
			}
		}
	}
}

type logBuffer struct {
	mu       sync.Mutex
	b        bytes.Buffer
	panicked bool
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.panicked = l.panicked || bytes.Contains(p, []byte("panicked"))
	return l.b.Write(p)
}

// hasPanic reports whether the log tells of a panic.
func (l *logBuffer) hasPanic() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.panicked
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rest sends a REST request to the handler.
func (s *suite) rest(method, path, body string, headers ...string) (int, string) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	got, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.Code, string(got)
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// worker is a scripted worker on a raw stream.
type worker struct {
	t      testing.TB
	stream grpc.BidiStreamingClient[apiv1.WorkRequest, apiv1.WorkResponse]
	cancel context.CancelFunc
	send   sync.Mutex
}

func (s *suite) hello(change func(*apiv1.WorkerHello)) *worker {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	stream, err := apiv1.NewWorkerServiceClient(s.conn).Work(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	h := &apiv1.WorkerHello{
		Protocol: 1, Sdk: "test", WorkerId: "worker-1", Identity: "here", TaskSlots: 10, ActivationSlots: 10,
		Tasks: []*apiv1.Offer{{Name: "Pay", Signature: "(int) (int, error)"}}, Workflows: []*apiv1.Offer{{Name: "Order"}},
	}
	if change != nil {
		change(h)
	}
	w := &worker{t: s.t, stream: stream, cancel: cancel}
	s.t.Cleanup(cancel)
	w.say(&apiv1.WorkRequest{Hello: h})
	return w
}

// join connects a worker and grants it places.
func (s *suite) join(change func(*apiv1.WorkerHello)) *worker {
	s.t.Helper()
	w := s.hello(change)
	r, err := w.stream.Recv()
	if err != nil || r.GetWelcome() == nil {
		s.t.Fatalf("no welcome: %v %v", r, err)
	}
	w.say(&apiv1.WorkRequest{TaskCredits: 10, ActivationCredits: 10})
	return w
}

func (w *worker) say(r *apiv1.WorkRequest) {
	w.t.Helper()
	w.send.Lock()
	defer w.send.Unlock()
	if err := w.stream.Send(r); err != nil {
		w.t.Error(err)
	}
}

// next waits for the next message that has what want looks for.
func (w *worker) next(want func(*apiv1.WorkResponse) bool) *apiv1.WorkResponse {
	w.t.Helper()
	for {
		r, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("the worker's stream ended: %v", err)
		}
		if want(r) {
			return r
		}
	}
}

func (w *worker) activation() *apiv1.ActivationDelivery {
	w.t.Helper()
	r := w.next(func(r *apiv1.WorkResponse) bool { return len(r.GetActivations()) > 0 })
	return r.GetActivations()[0]
}

func (w *worker) task() *apiv1.TaskDelivery {
	w.t.Helper()
	r := w.next(func(r *apiv1.WorkResponse) bool { return len(r.GetTasks()) > 0 })
	return r.GetTasks()[0]
}

// progress answers an activation.
func (w *worker) progress(d *apiv1.ActivationDelivery, wait events.WaitSet, intents ...events.Intent) {
	w.t.Helper()
	p := events.ReportProgress{
		Activation: d.GetActivation().GetActivation(), Attempt: events.Attempt(d.GetActivation().GetAttempt()),
		At: events.TimeOf(d.GetAt().AsTime()), Upto: events.EventNumber(d.GetUpto()), Wait: wait, Intents: intents,
	}
	w.say(&apiv1.WorkRequest{ActivationCredits: 1, ActivationResults: []*apiv1.ActivationResult{{
		Activation: d.GetActivation(), Outcome: &apiv1.ActivationResult_Progress{Progress: events.AppendReportProgress(nil, &p)}, Live: true,
	}}})
}

func payload(text string) events.Payload { return events.Payload{Encoding: "json", Data: []byte(text)} }

func (s *suite) startOrder(id, input string) *apiv1.StartWorkflowResponse {
	s.t.Helper()
	r, err := s.client.StartWorkflow(s.t.Context(), &apiv1.StartWorkflowRequest{
		WorkflowId: id, Type: "Order", Input: &apiv1.Payload{Encoding: "json", Data: []byte(input)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

var waitForStep1 = events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}}
