package clickhouse

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/readmodeltest"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) {
	code := clickhouse.Main(m)
	if err := goleak.Find(goleak.IgnoreTopFunction("os/signal.NotifyContext.func1")); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// open opens a model in a database of the shared server.
func open(t testing.TB, o Options) *Model {
	t.Helper()
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func fresh(t testing.TB) (Options, *Model) {
	t.Helper()
	s := clickhouse.Shared(t)
	o := Options{URL: s.URL(s.NewDatabase())}
	m := open(t, o)
	if err := m.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	return o, m
}

func TestConforms(t *testing.T) {
	t.Parallel()
	readmodeltest.RunBriefly(t, func(t testing.TB) readmodel.Model {
		_, m := fresh(t)
		return m
	})
}

// Ids made from times are looked for near those times first; a run that began at another time is found all the same.
func TestRunIDsOfAnotherTime(t *testing.T) {
	t.Parallel()
	_, m := fresh(t)
	now := events.TimeOf(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	var rows []row.Run
	var ids []events.RunID
	for i, off := range []time.Duration{0, -50 * time.Minute, 24 * time.Hour, -400 * 24 * time.Hour} {
		r := row.Run{
			Namespace: "default", WorkflowID: "w", RunID: events.MakeRunID(int64(now)/1000, [10]byte{9: byte(i)}), Version: 5, Type: "T",
			Status: events.StatusRunning, Started: now.Add(off),
		}
		rows, ids = append(rows, r), append(ids, r.RunID)
	}
	if err := m.Apply(t.Context(), readmodel.Batch{Rows: rows, Positions: []readmodel.Position{{Next: 2}}}); err != nil {
		t.Fatal(err)
	}
	other := open(t, Options{URL: "http://" + m.options.Addr[0] + "/" + m.database}) // remembers nothing
	for i := range rows {
		rows[i].Version, rows[i].Type = 4, "older"
	}
	if err := other.Apply(t.Context(), readmodel.Batch{Rows: rows, Positions: []readmodel.Position{{Next: 3}}}); err != nil {
		t.Fatal(err)
	}
	got, err := other.Rows(t.Context(), append(ids, events.RunID{1}))
	if err != nil || len(got) != len(rows) {
		t.Fatalf("%d rows (%v), want %d", len(got), err, len(rows))
	}
	for _, r := range got {
		if r.Version != 5 || r.Type != "T" {
			t.Errorf("%+v", r)
		}
	}
}
