// Package telemetry is how the server traces: spans of requests that change something, and where they are sent.
//
// A run is one trace: the client's span of the start, the server's, and one of each task, made by workers. What connects them is
// in the event that begins the run ([events.Traceparent]). The log is never read for spans: what is folded or replayed makes none.
package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Name is that of the instrumentation of the server.
const Name = "github.com/continuo-dev/continuo/server"

// Attributes of spans, those of workers included.
const (
	Namespace    = attribute.Key("continuo.namespace")
	WorkflowID   = attribute.Key("continuo.workflow_id")
	RunID        = attribute.Key("continuo.run_id")
	WorkflowType = attribute.Key("continuo.workflow_type")
	Code         = attribute.Key("continuo.code")
)

// Tracer makes the spans of a server. The nil Tracer makes none and passes traces on.
type Tracer struct{ tracer trace.Tracer }

// NewTracer returns the tracer of a provider; nil for none.
func NewTracer(provider trace.TracerProvider) *Tracer {
	if provider == nil {
		return nil
	}
	return &Tracer{provider.Tracer(Name)}
}

// Span is one span of the server. The nil Span is of no trace.
type Span struct{ span trace.Span }

// Start begins the span of a start of a workflow, below the caller's if it has one, and returns what the run is to belong to: a
// trace that is recorded, or none.
func (t *Tracer) Start(env *events.Envelope, caller events.Traceparent) (*Span, events.Traceparent) {
	if t == nil {
		if !caller.Sampled() {
			caller = ""
		}
		return nil, caller
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": string(caller)})
	_, span := t.tracer.Start(ctx, "StartWorkflow", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		Namespace.String(string(env.Namespace)), WorkflowID.String(string(env.WorkflowID)), RunID.String(env.RunID.String())))
	if c, ok := env.Command.(events.StartWorkflow); ok {
		span.SetAttributes(WorkflowType.String(string(c.Type)))
	}
	of := span.SpanContext()
	if !of.IsValid() || !of.IsSampled() {
		span.End()
		return nil, ""
	}
	out := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), of), out)
	return &Span{span}, events.Traceparent(out["traceparent"])
}

// End ends the span with the code and message of a refusal; [events.OK] is none.
func (s *Span) End(code events.Code, message string) {
	if s == nil {
		return
	}
	if code != events.OK {
		s.span.SetAttributes(Code.String(string(code)))
		if i := strings.IndexByte(message, '\n'); i >= 0 {
			message = message[:i]
		}
		s.span.SetStatus(codes.Error, message)
	}
	s.span.End()
}
