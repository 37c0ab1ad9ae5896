package clickhouse

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

var _ readmodel.Historian = (*Model)(nil)

// KeepsEvents says that every event goes into the table history.
func (m *Model) KeepsEvents() bool { return true }

// writeHistory writes events. Of those that were written before it leaves out the ones that lack what was known then.
func (m *Model) writeHistory(ctx context.Context, history []row.Event, token string) error {
	n := len(history)
	namespace, workflow, kind, of, name := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	payload, encoding, blob, code, message := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	run, times := make([]uuid.UUID, 0, n), make([]time.Time, 0, n)
	number, seq, step := make([]uint64, 0, n), make([]uint64, 0, n), make([]uint64, 0, n)
	partition, attempt, took := make([]uint16, 0, n), make([]uint32, 0, n), make([]int64, 0, n)
	for i := range history {
		e := &history[i]
		if e.Type == "" && e.Seq < m.writer.positions[e.Partition].Counted {
			continue
		}
		p, more := events.PayloadOf(e.Event), aspectsOf(e)
		namespace, workflow, run = append(namespace, string(e.Namespace)), append(workflow, string(e.WorkflowID)), append(run, uuid.UUID(e.RunID))
		number, seq, partition = append(number, uint64(e.Number)), append(seq, uint64(e.Seq)), append(partition, uint16(e.Partition))
		kind, of, name = append(kind, events.EventName(e.Event)), append(of, string(e.Type)), append(name, more.name)
		times, took = append(times, timeOf(e.Time)), append(took, e.Took)
		step, attempt = append(step, uint64(more.step)), append(attempt, uint32(more.attempt))
		payload, encoding, blob = append(payload, string(p.Data)), append(encoding, p.Encoding), append(blob, p.Blob)
		failed, why := "", ""
		if more.failure != nil {
			failed, why = more.failure.Code, more.failure.Message
		}
		code, message = append(code, failed), append(message, why)
	}
	return m.insert(ctx, "history", token, []column{
		{"namespace", symbol, namespace},
		{"workflow_id", text, workflow},
		{"run_id", uuidType, run},
		{"number", unsigned64, number},
		{"partition", unsigned16, partition},
		{"seq", unsigned64, seq},
		{"event", symbol, kind},
		{"time", micros, times},
		{"type", symbol, of},
		{"name", symbol, name},
		{"step", unsigned64, step},
		{"attempt", unsigned32, attempt},
		{"took_us", signed64, took},
		{"payload", text, payload},
		{"encoding", symbol, encoding},
		{"blob", text, blob},
		{"error_code", symbol, code},
		{"error", text, message},
	})
}

// aspects are what events of several kinds have.
type aspects struct {
	name    string
	step    events.Step
	attempt events.Attempt
	failure *events.Failure
}

func aspectsOf(e *row.Event) aspects {
	a := aspects{name: string(e.Name)}
	switch v := e.Event.(type) {
	case events.ActivationScheduled:
		a.attempt = v.Attempt
	case events.ProgressMade:
		a.attempt = v.Attempt
	case events.ProgressRefused:
		a.attempt = v.Attempt
	case events.ActivationFailed:
		a.attempt, a.failure = v.Attempt, &v.Failure
	case events.ActivationTimedOut:
		a.attempt = v.Attempt
	case events.TaskScheduled:
		a.name, a.step, a.attempt = string(v.Name), v.Step, 1
	case events.TaskAttemptFailed:
		a.step, a.attempt, a.failure = v.Step, v.Attempt, &v.Failure
	case events.TaskCompleted:
		a.step, a.attempt = v.Step, v.Attempt
	case events.TaskFailed:
		a.step, a.attempt, a.failure = v.Step, v.Attempt, &v.Failure
	case events.TaskCancelled:
		a.step, a.attempt = v.Step, v.Attempt
	case events.HeartbeatRecorded:
		a.step, a.attempt = v.Step, v.Attempt
	case events.TimerStarted:
		a.step = v.Step
	case events.TimerFired:
		a.step = v.Step
	case events.TimerCancelled:
		a.step = v.Step
	case events.StepRecorded:
		a.name, a.step, a.attempt, a.failure = v.Label, v.Step, v.Attempts, v.Failure
	case events.StepBackedOff:
		a.step, a.attempt, a.failure = v.Step, v.Attempt, &v.Failure
	case events.StepRetryDue:
		a.step = v.Step
	case events.ViewSet:
		a.name = string(v.Name)
	case events.SignalReceived:
		a.name = string(v.Name)
	case events.RunFailed:
		a.failure = &v.Failure
	case events.RunCancelled:
		a.failure = &v.Failure
	default:
	}
	return a
}

// Deleting history rewrites parts of tables, so the runs are collected: so many, or those of an hour of the log, or what there
// is when the writer begins.
const (
	purgeAt    = 1000
	purgeAfter = time.Hour
)

func (m *Model) countPurged(ctx context.Context) error {
	var n uint64
	if err := m.conn.QueryRow(ctx, "SELECT count() FROM purged").Scan(&n); err != nil {
		return err
	}
	m.writer.purged = int(n)
	m.writer.purge = n > 0
	return nil
}

// notePurged records the runs that are deleted now, before nobody knows their keys any more.
func (m *Model) notePurged(ctx context.Context, runs []stored, at []readmodel.Position) error {
	var namespace, workflow []string
	var run []uuid.UUID
	for i := range runs {
		if r := &runs[i]; r.deleted {
			namespace, workflow, run = append(namespace, string(r.run.Namespace)), append(workflow, string(r.run.WorkflowID)), append(run, uuid.UUID(r.run.RunID))
		}
	}
	w := &m.writer
	for _, p := range at {
		w.now = max(w.now, p.Time)
	}
	if w.purged == 0 {
		w.purgedSince = w.now
	}
	w.purged += len(run)
	w.purge = w.purge || w.purged >= purgeAt || w.purged > 0 && w.now.Sub(w.purgedSince) >= purgeAfter
	return m.insert(ctx, "purged", "", []column{{"namespace", symbol, namespace}, {"workflow_id", text, workflow}, {"run_id", uuidType, run}})
}

// deletePurged deletes the history of what was collected, when that is enough. A run id is used once, so it is of no matter
// when.
func (m *Model) deletePurged(ctx context.Context) error {
	if !m.writer.purge {
		return nil
	}
	for _, statement := range []string{
		"DELETE FROM history WHERE (namespace, workflow_id, run_id) IN (SELECT namespace, workflow_id, run_id FROM purged)",
		"TRUNCATE TABLE purged",
	} {
		if err := m.conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	m.writer.purged, m.writer.purge = 0, false
	return nil
}
