package clickhouse

import (
	"io"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// oneRun is a batch with one run, up to a position.
func oneRun(id byte, next events.Seq) readmodel.Batch {
	return readmodel.Batch{
		Rows: []row.Run{{
			Namespace: "default", WorkflowID: events.WorkflowID([]byte{'w', '0' + id}), RunID: events.RunID{15: id}, Version: 1, Type: "T", Status: events.StatusRunning, Started: 1,
		}},
		Positions: []readmodel.Position{{Next: next}},
	}
}

func TestAModelBuiltBesideTakesThePlaceOfTheOldOne(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	o, m := fresh(t)
	reading := open(t, o) // as a gateway does
	if err := m.Apply(ctx, oneRun(1, 5)); err != nil {
		t.Fatal(err)
	}
	if wish, err := m.RebuildAsked(ctx); err != nil || wish != 0 {
		t.Fatalf("nobody asked: %d, %v", wish, err)
	}
	if err := reading.AskRebuild(ctx); err != nil {
		t.Fatal(err)
	}
	wish, err := m.RebuildAsked(ctx)
	if err != nil || wish != 1 {
		t.Fatalf("somebody asked: %d, %v", wish, err)
	}
	for range 2 { // the first one is of a process that died
		beside, err := m.Beside(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := beside.Apply(ctx, oneRun(2, 7)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = beside.(io.Closer).Close() })
		if list, err := reading.List(ctx, readmodel.Filter{}, readmodel.Page{}); err != nil || len(list.Runs) != 1 || list.Runs[0].WorkflowID != "w1" {
			t.Fatalf("while it is built: %+v, %v", list, err)
		}
		if wish == 1 {
			wish++
			continue
		}
		if err := m.Exchange(ctx, beside, 1); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := reading.List(ctx, readmodel.Filter{}, readmodel.Page{}); err != nil || len(list.Runs) != 1 || list.Runs[0].WorkflowID != "w2" {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
	if wish, err := reading.RebuildAsked(ctx); err != nil || wish != 0 {
		t.Errorf("the wish stands: %d, %v", wish, err)
	}
	at, err := m.Positions(ctx)
	if err != nil || len(at) != 1 || at[0].Next != 7 {
		t.Errorf("positions: %+v, %v", at, err)
	}
	if err := m.Apply(ctx, oneRun(3, 8)); err != nil {
		t.Fatal(err)
	}
	if list, err := reading.List(ctx, readmodel.Filter{}, readmodel.Page{}); err != nil || len(list.Runs) != 2 {
		t.Errorf("it goes on: %+v, %v", list, err)
	}
	var left uint64
	if err := m.conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = ?", m.database+besideSuffix).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d databases are left: %v", left, err)
	}
}

// A projector that was taken for dead and writes meanwhile is noticed: the wish stands.
func TestAnExchangeUnderAnotherWriterIsNotTheEnd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, m := fresh(t)
	if err := m.Apply(ctx, oneRun(1, 5)); err != nil {
		t.Fatal(err)
	}
	if err := m.AskRebuild(ctx); err != nil {
		t.Fatal(err)
	}
	beside, err := m.Beside(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.(io.Closer).Close() }()
	exec(t, m, "INSERT INTO positions (partition, next, hand, counted) VALUES (0, 5, 9, 5)") // a write is under way
	if err := m.Exchange(ctx, beside, 1); err == nil || !strings.Contains(err.Error(), "another projector") {
		t.Fatalf("got %v", err)
	}
	if wish, err := m.RebuildAsked(ctx); err != nil || wish != 1 {
		t.Errorf("the wish does not stand: %d, %v", wish, err)
	}
	if list, err := m.List(ctx, readmodel.Filter{}, readmodel.Page{}); err != nil || len(list.Runs) != 1 {
		t.Errorf("the old model does not answer any more: %+v, %v", list, err)
	}
}

// A user who may only read serves a gateway.
func TestAReaderNeedsNoMoreThanSelect(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	o, m := fresh(t)
	if err := m.Apply(ctx, oneRun(1, 5)); err != nil {
		t.Fatal(err)
	}
	o.URL += "?readonly=2" // refuses everything but reading, as rights do
	reading := open(t, o)
	if err := reading.conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS continuo_migrations (x UInt8) ENGINE = MergeTree ORDER BY x"); err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Fatalf("readonly has no effect, the test shows nothing: %v", err)
	}
	if list, err := reading.List(ctx, readmodel.Filter{}, readmodel.Page{}); err != nil || len(list.Runs) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if at, err := reading.Watermark(ctx); err != nil || len(at) != 1 {
		t.Errorf("%+v, %v", at, err)
	}
}
