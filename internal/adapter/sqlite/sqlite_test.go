package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/readmodeltest"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killed); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string) *Model {
	t.Helper()
	m, err := Open(context.Background(), path)
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

func TestConforms(t *testing.T) {
	t.Parallel()
	readmodeltest.Run(t, func(t testing.TB) readmodel.Model { return open(t, filepath.Join(t.TempDir(), "a model.db")) })
}

func batch(n int) readmodel.Batch {
	b := readmodel.Batch{Positions: []readmodel.Position{{Partition: 1, Next: events.Seq(n + 1), Time: 5}}}
	for i := range n {
		b.Rows = append(b.Rows, row.Run{
			Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("w", i)), RunID: events.RunID{13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)},
			Version: 3, Type: "T", Status: events.StatusCompleted, Started: events.Time(1000 + i), Ended: 2000,
			Result: events.Payload{Encoding: "json", Data: []byte(`"` + strings.Repeat("x", 100) + `"`)},
		})
	}
	return b
}

func TestAModelIsThereAfterReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	b := batch(100)
	if err := m.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, path)
	positions, err := m.Positions(t.Context())
	if err != nil || !reflect.DeepEqual(positions, b.Positions) {
		t.Fatalf("positions %v (%v)", positions, err)
	}
	got, err := m.Run(t.Context(), "default", "w77", events.RunID{})
	if err != nil || !reflect.DeepEqual(got, b.Rows[77]) {
		t.Fatalf("run %+v (%v)", got, err)
	}
	if err := m.WaitFor(t.Context(), 1, 100); err != nil {
		t.Fatal(err)
	}
}

// spoil makes a model of 3,000 runs and then does something to its file.
func spoil(t *testing.T, how func(t *testing.T, path string)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	b := batch(3000)
	b.Begun = 3000
	if err := m.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	how(t, path)
	return path
}

func edit(t *testing.T, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func statement(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAModelThatCannotBeUsedIsDropped(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(*testing.T, string){
		"not a database": func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return []byte(strings.Repeat("garbage ", 1000)) })
		},
		"cut": func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:len(b)/2] })
		},
		"a page of zeros": func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { clear(b[3*4096 : 20*4096]); return b })
		},
		"a flipped bit in a result": func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { b[bytes.LastIndex(b, []byte(`"xxxxx`))+50] ^= 1; return b })
		},
		"flipped sums": func(t *testing.T, path string) {
			edit(t, path+sumsSuffix, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"no sums": func(t *testing.T, path string) {
			if err := os.Remove(path + sumsSuffix); err != nil {
				t.Fatal(err)
			}
		},
		"another version": statement("PRAGMA user_version = 99"),
		"another program": statement("PRAGMA application_id = 7"),
		"a missing table": statement("DROP TABLE positions"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := open(t, spoil(t, how))
			ctx := t.Context()
			_, positionsErr := m.Positions(ctx)
			_, runErr := m.Run(ctx, "default", "w1", events.RunID{})
			_, listErr := m.List(ctx, readmodel.Filter{}, readmodel.Page{})
			for what, err := range map[string]error{"Positions": positionsErr, "Run": runErr, "List": listErr, "Apply": m.Apply(ctx, batch(1))} {
				if !errors.Is(err, readmodel.ErrDamaged) {
					t.Errorf("%s: %v, want ErrDamaged", what, err)
				}
			}
			if err := m.Reset(ctx); err != nil {
				t.Fatal(err)
			}
			if p, err := m.Positions(ctx); err != nil || len(p) != 0 {
				t.Fatalf("after reset: %v (%v)", p, err)
			}
			if err := m.Apply(ctx, batch(10)); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Run(ctx, "default", "w9", events.RunID{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestACrashCostsNoRebuild opens copies of a model's files as a crash leaves them, with checkpoints behind them.
func TestACrashCostsNoRebuild(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	for n := range 12 {
		b := batch(300)
		for i := range b.Rows {
			b.Rows[i].Version = events.EventNumber(n + 4)
		}
		if n%3 == 1 {
			m.due = 0
		}
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if n%4 != 3 {
			continue
		}
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(filepath.Dir(path))); err != nil {
			t.Fatal(err)
		}
		after := open(t, filepath.Join(copied, "model.db"))
		got, err := after.Run(t.Context(), "default", "w299", events.RunID{})
		if err != nil || got.Version != events.EventNumber(n+4) {
			t.Fatalf("after batch %d the copy has version %d (%v)", n, got.Version, err)
		}
	}
	if len(m.sums.pages) < 20 {
		t.Fatalf("%d pages have sums: there was no checkpoint", len(m.sums.pages))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
}

// A row that cannot be what was written is damage, whoever meets it.
func TestARowThatCannotBeReadIsDamage(t *testing.T) {
	t.Parallel()
	const run = "00000000000000000000000000000007"
	id := events.RunID{15: 7}
	for name, set := range map[string]string{
		"head": "UPDATE runs SET head = x'ff'", "body": "UPDATE runs SET body = x'09'", "version": "UPDATE runs SET version = -1",
		"status": "UPDATE runs SET status = 300", "view": "UPDATE views SET value = x'ff'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, read := range map[string]func(*Model) error{
				"Rows": func(m *Model) error {
					_, err := m.Rows(t.Context(), []events.RunID{{15: 8}, id, {15: 9}})
					return err
				},
				"Run": func(m *Model) error {
					_, err := m.Run(t.Context(), "default", "w7", id)
					return err
				},
			} {
				m := open(t, filepath.Join(t.TempDir(), "model.db"))
				b := batch(10)
				b.Rows[7].Views = []row.View{{Name: "v", Version: 1}}
				if err := m.Apply(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if err := read(m); err != nil {
					t.Fatal(err)
				}
				if _, err := m.writer.ExecContext(t.Context(), set+" WHERE run = x'"+run+"'"); err != nil {
					t.Fatal(err)
				}
				if err := read(m); !errors.Is(err, readmodel.ErrDamaged) || !strings.Contains(err.Error(), id.String()) {
					t.Errorf("%s: %v, want ErrDamaged of run %s", what, err, id)
				}
				if _, err := m.Positions(t.Context()); !errors.Is(err, readmodel.ErrDamaged) {
					t.Errorf("after %s: %v, want ErrDamaged", what, err)
				}
			}
		})
	}
}

func TestOpenSaysWhatIsWrongWithTheDirectory(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), filepath.Join(t.TempDir(), "missing", "model.db"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v", err)
	}
}

func TestReadingDoesNotWaitForTheWriter(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join(t.TempDir(), "model.db"))
	if err := m.Apply(t.Context(), batch(10)); err != nil {
		t.Fatal(err)
	}
	tx, err := m.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "DELETE FROM runs"); err != nil {
		t.Fatal(err)
	}
	list, err := m.List(t.Context(), readmodel.Filter{Namespace: "default"}, readmodel.Page{})
	if err != nil || len(list.Runs) != 10 {
		t.Fatalf("a reader sees %d runs (%v) while a write is open", len(list.Runs), err)
	}
}

func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join(t.TempDir(), "model.db"))
	for name, at := range map[string]struct {
		filter readmodel.Filter
		index  string
	}{
		"all":              {readmodel.Filter{Namespace: "n"}, "runs_by_start"},
		"type":             {readmodel.Filter{Namespace: "n", Type: "t"}, "runs_by_type"},
		"status and type":  {readmodel.Filter{Namespace: "n", Type: "t", Statuses: []events.Status{1}}, "runs_by_status"},
		"a rare status":    {readmodel.Filter{Namespace: "n", Statuses: []events.Status{1}}, "runs_by_status"},
		"workflow id":      {readmodel.Filter{Namespace: "n", WorkflowID: "w"}, "runs_by_workflow"},
		"start":            {readmodel.Filter{Namespace: "n", StartedFrom: 5}, "runs_by_start"},
		"id prefix":        {readmodel.Filter{Namespace: "n", WorkflowIDPrefix: "w"}, "runs_by_"},
		"type and started": {readmodel.Filter{Namespace: "n", Type: "t", StartedFrom: 5, StartedTo: 9}, "runs_by_type"},
	} {
		tx, err := m.reader.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		table, err := from(t.Context(), tx, at.filter)
		if err := errors.Join(err, tx.Rollback()); err != nil {
			t.Fatal(err)
		}
		c := of(at.filter)
		var id, parent, unused int
		var plan string
		query := "EXPLAIN QUERY PLAN SELECT run FROM " + table + c.where() + " ORDER BY started DESC, run DESC LIMIT 10"
		if err := m.reader.QueryRowContext(t.Context(), query, c.args...).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan, at.index) {
			t.Errorf("%s: the plan is %q, want index %s", name, plan, at.index)
		}
	}
}

func FuzzDecodeBody(f *testing.F) {
	f.Add(appendBody(nil, &row.Run{}))
	f.Add(appendBody(nil, &row.Run{
		Failure: &events.Failure{Code: "a", Cause: &events.Failure{Code: "b"}}, Tasks: []row.Task{{Step: 1}}, Activation: &row.Activation{Attempt: 2},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r row.Run
		if err := decodeBody(b, &r); err != nil {
			if !errors.Is(err, readmodel.ErrDamaged) {
				t.Fatalf("%v does not say that the row is damaged", err)
			}
			return
		}
		var again row.Run
		if err := decodeBody(appendBody(nil, &r), &again); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v became %+v (%v)", r, again, err)
		}
	})
}

// BenchmarkApply writes batches of 1,000 runs that began and ended in them; the result is per run.
func BenchmarkApply(b *testing.B) {
	m := open(b, filepath.Join(b.TempDir(), "model.db"))
	const size = 1000
	n := 0
	for b.Loop() {
		rows := batch(size)
		for i := range rows.Rows {
			n++
			rows.Rows[i].RunID = events.RunID{12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
		}
		if err := m.Apply(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/run")
}

// Somebody who has the file open in another program keeps the log from being moved, and nothing else: neither writing nor
// reading waits, and the next try is made when the log has grown as much again.
func TestAReaderOutsideStopsNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	if err := m.Apply(t.Context(), batch(1)); err != nil {
		t.Fatal(err)
	}
	outside, err := connect(path, 1, "query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := outside.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var runs int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM runs").Scan(&runs); err != nil {
		t.Fatal(err)
	}
	m.due = 0
	for n := range 3 {
		b := batch(10)
		for i := range b.Rows {
			b.Rows[i].Version = events.EventNumber(4 + n)
		}
		began := time.Now()
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("writing took %v", took)
		}
		if got, err := m.Run(t.Context(), "default", "w9", events.RunID{}); err != nil || got.Version != events.EventNumber(4+n) {
			t.Fatalf("version %d (%v)", got.Version, err)
		}
	}
	if m.due <= checkpointBytes || m.due > checkpointBytes+1<<20 {
		t.Errorf("the next try is at %d bytes", m.due)
	}
	if err := errors.Join(tx.Rollback(), outside.Close()); err != nil {
		t.Fatal(err)
	}
	m.due = 0
	if err := m.Apply(t.Context(), batch(1)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() > 0 || m.due != checkpointBytes {
		t.Errorf("the log is not moved when the reader is gone (%v)", err)
	}
	if err := errors.Join(m.Close(), Check(path)); err != nil {
		t.Error(err)
	}
}

// A lock that another program holds makes the model unavailable for writing after a moment, not damaged.
func TestALockFromOutsideIsSaid(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	outside, err := connect(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Close() }()
	tx, err := outside.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "DELETE FROM runs"); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context(), batch(1)); !errors.Is(err, readmodel.ErrUnavailable) || errors.Is(err, readmodel.ErrDamaged) {
		t.Errorf("writing says %v", err)
	}
	if _, err := m.List(t.Context(), readmodel.Filter{}, readmodel.Page{}); err != nil {
		t.Errorf("reading says %v", err)
	}
	if err := errors.Join(tx.Rollback(), m.Apply(t.Context(), batch(1))); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

// Queries see whole batches while the log is moved under them.
func TestReadingWhileTheLogIsMoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	const runs = 100
	if err := m.Apply(t.Context(), batch(runs)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				list, err := m.List(t.Context(), readmodel.Filter{Namespace: "default"}, readmodel.Page{Limit: 1000})
				if err != nil || len(list.Runs) != runs {
					t.Errorf("%d runs (%v)", len(list.Runs), err)
					return
				}
				for _, r := range list.Runs {
					if r.Version != list.Runs[0].Version {
						t.Errorf("versions %d and %d", r.Version, list.Runs[0].Version)
						return
					}
				}
			}
		})
	}
	for n := range 8 {
		b := batch(runs)
		for i := range b.Rows {
			b.Rows[i].Version = events.EventNumber(10 + n)
		}
		m.due = 0
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path + "-wal"); err != nil || info.Size() > 0 {
			t.Fatalf("the log was not moved (%v)", err)
		}
	}
	close(done)
	reading.Wait()
	if err := errors.Join(m.Close(), Check(path)); err != nil {
		t.Error(err)
	}
}

// A batch that fails in the middle of a statement leaves nothing, and is written as a whole when it is tried again.
func TestABatchThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join(t.TempDir(), "model.db"))
	first, second := batch(10), batch(10)
	for i := range second.Rows {
		second.Rows[i].Version, second.Rows[i].Status = 9, events.StatusFailed
	}
	is := func(when string, status events.Status, version events.EventNumber) {
		t.Helper()
		counts, err := m.Count(t.Context(), readmodel.Filter{Namespace: "default"})
		if want := []readmodel.Count{{Type: "T", Status: status, Runs: 10}}; err != nil || !reflect.DeepEqual(counts, want) {
			t.Errorf("%s: counts %v (%v), want %v", when, counts, err, want)
		}
		for _, r := range first.Rows {
			if got, err := m.Run(t.Context(), "default", r.WorkflowID, r.RunID); err != nil || got.Version != version || got.Status != status {
				t.Errorf("%s: %s is %s in version %d (%v)", when, r.WorkflowID, got.Status, got.Version, err)
			}
		}
	}
	if err := m.Apply(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	const fails = "CREATE TRIGGER fails BEFORE UPDATE ON counts WHEN new.runs = 4 BEGIN SELECT RAISE(FAIL, 'as the test wants'); END"
	if _, err := m.writer.ExecContext(t.Context(), fails); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context(), second); err == nil {
		t.Fatal("a batch that cannot be counted is taken")
	}
	is("after the failure", events.StatusCompleted, 3)
	if _, err := m.writer.ExecContext(t.Context(), "DROP TRIGGER fails"); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	is("after the next try", events.StatusFailed, 9)
}

// Runs that are said to begin and are there already, as after a rebuild that was stopped, are neither lost nor counted twice.
func TestRunsThatBeginMayBeThereAlready(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join(t.TempDir(), "model.db"))
	first, second := batch(30), batch(60)
	first.Begun, second.Begun = 30, 60
	for i := range second.Rows {
		if second.Rows[i].Version = 9; i%2 == 0 {
			second.Rows[i].Status = events.StatusFailed
		}
	}
	second.Rows[7].Version = 2 // what is there is newer
	if err := errors.Join(m.Apply(t.Context(), first), m.Apply(t.Context(), second)); err != nil {
		t.Fatal(err)
	}
	counts, err := m.Count(t.Context(), readmodel.Filter{Namespace: "default"})
	want := []readmodel.Count{{Type: "T", Status: events.StatusCompleted, Runs: 30}, {Type: "T", Status: events.StatusFailed, Runs: 30}}
	if err != nil || !reflect.DeepEqual(counts, want) {
		t.Errorf("counts %v (%v), want %v", counts, err, want)
	}
	for id, version := range map[events.WorkflowID]events.EventNumber{"w0": 9, "w7": 3, "w29": 9, "w59": 9} {
		if r, err := m.Run(t.Context(), "default", id, events.RunID{}); err != nil || r.Version != version {
			t.Errorf("%s has version %d (%v), want %d", id, r.Version, err, version)
		}
	}
}
