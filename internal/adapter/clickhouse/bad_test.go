package clickhouse

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestURLsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                            `begins with ""`,
		"127.0.0.1:8123":              "cannot be read",
		"ftp://host/db":               `begins with "ftp"`,
		"http:///db":                  "names no host",
		"http://u:se cret@host:1x/db": "cannot be read",
		"http://host/db?secure=true":  "http with TLS",
	} {
		_, err := Open(Options{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ClickHouse URL") || strings.Contains(err.Error(), "se cret") {
			t.Errorf("%q: %v, want something about %s", url, err, want)
		}
	}
}

func TestAnAbsentServerIsUnavailable(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	m := open(t, Options{URL: "http://" + addr + "/continuo"})
	for name, err := range everyMethod(t.Context(), m) {
		if !errors.Is(err, readmodel.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func everyMethod(ctx context.Context, m *Model) map[string]error {
	_, rows := m.Rows(ctx, []events.RunID{{1}})
	_, positions := m.Positions(ctx)
	_, run := m.Run(ctx, "default", "w", events.RunID{})
	_, view := m.View(ctx, "default", "w", events.RunID{}, "v")
	_, list := m.List(ctx, readmodel.Filter{}, readmodel.Page{})
	_, count := m.Count(ctx, readmodel.Filter{})
	_, watermark := m.Watermark(ctx)
	return map[string]error{
		"Ready": m.Ready(ctx), "Apply": m.Apply(ctx, readmodel.Batch{Rows: []row.Run{{RunID: events.RunID{1}}}}), "Reset": m.Reset(ctx), "Rows": rows,
		"Positions": positions, "Run": run, "View": view, "List": list, "Count": count, "Watermark": watermark,
	}
}

func TestWrongCredentialsAreNamed(t *testing.T) {
	t.Parallel()
	s := clickhouse.Start(t, clickhouse.Options{User: "continuo", Password: "right"})
	for url, what := range map[string]string{
		"http://continuo:wrong@" + s.Addr + "/a": "wrong password", "http://somebody:right@" + s.Addr + "/a": "unknown user", "http://" + s.Addr + "/a": "no user",
	} {
		err := open(t, Options{URL: url}).Ready(t.Context())
		if !errors.Is(err, readmodel.ErrUnavailable) || !strings.Contains(err.Error(), "user or password of the URL") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := open(t, Options{URL: "http://" + s.Addr + "/a", User: "continuo", Password: "right"}).Ready(t.Context()); err != nil {
		t.Errorf("credentials as options: %v", err)
	}
}

func TestADatabaseOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	o, m := fresh(t)
	exec(t, m, "CREATE DATABASE other_"+m.database)
	exec(t, m, "CREATE TABLE other_"+m.database+".orders (x UInt8) ENGINE = MergeTree ORDER BY x")
	o.URL = strings.Replace(o.URL, m.database, "other_"+m.database, 1)
	other := open(t, o)
	err := other.Reset(t.Context())
	if err == nil || !strings.Contains(err.Error(), "orders") || !strings.Contains(err.Error(), "name an empty database") || errors.Is(err, readmodel.ErrDamaged) {
		t.Fatalf("a database of others: %v", err)
	}
}

func exec(t *testing.T, m *Model, statement string) {
	t.Helper()
	if err := m.conn.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	o, m := fresh(t)
	exec(t, m, "INSERT INTO continuo_migrations (version, name) VALUES (999, 'of a later year')")
	for name, err := range everyMethod(t.Context(), open(t, o)) {
		if err == nil || !strings.Contains(err.Error(), "999") || !strings.Contains(err.Error(), "run a build that is as new") || errors.Is(err, readmodel.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMigrationsRunOnce(t *testing.T) {
	t.Parallel()
	o, _ := fresh(t)
	m := open(t, o)
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var recorded uint64
	if err := m.conn.QueryRow(t.Context(), "SELECT count() FROM continuo_migrations").Scan(&recorded); err != nil || recorded != uint64(latest()) {
		t.Fatalf("%d migrations are recorded (%v), want %d", recorded, err, latest())
	}
}

// A model whose tables were meddled with says so until it is reset.
func TestDamageIsFoundAndReset(t *testing.T) {
	t.Parallel()
	r := row.Run{Namespace: "default", WorkflowID: "w", RunID: events.RunID{1}, Version: 1, Status: events.StatusRunning, Started: 5, Signals: []row.SignalWait{{Name: "s"}}}
	for name, statement := range map[string]string{
		"a table is gone":           "DROP TABLE workflows SYNC",
		"a column is gone":          "ALTER TABLE workflows DROP COLUMN details",
		"details cannot be decoded": "ALTER TABLE workflows UPDATE details = '{' WHERE 1 SETTINGS mutations_sync = 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, m := fresh(t)
			b := readmodel.Batch{Rows: []row.Run{r}, Positions: []readmodel.Position{{Partition: 1, Next: 2}}}
			if err := m.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			exec(t, m, statement)
			for range 2 {
				if _, err := m.Rows(t.Context(), []events.RunID{r.RunID}); !errors.Is(err, readmodel.ErrDamaged) {
					t.Fatalf("damaged: %v", err)
				}
			}
			if err := m.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := m.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if rows, err := m.Rows(t.Context(), []events.RunID{r.RunID}); err != nil || len(rows) != 1 {
				t.Fatalf("afterwards: %v (%v)", rows, err)
			}
		})
	}
}

// Waiting sees what another process writes.
func TestWaitingSeesAnotherWriter(t *testing.T) {
	t.Parallel()
	o, m := fresh(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- open(t, o).WaitFor(ctx, 2, 6) }()
	if err := m.Apply(t.Context(), readmodel.Batch{Positions: []readmodel.Position{{Partition: 2, Next: 7}}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
