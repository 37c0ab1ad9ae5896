package clickhouse

import (
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

func kept(t *testing.T, m *Model) string {
	t.Helper()
	var history, failures []string
	if err := m.conn.QueryRow(t.Context(), "SELECT arraySort(groupArray(workflow_id)) FROM history").Scan(&history); err != nil {
		t.Fatal(err)
	}
	if err := m.conn.QueryRow(t.Context(), "SELECT arraySort(groupArray(workflow_id)) FROM errors").Scan(&failures); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(history, failures)
}

// What a run has left in history goes with it: after an hour of the log, or when the next writer begins. Its failures stay
// counted, without their messages.
func TestHistoryOfPurgedRunsIsDeleted(t *testing.T) {
	t.Parallel()
	o, m := fresh(t)
	now := events.TimeOf(time.Now())
	seq := events.Seq(1)
	next := func(m *Model, after time.Duration, b readmodel.Batch) {
		t.Helper()
		now, seq = now.Add(after), seq+1
		b.Positions = []readmodel.Position{{Next: seq, Time: now}}
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	var first readmodel.Batch
	for i := range 3 {
		id, run := events.WorkflowID(fmt.Sprint("w", i)), events.RunID{byte(i + 1)}
		failure := events.Failure{Code: "c", Message: "m"}
		first.Rows = append(first.Rows, row.Run{Namespace: "default", WorkflowID: id, RunID: run, Version: 1, Type: "T", Started: now, Status: events.StatusFailed})
		first.Events = append(first.Events, row.Event{
			Namespace: "default", WorkflowID: id, RunID: run, Type: "T", Number: 1, Seq: 1, Time: now, Event: events.RunFailed{Failure: failure},
		})
		first.Outcomes = append(first.Outcomes, row.Outcome{
			Kind: row.RunFailed, Namespace: "default", WorkflowID: id, RunID: run, Type: "T", Number: 1, Seq: 1, Time: now, Failure: &failure,
		})
	}
	next(m, 0, first)
	next(m, time.Second, readmodel.Batch{Deletes: []events.RunID{{1}}})
	if got := kept(t, m); got != "[w0 w1 w2] [w0 w1 w2]" {
		t.Fatalf("at once: %s", got)
	}
	next(m, time.Hour, readmodel.Batch{})
	if got := kept(t, m); got != "[w1 w2] [w0 w1 w2]" {
		t.Fatalf("after an hour: %s", got)
	}
	next(m, time.Second, readmodel.Batch{Deletes: []events.RunID{{2}}})
	next(open(t, o), time.Second, readmodel.Batch{})
	if got := kept(t, m); got != "[w2] [w0 w1 w2]" {
		t.Fatalf("a new writer: %s", got)
	}
}
