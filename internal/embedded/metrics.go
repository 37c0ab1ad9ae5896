package embedded

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

// buckets of durations in seconds, from a tenth of a millisecond to two minutes.
func buckets() []float64 { return prometheus.ExponentialBuckets(0.0001, 2, 21) }

// metrics are those of all services but the gateway, which has its own. Their names and meanings are in
// docs/reference/metrics.md; a test compares.
type metrics struct {
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
	_ engine.Observer    = (*metrics)(nil)
	_ scheduler.Observer = (*metrics)(nil)
)

func newMetrics(registry *prometheus.Registry, store *pebble.Store) *metrics {
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
	m := &metrics{
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
	m.watchStore(store)
	return m
}

func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

func (m *metrics) counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

func (m *metrics) watchStore(store *pebble.Store) {
	m.counter("continuo_store_syncs_total", "Batches written and synced.", func() float64 { return float64(store.Stats().Syncs) })
	m.counter("continuo_store_commits_total", "Steps made durable; divided by syncs it is the size of a group.",
		func() float64 { return float64(store.Stats().Commits) })
	m.counter("continuo_store_records_total", "Records of the event log written.", func() float64 { return float64(store.Stats().Records) })
	m.counter("continuo_store_bytes_total", "Bytes of synced batches.", func() float64 { return float64(store.Stats().Bytes) })
	m.counter("continuo_store_sync_seconds_total", "Time spent writing and syncing batches.", func() float64 { return store.Stats().SyncSeconds })
	m.gauge("continuo_store_disk_free_bytes", "Free space where the data directory is.", func() float64 { return float64(store.DiskState().FreeBytes) })
	m.gauge("continuo_store_disk_full", "1 while client commands are refused because the disk is near full.", func() float64 {
		if store.DiskState().Full {
			return 1
		}
		return 0
	})
}

// watch adds what is read from the services when it is asked for.
func (m *metrics) watch(own *engine.Engine, schedule *scheduler.Scheduler, project *projector.Projector) {
	m.gauge("continuo_engine_partitions_running", "Partitions that have an owner which handles commands.", func() float64 {
		n := 0
		for _, p := range own.Health() {
			if p.State == engine.Running {
				n++
			}
		}
		return float64(n)
	})
	m.gauge("continuo_scheduler_timers", "Timers in memory, those due within a minute.", func() float64 { return float64(schedule.Stats().Timers) })
	m.gauge("continuo_scheduler_timer_overdue_seconds", "By how much the oldest timer that has not fired is late.",
		func() float64 { return schedule.Stats().Late.Seconds() })
	m.gauge("continuo_scheduler_lag_records", "Records of the log that the scheduler has not read.", func() float64 {
		lag := uint64(0)
		for _, p := range schedule.Stats().Partitions {
			lag += p.LagRecords
		}
		return float64(lag)
	})
	m.counter("continuo_scheduler_deliveries_total", "Attempts of tasks and activations given to workers.",
		func() float64 { return float64(schedule.Stats().Deliveries) })
	m.gauge("continuo_scheduler_waiting_tasks", "Tasks that wait for a worker or for their back-off.",
		func() float64 { return waiting(schedule, matcher.Task) })
	m.gauge("continuo_scheduler_waiting_activations", "Activations that wait for a worker or for their back-off.",
		func() float64 { return waiting(schedule, matcher.Activation) })
	m.gauge("continuo_projector_lag_records", "Records of the log that the read model does not have.", func() float64 {
		lag := uint64(0)
		for _, p := range project.Stats().Partitions {
			lag += p.LagRecords
		}
		return float64(lag)
	})
	m.counter("continuo_projector_events_total", "Events folded into the read model.", func() float64 { return float64(project.Stats().Events) })
	m.counter("continuo_projector_batches_total", "Batches written to the read model.", func() float64 { return float64(project.Stats().Batches) })
	m.counter("continuo_projector_rebuilds_total", "How often the read model was built anew.", func() float64 { return float64(project.Stats().Rebuilds) })
}

func waiting(schedule *scheduler.Scheduler, kind matcher.Kind) float64 {
	n := 0
	for _, lane := range schedule.Backlog() {
		if lane.Kind == kind {
			n += lane.Waiting + lane.Later
		}
	}
	return float64(n)
}

// Turned counts the commands of a turn.
func (m *metrics) Turned(_ events.Partition, commands, _ int, took time.Duration) {
	m.commands.Add(float64(commands))
	m.decide.Observe(took.Seconds())
}

// Committed observes how long a step took to be durable.
func (m *metrics) Committed(_ events.Partition, took time.Duration) { m.commit.Observe(took.Seconds()) }

// Recovered observes the recovery of a partition.
func (m *metrics) Recovered(_ events.Partition, records int, took time.Duration) {
	m.recovered.Add(float64(records))
	m.recovery.Observe(took.Seconds())
}

// TimerFired observes how late a timer was.
func (m *metrics) TimerFired(late time.Duration) { m.timerLate.Observe(late.Seconds()) }

// Delivered observes how long work waited for its worker.
func (m *metrics) Delivered(kind matcher.Kind, waited time.Duration) {
	name := "activation"
	if kind == matcher.Task {
		name = "task"
	}
	m.workWaited.WithLabelValues(name).Observe(waited.Seconds())
}
