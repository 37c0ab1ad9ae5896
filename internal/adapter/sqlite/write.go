package sqlite

import (
	"bytes"
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

// Columns of a run, in the order of arguments and scans: what lists read, and all.
const (
	summary = "run, ns, workflow, version, type, status, started, quarantine, head"
	columns = summary + ", body"
)

const columnCount = 10

// rowsPerInsert is how many runs one statement writes: a statement costs more than a row, and the driver binds arguments
// in time quadratic to their number.
const rowsPerInsert = 12

// statements are what the writer does again and again.
type statements struct {
	insertOne, insertMany, updateOpen, updateKnown, update, insertView, deleteRun, deleteViews, count, position, rows, views *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.insertOne, insertRuns(1)},
		{&s.insertMany, insertRuns(rowsPerInsert)},
		// SQLite writes every index that has a column which is set, whether it changes or not.
		{&s.updateOpen, `UPDATE runs SET version = ?4, quarantine = ?8, head = ?9, body = ?10
			WHERE run = ?1 AND version < ?4 AND ns = ?2 AND workflow = ?3 AND type = ?5 AND status = ?6 AND started = ?7`},
		{&s.updateKnown, `UPDATE runs SET version = ?4, status = ?6, quarantine = ?8, head = ?9, body = ?10
			WHERE run = ?1 AND version < ?4 AND ns = ?2 AND workflow = ?3 AND type = ?5 AND started = ?7`},
		{&s.update, `UPDATE runs SET ns = ?2, workflow = ?3, version = ?4, type = ?5, status = ?6, started = ?7, quarantine = ?8, head = ?9, body = ?10
			WHERE run = ?1 AND version < ?4`},
		{&s.insertView, `INSERT INTO views(run, name, place, version, updated, value) VALUES(?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET place = excluded.place, version = excluded.version, updated = excluded.updated, value = excluded.value
			WHERE excluded.version > views.version`},
		{&s.deleteRun, "DELETE FROM runs WHERE run = ?"},
		{&s.deleteViews, "DELETE FROM views WHERE run = ?"},
		{&s.count, "INSERT INTO counts VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs"},
		{&s.position, `INSERT INTO positions VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next, time = excluded.time`},
		{&s.rows, "SELECT " + columns + ", place FROM " + wanted + " CROSS JOIN runs ON run = id"},
		{&s.views, "SELECT " + viewColumns + ", wanted.place FROM " + wanted + " CROSS JOIN views ON run = id ORDER BY views.place"},
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
	for _, stmt := range []*sql.Stmt{
		s.insertOne, s.insertMany, s.updateOpen, s.updateKnown, s.update, s.insertView, s.deleteRun, s.deleteViews, s.count, s.position, s.rows, s.views,
	} {
		if stmt != nil {
			_ = stmt.Close() // the connection is closed next
		}
	}
	*s = statements{}
}

func insertRuns(n int) string {
	values := "(?" + strings.Repeat(", ?", columnCount-1) + ")"
	// With ON CONFLICT DO NOTHING it might still fail, and would keep copies of the pages it changes.
	return "INSERT OR IGNORE INTO runs(" + columns + ") VALUES " + values + strings.Repeat(", "+values, n-1)
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
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // each statement would have a goroutine that waits for its end
	err = m.transaction(ctx, b)
	if errors.Is(err, errNotNew) {
		b.Begun = 0
		err = m.transaction(ctx, b)
	}
	if err != nil {
		return m.failed(fmt.Errorf("write the read model: %w", err))
	}
	m.publish(b.Positions)
	return nil
}

func (m *Model) transaction(ctx context.Context, b readmodel.Batch) error {
	tx, err := m.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := m.write(ctx, tx, b); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// errNotNew says that a run which was to be new is there already.
var errNotNew = errors.New("a run that begins is in the read model")

//nolint:sqlclosecheck // statements of a transaction end with it; closing them would undo what is prepared
func (m *Model) write(ctx context.Context, tx *sql.Tx, b readmodel.Batch) error {
	w := writing{ctx: ctx, tx: tx, model: m, counts: map[kind]int64{}}
	begun := min(b.Begun, len(b.Rows))
	if err := w.insert(b.Rows[:begun]); err != nil {
		return err
	}
	if err := w.update(b.Rows[begun:]); err != nil {
		return err
	}
	if err := w.views(b.Rows); err != nil {
		return err
	}
	if mutant.On(mutant.PurgedRowKept) {
		b.Deletes = nil
	}
	if err := w.count(); err != nil {
		return err
	}
	if err := w.outcomes(b.Outcomes); err != nil {
		return err
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

// writing is one transaction.
type writing struct {
	ctx    context.Context //nolint:containedctx // it lives as long as the transaction
	tx     *sql.Tx
	model  *Model
	args   []any
	bytes  []byte
	counts map[kind]int64 // rows inserted; what updates and deletions do to counts is done by triggers
}

type kind struct {
	ns     events.Namespace
	of     events.WorkflowType
	status events.Status
}

// sorted returns the runs in the order of their ids.
func sorted(runs []row.Run) []*row.Run {
	order := make([]*row.Run, len(runs))
	for i := range runs {
		order[i] = &runs[i]
	}
	slices.SortFunc(order, func(a, b *row.Run) int { return bytes.Compare(a.RunID[:], b.RunID[:]) })
	return order
}

// insert writes runs that are new, many at a time and in the order of their ids, which is about that of their starts:
// what is written to the end of an index costs least.
func (w *writing) insert(runs []row.Run) error {
	many, one := w.tx.StmtContext(w.ctx, w.model.stmts.insertMany), w.tx.StmtContext(w.ctx, w.model.stmts.insertOne)
	for chunk := range slices.Chunk(sorted(runs), rowsPerInsert) {
		insert, size := many, rowsPerInsert
		if len(chunk) < rowsPerInsert {
			insert, size = one, 1
		}
		for part := range slices.Chunk(chunk, size) {
			w.begin()
			for _, r := range part {
				w.bind(r)
				w.counts[kind{r.Namespace, r.Type, r.Status}]++
			}
			if inserted, err := w.changed(insert); err != nil || inserted < int64(len(part)) {
				return cmp.Or(err, errNotNew)
			}
		}
	}
	return nil
}

// update writes runs that are there, probably, in the order of their ids. What changes least is tried first, and last that
// a run is new.
func (w *writing) update(runs []row.Run) error {
	s := &w.model.stmts
	updates, insert := []*sql.Stmt{s.updateOpen, s.updateKnown, s.update}, w.tx.StmtContext(w.ctx, s.insertOne)
	for i, stmt := range updates {
		updates[i] = w.tx.StmtContext(w.ctx, stmt)
	}
	for _, r := range sorted(runs) {
		try := updates
		if !r.Status.Open() {
			try = updates[1:]
		}
		w.begin()
		w.bind(r)
		if there, err := w.there(try); err != nil {
			return err
		} else if there {
			continue
		}
		inserted, err := w.changed(insert)
		if err != nil {
			return err
		}
		w.counts[kind{r.Namespace, r.Type, r.Status}] += inserted
	}
	return nil
}

// there writes what is bound with the first of some updates that finds its run; it reports whether one did.
func (w *writing) there(updates []*sql.Stmt) (bool, error) {
	for _, stmt := range updates {
		if changed, err := w.changed(stmt); err != nil || changed > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

func (w *writing) begin() { w.args, w.bytes = w.args[:0], w.bytes[:0] }

// bind adds the columns of a run to the arguments of the next statement.
func (w *writing) bind(r *row.Run) {
	start := len(w.bytes)
	w.bytes = appendHead(w.bytes, r)
	middle := len(w.bytes)
	w.bytes = appendBody(w.bytes, r)
	w.args = append(w.args, r.RunID[:], string(r.Namespace), string(r.WorkflowID), int64(r.Version), string(r.Type), int64(r.Status), int64(r.Started),
		r.Quarantine, w.bytes[start:middle:middle], w.bytes[middle:len(w.bytes):len(w.bytes)])
}

func (w *writing) changed(stmt *sql.Stmt) (int64, error) {
	result, err := stmt.ExecContext(w.ctx, w.args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

//nolint:sqlclosecheck // as in write
func (w *writing) views(runs []row.Run) error {
	view := w.tx.StmtContext(w.ctx, w.model.stmts.insertView)
	for i := range runs {
		r := &runs[i]
		for place, v := range r.Views {
			value := appendPayload(nil, v.Value)
			if _, err := view.ExecContext(w.ctx, r.RunID[:], string(v.Name), place, int64(v.Version), int64(v.Updated), value); err != nil {
				return err
			}
		}
	}
	return nil
}

//nolint:sqlclosecheck // as in write
func (w *writing) count() error {
	stmt := w.tx.StmtContext(w.ctx, w.model.stmts.count)
	for of, runs := range w.counts {
		if runs == 0 {
			continue
		}
		if _, err := stmt.ExecContext(w.ctx, string(of.ns), string(of.of), int64(of.status), runs); err != nil {
			return err
		}
	}
	return nil
}

// publish makes positions known and wakes who waits for them.
func (m *Model) publish(positions []readmodel.Position) {
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
