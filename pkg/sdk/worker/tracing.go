package worker

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// traced begins the span of an attempt of a task whose run is traced; the returned function ends it. It is in the task's context, so
// that what the task calls belongs to it.
func (w *Worker) traced(ctx context.Context, d *apiv1.TaskDelivery, ref wire.TaskRef) (context.Context, func(flow.TaskOutcome)) {
	if d.GetTraceparent() == "" {
		return ctx, func(flow.TaskOutcome) {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": d.GetTraceparent()})
	ctx, span := w.tracer.Start(ctx, d.GetName(), trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("continuo.workflow_type", d.GetWorkflowType()), attribute.String("continuo.workflow_id", string(ref.WorkflowID)),
			attribute.String("continuo.run_id", ref.Task.Run.String()), attribute.String("continuo.task_id", ref.Task.String()),
			attribute.Int("continuo.attempt", int(ref.Attempt)),
		)
	}
	return ctx, func(outcome flow.TaskOutcome) {
		if outcome.Failure != nil {
			span.SetAttributes(attribute.String("continuo.code", outcome.Failure.Code))
			span.SetStatus(codes.Error, outcome.Failure.Message)
		}
		span.End()
	}
}
