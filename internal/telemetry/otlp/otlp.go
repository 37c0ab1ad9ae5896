// Package otlp sends the spans of the server to an OpenTelemetry receiver.
package otlp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Options say where spans are sent. The standard variables OTEL_EXPORTER_OTLP_…, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
// OTEL_TRACES_SAMPLER and OTEL_SDK_DISABLED are respected; what is set here goes before them.
type Options struct {
	// Endpoint is host:port of an OTLP receiver (gRPC); empty means that of the environment, and none without it.
	Endpoint string
	// Insecure sends without TLS.
	Insecure bool
	// Ratio is how many of the traces that begin here are recorded, 0 to 1. One that begins at a client is recorded if the client
	// says so.
	Ratio float64
	// Role names the process among those of the cluster; Version is that of the program.
	Role, Version string
}

// Open returns a provider that sends spans in the background; nil when they are to be sent nowhere. It does not wait for the
// receiver: what cannot be sent is dropped after its time. Shutdown of the provider sends what is left.
func Open(ctx context.Context, o Options) (*sdktrace.TracerProvider, error) {
	wanted := o.Endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	if !wanted || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil //nolint:nilnil // no provider is no failure
	}
	var options []otlptracegrpc.Option
	if o.Endpoint != "" {
		options = append(options, otlptracegrpc.WithEndpoint(o.Endpoint))
	}
	if o.Insecure {
		options = append(options, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("the receiver of traces: %w", err)
	}
	of, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", cmp.Or(o.Role, "continuo")), attribute.String("service.namespace", "continuo"), attribute.String("service.version", o.Version),
	), resource.WithHost(), resource.WithProcessPID(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) && !errors.Is(err, resource.ErrSchemaURLConflict) {
		return nil, errors.Join(fmt.Errorf("what traces say of this process: %w", err), exporter.Shutdown(ctx))
	}
	provider := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(of)}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		provider = append(provider, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))))
	}
	return sdktrace.NewTracerProvider(provider...), nil
}
