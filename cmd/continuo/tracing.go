package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/internal/telemetry/otlp"
)

// lastSpans bounds the sending of what is left at the end.
const lastSpans = 5 * time.Second

// openTraces returns the tracer that the settings ask for, nil for none; the returned function sends what is left.
func openTraces(ctx context.Context, settings config.Server, role string, log *slog.Logger) (*telemetry.Tracer, func(), error) {
	provider, err := otlp.Open(ctx, otlp.Options{
		Endpoint: settings.OTLPEndpoint, Insecure: settings.OTLPInsecure, Ratio: settings.TraceRatio, Role: role, Version: versionText(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: otlp_endpoint: %w", config.ErrInvalid, err)
	}
	if provider == nil {
		return nil, func() {}, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans are lost", slog.String("error", err.Error())) }))
	return telemetry.NewTracer(provider), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans are lost", slog.String("error", err.Error()))
		}
	}, nil
}
