package compose

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/services/gateway"
)

// ServeOperations serves /healthz, /readyz and /metrics of a process without a gateway until ctx ends, with the same documents
// as a gateway, behind the same door. It closes the listener.
func ServeOperations(ctx context.Context, l net.Listener, d *door.Door, registry *prometheus.Registry, health func() []gateway.Component, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", gateway.Alive)
	mux.HandleFunc("/readyz", gateway.Ready(health))
	server := &http.Server{
		Handler: gateway.Guarded(d, mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // of connections, such as failed handshakes
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := gateway.ServeHTTP(server, l, d); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
