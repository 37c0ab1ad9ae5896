package client

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// instrumentation is the name of the SDK's spans.
const instrumentation = "github.com/continuo-dev/continuo/pkg/sdk"

// tracerOf returns the tracer of a provider, by default of the one that the program has set.
func tracerOf(provider trace.TracerProvider) trace.Tracer {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return provider.Tracer(instrumentation)
}

// Tracer returns the tracer of the client, which workers made with it use.
func (c *Client) Tracer() trace.Tracer { return c.tracer }

// traced begins the span of a start and lets the run belong to it; the returned function ends it. Other commands have none.
func (c *Client) traced(ctx context.Context, command *events.Envelope) func(*apiv1.ClientResponse, error) {
	start, is := command.Command.(events.StartWorkflow)
	if !is || start.Trace != "" {
		return func(*apiv1.ClientResponse, error) {}
	}
	ctx, span := c.tracer.Start(ctx, "StartWorkflow", trace.WithSpanKind(trace.SpanKindClient))
	if of := span.SpanContext(); of.IsValid() && of.IsSampled() {
		out := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, out)
		start.Trace = events.Traceparent(out["traceparent"])
		command.Command = start
	}
	return func(response *apiv1.ClientResponse, err error) {
		defer span.End()
		if !span.IsRecording() {
			return
		}
		span.SetAttributes(attribute.String("continuo.workflow_type", string(start.Type)), attribute.String("continuo.workflow_id", string(command.WorkflowID)))
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			return
		}
		span.SetAttributes(attribute.String("continuo.workflow_id", response.GetStart().GetWorkflowId()),
			attribute.String("continuo.run_id", response.GetStart().GetRunId()))
	}
}
