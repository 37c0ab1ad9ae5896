package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// traceparent is the metadata and the header of W3C Trace Context.
const traceparent = "traceparent"

// trace begins the span of a start and lets the run belong to it. The caller's span is in the request, or else in what came with it.
func (g *Gateway) trace(ctx context.Context, env *events.Envelope, start *events.StartWorkflow) *telemetry.Span {
	// On a client's stream each request has its own; what came with the stream belongs to none of them.
	if method, _ := grpc.Method(ctx); start.Trace == "" && method != apiv1.ClientService_Connect_FullMethodName {
		if given := metadata.ValueFromIncomingContext(ctx, traceparent); len(given) == 1 {
			if of := events.Traceparent(given[0]); of.Valid() {
				start.Trace = of
			}
		}
	}
	if start.Trace == "" && g.deps.Tracer == nil {
		return nil
	}
	var span *telemetry.Span
	span, start.Trace = g.deps.Tracer.Start(env, start.Trace)
	return span
}

// endSpan ends a span with what the caller is told.
func endSpan(span *telemetry.Span, err error) {
	if span == nil {
		return
	}
	if err == nil {
		span.End(events.OK, "")
		return
	}
	refusal := wire.FromStatus(asStatus(err))
	span.End(refusal.Code, refusal.Message)
}
