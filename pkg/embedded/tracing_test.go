package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/continuo-dev/continuo/internal/telemetry/otlp"
	"github.com/continuo-dev/continuo/pkg/embedded"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// Desk is the service that the traced workflow calls.
type Desk interface {
	Stamp(ctx context.Context, text string) (string, error)
}

// desk fails the first time, and remembers the span that its code saw.
type desk struct {
	mu   sync.Mutex
	seen []trace.SpanContext
}

func (d *desk) Stamp(ctx context.Context, text string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, trace.SpanContextFromContext(ctx))
	if len(d.seen) == 1 {
		return "", errors.New("no ink")
	}
	return text + "!", nil
}

var (
	traced = flow.NewWorkflow[string, string]("tracing.Stamps")
	stamp  = flow.Method(Desk.Stamp, flow.Retry(flow.RetryPolicy{Initial: time.Millisecond}))
)

func stamps(ctx flow.Context, in string) (string, error) {
	for range 2 {
		var err error
		if in, err = stamp.Call(ctx, in); err != nil {
			return "", err
		}
	}
	return in, nil
}

func attributeOf(s *tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

// named returns the spans of a name.
func named(spans tracetest.SpanStubs, name string, kind trace.SpanKind) (found tracetest.SpanStubs) {
	for i := range spans {
		if spans[i].Name == name && spans[i].SpanKind == kind {
			found = append(found, spans[i])
		}
	}
	return found
}

func TestOneTraceShowsAWholeRun(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	dir, work := t.TempDir(), &desk{}
	start := func() *embedded.Suite {
		s, err := embedded.Start(t.Context(), embedded.Options{Dir: dir, TracerProvider: provider}, traced.With(stamps), flow.Service[Desk](work))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	ctx, root := provider.Tracer("test").Start(t.Context(), "request")
	run, err := traced.Start(ctx, s, "a", flow.ID("traced/1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := run.Result(ctx); err != nil || got != "a!!" {
		t.Fatalf("%q, %v", got, err)
	}
	root.End()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	asked, served, worked := named(spans, "StartWorkflow", trace.SpanKindClient), named(spans, "StartWorkflow", trace.SpanKindServer), named(spans, "embedded_test.Desk.Stamp", trace.SpanKindConsumer)
	if len(asked) != 1 || len(served) != 1 || len(worked) != 3 || len(spans) != 6 {
		for i := range spans {
			t.Logf("%s %s", spans[i].Name, spans[i].SpanKind)
		}
		t.Fatalf("%d spans of the client, %d of the server, %d of tasks, %d in all", len(asked), len(served), len(worked), len(spans))
	}
	for i := range spans {
		if spans[i].SpanContext.TraceID() != root.SpanContext().TraceID() {
			t.Errorf("%s is of another trace", spans[i].Name)
		}
	}
	if asked[0].Parent.SpanID() != root.SpanContext().SpanID() || served[0].Parent.SpanID() != asked[0].SpanContext.SpanID() {
		t.Error("the client's span is not the request's child, or the server's not the client's")
	}
	for i, want := range []struct{ step, attempt, code string }{{"1", "1", "task_failed"}, {"1", "2", ""}, {"2", "1", ""}} {
		got := &worked[i]
		id := fmt.Sprintf("%s/%s", run.RunID(), want.step)
		if got.Parent.SpanID() != served[0].SpanContext.SpanID() || work.seen[i].SpanID() != got.SpanContext.SpanID() {
			t.Errorf("span %d of the task is not the start's child, or its code did not see it", i)
		}
		if attributeOf(got, "continuo.workflow_id") != "traced/1" || attributeOf(got, "continuo.task_id") != id || attributeOf(got, "continuo.attempt") != want.attempt ||
			(attributeOf(got, "continuo.code") == "") != (want.code == "") {
			t.Errorf("span %d of the task: %v", i, got.Attributes)
		}
	}
	// What is read again, here by a server that starts, makes no spans.
	s = start()
	if outcome, err := s.Result(t.Context(), run.Ref()); err != nil || outcome.Status != events.StatusCompleted {
		t.Errorf("%+v, %v", outcome, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if again := exporter.GetSpans(); len(again) != len(spans) {
		t.Errorf("%d spans more after a start", len(again)-len(spans))
	}
}

// A trace that is not recorded, or none, costs the run nothing: it does not know of it.
func TestARunThatIsNotTraced(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{}, traced.With(stamps), flow.Service[Desk](&desk{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, root := never.Tracer("test").Start(t.Context(), "request")
	defer root.End()
	run, err := traced.Start(ctx, s, "a")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := run.Result(ctx); err != nil || got != "a!!" {
		t.Fatalf("%q, %v", got, err)
	}
}

// receiver is an OTLP receiver.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names map[string]int
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		service := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				r.names[fmt.Sprintf("%s %s %x", service, span.GetName(), span.GetTraceId())]++
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// A start over REST with a traceparent is exported to a receiver over gRPC.
func TestSpansAreSentToAReceiver(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received := &receiver{names: map[string]int{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, received)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	provider, err := otlp.Open(t.Context(), otlp.Options{Endpoint: listener.Addr().String(), Insecure: true, Ratio: 0, Role: "continuo-test"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(t.Context(), embedded.Options{HTTPAddr: "127.0.0.1:0", TracerProvider: provider}, traced.With(stamps), flow.Service[Desk](&desk{}))
	if err != nil {
		t.Fatal(err)
	}
	const of = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, header := range []string{"00-" + of + "-00f067aa0ba902b7-01", "nonsense", ""} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.HTTPAddr()+"/v1/workflows", strings.NewReader(`{"type": "tracing.Stamps", "input": "a", "wait": "30s"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Traceparent", header)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", header, answer.Status)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	want := map[string]int{"continuo-test StartWorkflow " + of: 1, "continuo-test embedded_test.Desk.Stamp " + of: 3}
	if fmt.Sprint(received.names) != fmt.Sprint(want) { // of the others nothing is recorded
		t.Errorf("received %v, want %v", received.names, want)
	}
}
