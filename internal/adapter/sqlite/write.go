package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// columns of a run, in the order of arguments and scans.
const columns = "run, ns, workflow, version, partition, type, queue, status, started, ended, cancelled, quarantine, unread, tasks, continued, views, body"

const columnCount = 17

// rowsPerInsert is how many runs one statement writes: a statement costs more than a row, and the driver binds arguments
// in time quadratic to their number.
const rowsPerInsert = 12

// statements are what the writer does again and again.
type statements struct {
	insertOne, insertMany, insertView, deleteRun, deleteViews, position, rows, views *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.insertOne, insertRuns(1)},
		{&s.insertMany, insertRuns(rowsPerInsert)},
		{&s.insertView, `INSERT INTO views(run, name, place, version, updated, value) VALUES(?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET place = excluded.place, version = excluded.version, updated = excluded.updated, value = excluded.value
			WHERE excluded.version > views.version`},
		{&s.deleteRun, "DELETE FROM runs WHERE run = ?"},
		{&s.deleteViews, "DELETE FROM views WHERE run = ?"},
		{&s.position, `INSERT INTO positions VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next, time = excluded.time`},
		{&s.rows, "SELECT " + columns + " FROM runs WHERE run = ?"},
		{&s.views, selectViews},
	} {
		stmt, err := db.PrepareContext(ctx, p.text) //nolint:sqlclosecheck // kept until close
		if err != nil {
			return err
		}
		*p.stmt = stmt
	}
	return nil
}

func (s *statements) close() {
	for _, stmt := range []*sql.Stmt{s.insertOne, s.insertMany, s.insertView, s.deleteRun, s.deleteViews, s.position, s.rows, s.views} {
		if stmt != nil {
			_ = stmt.Close() // the connection is closed next
		}
	}
	*s = statements{}
}

func insertRuns(n int) string {
	values := "(?" + strings.Repeat(", ?", columnCount-1) + ")"
	var set []string
	for name := range strings.SplitSeq(columns, ", ") {
		if name != "run" {
			set = append(set, name+" = excluded."+name)
		}
	}
	return "INSERT INTO runs(" + columns + ") VALUES " + values + strings.Repeat(", "+values, n-1) +
		" ON CONFLICT DO UPDATE SET " + strings.Join(set, ", ") + " WHERE excluded.version > runs.version"
}

// Apply writes a batch in one transaction.
func (m *Model) Apply(ctx context.Context, b readmodel.Batch) error {
	if err := m.apply(ctx, b); err != nil {
		return err
	}
	m.checkpointIfDue(ctx)
	return nil
}

func (m *Model) apply(ctx context.Context, b readmodel.Batch) error {
	end, err := m.use()
	if err != nil {
		return err
	}
	defer end()
	tx, err := m.writer.BeginTx(ctx, nil)
	if err != nil {
		return m.failed(fmt.Errorf("write the read model: %w", err))
	}
	if err := m.write(ctx, tx, b); err != nil {
		return m.failed(fmt.Errorf("write the read model: %w", errors.Join(err, tx.Rollback())))
	}
	if err := tx.Commit(); err != nil {
		return m.failed(fmt.Errorf("write the read model: %w", err))
	}
	m.move(b.Positions)
	return nil
}

//nolint:sqlclosecheck // statements of a transaction end with it; closing them would undo what is prepared
func (m *Model) write(ctx context.Context, tx *sql.Tx, b readmodel.Batch) error {
	one, many := tx.StmtContext(ctx, m.stmts.insertOne), tx.StmtContext(ctx, m.stmts.insertMany)
	args := make([]any, 0, rowsPerInsert*columnCount)
	for chunk := range slices.Chunk(b.Rows, rowsPerInsert) {
		insert, size := many, rowsPerInsert
		if len(chunk) < rowsPerInsert {
			insert, size = one, 1
		}
		for part := range slices.Chunk(chunk, size) {
			args = args[:0]
			for i := range part {
				args = appendArgs(args, &part[i])
			}
			if _, err := insert.ExecContext(ctx, args...); err != nil {
				return err
			}
		}
	}
	view := tx.StmtContext(ctx, m.stmts.insertView)
	for i := range b.Rows {
		r := &b.Rows[i]
		for place, v := range r.Views {
			value := appendPayload(nil, v.Value)
			if _, err := view.ExecContext(ctx, r.RunID[:], string(v.Name), place, int64(v.Version), int64(v.Updated), value); err != nil {
				return err
			}
		}
	}
	if mutant.On(mutant.PurgedRowKept) {
		b.Deletes = nil
	}
	for _, id := range b.Deletes {
		for _, stmt := range []*sql.Stmt{m.stmts.deleteRun, m.stmts.deleteViews} {
			if _, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, id[:]); err != nil {
				return err
			}
		}
	}
	position := tx.StmtContext(ctx, m.stmts.position)
	for _, p := range b.Positions {
		if _, err := position.ExecContext(ctx, int64(p.Partition), int64(p.Next), int64(p.Time)); err != nil {
			return err
		}
	}
	return nil
}

func appendArgs(args []any, r *row.Run) []any {
	return append(args,
		r.RunID[:], string(r.Namespace), string(r.WorkflowID), int64(r.Version), int64(r.Partition), string(r.Type), string(r.Queue),
		int64(r.Status), int64(r.Started), int64(r.Ended), int64(r.CancelRequested), r.Quarantine, int64(r.Unread), int64(r.TasksScheduled),
		int64(r.Continued), len(r.Views), appendBody(nil, r))
}

// move publishes positions and wakes who waits for them.
func (m *Model) move(positions []readmodel.Position) {
	if len(positions) == 0 {
		return
	}
	m.state.Lock()
	defer m.state.Unlock()
	for _, p := range positions {
		m.positions[p.Partition] = p
	}
	close(m.moved)
	m.moved = make(chan struct{})
}

// Rows returns the stored rows of the given runs.
func (m *Model) Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	end, err := m.use()
	if err != nil {
		return nil, err
	}
	defer end()
	var out []row.Run
	for _, id := range runs {
		r, views, err := scanRun(m.stmts.rows.QueryRowContext(ctx, id[:]))
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil && views > 0 {
			r.Views, err = scanViews(m.stmts.views.QueryContext(ctx, id[:]))
		}
		if err != nil {
			return nil, m.failed(fmt.Errorf("row of run %s: %w", id, err))
		}
		out = append(out, r)
	}
	return out, nil
}

// Positions returns how far the model is.
func (m *Model) Positions(context.Context) ([]readmodel.Position, error) {
	end, err := m.use()
	if err != nil {
		return nil, err
	}
	defer end()
	m.state.Lock()
	defer m.state.Unlock()
	var out []readmodel.Position
	for _, p := range m.positions {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b readmodel.Position) int { return cmp.Compare(a.Partition, b.Partition) })
	return out, nil
}
