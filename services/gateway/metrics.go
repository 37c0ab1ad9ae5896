package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// metrics are the gateway's instruments; docs/reference/metrics.md explains them.
type metrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	commands    *prometheus.CounterVec
	workers     prometheus.Gauge
	tasks       prometheus.Gauge
	activations prometheus.Gauge
	calls       prometheus.Gauge
	waiters     prometheus.Gauge
	unanswered  prometheus.Gauge
	returned    prometheus.Counter
	lost        prometheus.Counter
	tailGaps    prometheus.Counter
	spilled     prometheus.Counter
	timeouts    *prometheus.CounterVec
	taken       prometheus.Counter
	refused     prometheus.Counter
	refusals    prometheus.Counter // of requests, by client streams
	seen        sessions.Stats     // observed last; of the loop alone
	registry    *prometheus.Registry
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "continuo_gateway_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "continuo_gateway_" + name, Help: help})
	}
	offers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "continuo_gateway_offers_total",
		Help: "Tasks and activations that the log offered to this gateway first, by whether it took them.",
	}, []string{"outcome"})
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "continuo_gateway_requests_total", Help: "Requests that were answered, by method and code.",
		}, []string{"method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "continuo_gateway_request_duration_seconds", Help: "Time to answer a request, waiting for results included.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60},
		}, []string{"method"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "continuo_gateway_commands_total", Help: "Commands sent to the log, by kind, repetitions included.",
		}, []string{"kind"}),
		timeouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "continuo_gateway_timeouts_total", Help: "Attempts that this gateway timed out, by reason.",
		}, []string{"reason"}),
		workers:     gauge("workers", "Workers connected to this gateway."),
		tasks:       gauge("running_tasks", "Attempts of tasks that workers of this gateway hold."),
		activations: gauge("running_activations", "Activations that workers of this gateway hold."),
		calls:       gauge("waiting_calls", "Commands of clients that wait for the engine's answer."),
		waiters:     gauge("waiting_results", "Calls that wait for the end of a run."),
		unanswered:  gauge("unanswered_commands", "Commands sent and not yet answered in the log, those of workers included."),
		returned:    counter("returned_deliveries_total", "Deliveries given back to the schedulers because their worker could not take them."),
		lost:        counter("lost_commands_total", "Commands whose fate was unknown and that were sent again."),
		tailGaps:    counter("tail_gaps_total", "Times this gateway fell behind the log and began again at its end."),
		spilled:     counter("spilled_payload_bytes_total", "Bytes of payloads moved to the blob store."),
		taken:       offers.WithLabelValues("taken"),
		refused:     offers.WithLabelValues("refused"),
		registry:    registry,
	}
	m.refusals = m.requests.WithLabelValues("refused", string(events.Overloaded))
	for _, c := range []prometheus.Collector{
		m.requests, m.durations, m.commands, m.timeouts, m.workers, m.tasks, m.activations, m.calls, m.waiters, m.unanswered, m.returned,
		m.lost, m.tailGaps, m.spilled, offers,
	} {
		if err := registry.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); twice {
				return nil, fmt.Errorf("gateway: two gateways share one metrics registry: %w", err)
			}
			return nil, fmt.Errorf("gateway: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) request(method string, code events.Code, took time.Duration) {
	m.requests.WithLabelValues(method, string(code)).Inc()
	m.durations.WithLabelValues(method).Observe(took.Seconds())
}

// refusal counts a command that a client's stream refused for load before it was looked at.
func (m *metrics) refusal() { m.refusals.Inc() }

func (m *metrics) sent(c events.Command) {
	m.commands.WithLabelValues(events.CommandName(c)).Inc()
	switch c := c.(type) {
	case events.TimeoutTask:
		m.timeouts.WithLabelValues(c.Code).Inc()
	case events.TimeoutActivation:
		m.timeouts.WithLabelValues("activation").Inc()
	default:
	}
}

func (m *metrics) observe(s sessions.Stats) {
	m.workers.Set(float64(s.Workers))
	m.tasks.Set(float64(s.Tasks))
	m.activations.Set(float64(s.Activations))
	m.calls.Set(float64(s.Calls))
	m.waiters.Set(float64(s.Waiters))
	m.unanswered.Set(float64(s.Unanswered))
	m.taken.Add(float64(s.OffersTaken - m.seen.OffersTaken))
	m.refused.Add(float64(s.OffersRefused - m.seen.OffersRefused))
	m.seen = s
}

func (g *Gateway) metricsHandler() http.Handler {
	return promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{})
}
