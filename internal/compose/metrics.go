// Package compose is what the compositions of the services share: their metrics, and what they tell the gateway.
package compose

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

// buckets of durations in seconds, from a tenth of a millisecond to two minutes.
func buckets() []float64 { return prometheus.ExponentialBuckets(0.0001, 2, 21) }

// Metrics are those of all services but the gateway, which has its own. Their names and meanings are in
// docs/reference/metrics.md; a test compares.
type Metrics struct {
	registry   *prometheus.Registry
	commands   prometheus.Counter
	decide     prometheus.Histogram
	commit     prometheus.Histogram
	recovered  prometheus.Counter
	recovery   prometheus.Histogram
	timerLate  prometheus.Histogram
	workWaited *prometheus.HistogramVec
}

var (
	_ engine.Observer    = (*Metrics)(nil)
	_ scheduler.Observer = (*Metrics)(nil)
)

// NewMetrics registers the metrics of what services tell while they work, and those of the process. Only the Watch methods add
// others; each may be called once.
func NewMetrics(registry *prometheus.Registry) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets()})
		registry.MustRegister(h)
		return h
	}
	m := &Metrics{
		registry:  registry,
		commands:  counter("continuo_engine_commands_total", "Commands handled, refused and repeated ones included."),
		decide:    histogram("continuo_engine_turn_seconds", "Time to decide and apply a batch of commands in memory."),
		commit:    histogram("continuo_engine_commit_seconds", "Time until a step was durable."),
		recovered: counter("continuo_engine_recovered_records_total", "Records folded to build the state of partitions."),
		recovery:  histogram("continuo_engine_recovery_seconds", "Time to build the state of a partition."),
		timerLate: histogram("continuo_scheduler_timer_late_seconds", "By how much timers were asked to fire after they were due."),
		workWaited: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "continuo_scheduler_wait_seconds", Help: "How long tasks and activations that could start waited for a worker.", Buckets: buckets(),
		}, []string{"kind"}),
	}
	registry.MustRegister(m.workWaited, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Gauge adds a gauge that is read when it is asked for.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Counter adds a counter that is read when it is asked for.
func (m *Metrics) Counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// WatchDoor adds what is read from the door of the process.
func (m *Metrics) WatchDoor(d *door.Door) {
	for _, count := range []struct {
		reason string
		of     func(door.Refusals) uint64
	}{
		{"missing", func(r door.Refusals) uint64 { return r.Missing }},
		{"wrong", func(r door.Refusals) uint64 { return r.Wrong }},
		{"revoked", func(r door.Refusals) uint64 { return r.Revoked }},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "continuo_unauthenticated_total", Help: "Requests refused and streams ended for their token, by reason.",
			ConstLabels: prometheus.Labels{"reason": count.reason},
		}, func() float64 { return float64(count.of(d.Refusals())) }))
	}
}

// WatchEngine adds what is read from an engine when it is asked for.
func (m *Metrics) WatchEngine(own *engine.Engine) {
	m.Gauge("continuo_engine_partitions_running", "Partitions that have an owner which handles commands.", func() float64 {
		n := 0
		for _, p := range own.Health() {
			if p.State == engine.Running {
				n++
			}
		}
		return float64(n)
	})
}

// WatchScheduler adds what is read from the scheduler that works now; there may be none.
func (m *Metrics) WatchScheduler(now func() *scheduler.Scheduler) {
	stats := func() scheduler.Stats {
		if s := now(); s != nil {
			return s.Stats()
		}
		return scheduler.Stats{}
	}
	m.Gauge("continuo_scheduler_timers", "Timers in memory, those due within a minute.", func() float64 { return float64(stats().Timers) })
	m.Gauge("continuo_scheduler_timer_overdue_seconds", "By how much the oldest timer that has not fired is late.",
		func() float64 { return stats().Late.Seconds() })
	m.Gauge("continuo_scheduler_lag_records", "Records of the log that the scheduler has not read.", func() float64 {
		lag := uint64(0)
		for _, p := range stats().Partitions {
			lag += p.LagRecords
		}
		return float64(lag)
	})
	m.Counter("continuo_scheduler_deliveries_total", "Attempts of tasks and activations given to workers.",
		func() float64 { return float64(stats().Deliveries) })
	m.Gauge("continuo_scheduler_waiting_tasks", "Tasks that wait for a worker or for their back-off.",
		func() float64 { return waiting(now(), matcher.Task) })
	m.Gauge("continuo_scheduler_waiting_activations", "Activations that wait for a worker or for their back-off.",
		func() float64 { return waiting(now(), matcher.Activation) })
}

// WatchProjector adds what is read from the projector that works now; there may be none.
func (m *Metrics) WatchProjector(now func() *projector.Projector) {
	stats := func() projector.Stats {
		if p := now(); p != nil {
			return p.Stats()
		}
		return projector.Stats{}
	}
	m.Gauge("continuo_projector_lag_records", "Records of the log that the read model does not have.", func() float64 {
		lag := uint64(0)
		for _, p := range stats().Partitions {
			lag += p.LagRecords
		}
		return float64(lag)
	})
	m.Gauge("continuo_projector_lag_seconds", "Age of the oldest record of the log that the read model does not have; 0 when it has all.", func() float64 {
		now := stats()
		return now.Lag().Seconds()
	})
	m.Counter("continuo_projector_events_total", "Events folded into the read model.", func() float64 { return float64(stats().Events) })
	m.Counter("continuo_projector_batches_total", "Batches written to the read model.", func() float64 { return float64(stats().Batches) })
	m.Counter("continuo_projector_rebuilds_total", "How often the read model was built anew.", func() float64 { return float64(stats().Rebuilds) })
}

func waiting(schedule *scheduler.Scheduler, kind matcher.Kind) float64 {
	if schedule == nil {
		return 0
	}
	n := 0
	for _, lane := range schedule.Backlog() {
		if lane.Kind == kind {
			n += lane.Waiting + lane.Later
		}
	}
	return float64(n)
}

// Turned counts the commands of a turn.
func (m *Metrics) Turned(_ events.Partition, commands, _ int, took time.Duration) {
	m.commands.Add(float64(commands))
	m.decide.Observe(took.Seconds())
}

// Committed observes how long a step took to be durable.
func (m *Metrics) Committed(_ events.Partition, took time.Duration) { m.commit.Observe(took.Seconds()) }

// Recovered observes the recovery of a partition.
func (m *Metrics) Recovered(_ events.Partition, records int, took time.Duration) {
	m.recovered.Add(float64(records))
	m.recovery.Observe(took.Seconds())
}

// TimerFired observes how late a timer was.
func (m *Metrics) TimerFired(late time.Duration) { m.timerLate.Observe(late.Seconds()) }

// Delivered observes how long work waited for its worker.
func (m *Metrics) Delivered(kind matcher.Kind, waited time.Duration) {
	name := "activation"
	if kind == matcher.Task {
		name = "task"
	}
	m.workWaited.WithLabelValues(name).Observe(waited.Seconds())
}
