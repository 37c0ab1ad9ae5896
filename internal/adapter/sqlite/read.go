package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	viewColumns = "name, version, updated, value"
	selectViews = "SELECT " + viewColumns + " FROM views WHERE run = ? ORDER BY place"
)

// fewRuns is how many runs of a status may be sorted for a list. More are found faster in the order of their starts.
const fewRuns = 20_000

// cells are where rows of runs are scanned to, one after the other.
type cells struct {
	id, head, body               sql.RawBytes
	ns, workflow, of, quarantine string
	version, status, started     int64
}

// summary returns where the columns of lists go.
func (c *cells) summary() []any {
	return []any{&c.id, &c.ns, &c.workflow, &c.version, &c.of, &c.status, &c.started, &c.quarantine, &c.head}
}

// all returns where all columns go.
func (c *cells) all() []any { return append(c.summary(), &c.body) }

// summarize makes a row as lists have it, and says how many views the run has.
func (c *cells) summarize(r *row.Run) (views int, err error) {
	if len(c.id) != len(r.RunID) {
		return 0, fmt.Errorf("%w: a run id has %d bytes", readmodel.ErrDamaged, len(c.id))
	}
	if c.version < 0 || int64(events.Status(c.status)) != c.status {
		return 0, fmt.Errorf("%w: a run has version %d and status %d", readmodel.ErrDamaged, c.version, c.status)
	}
	copy(r.RunID[:], c.id)
	r.Namespace, r.WorkflowID, r.Type = events.Namespace(c.ns), events.WorkflowID(c.workflow), events.WorkflowType(c.of)
	r.Version, r.Status, r.Started, r.Quarantine = events.EventNumber(c.version), events.Status(c.status), events.Time(c.started), c.quarantine
	return decodeHead(c.head, r)
}

// fill makes a row but for its views, and says how many there are.
func (c *cells) fill(r *row.Run) (views int, err error) {
	if views, err = c.summarize(r); err != nil {
		return 0, err
	}
	return views, decodeBody(c.body, r)
}

// each calls read for row after row of a result.
func each(rows *sql.Rows, err error, read func(from *sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanViews(rows *sql.Rows, err error) (views []row.View, _ error) {
	err = each(rows, err, func(from *sql.Rows) error {
		v, err := scanView(from)
		views = append(views, v)
		return err
	})
	return views, err
}

// scanView reads a view, then what else was selected.
func scanView(from interface{ Scan(dest ...any) error }, more ...any) (v row.View, err error) {
	var value []byte
	if err := from.Scan(append([]any{&v.Name, &v.Version, &v.Updated, &value}, more...)...); err != nil {
		return v, err
	}
	v.Value, err = decodePayload(value)
	return v, err
}

// snapshot runs queries that see one state of the model.
func (m *Model) snapshot(ctx context.Context, queries func(*sql.Tx) error) error {
	end, err := m.use()
	if err != nil {
		return err
	}
	defer end()
	tx, err := m.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return m.failed(fmt.Errorf("read the read model: %w", err))
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	if err := queries(tx); err != nil {
		return m.failed(err)
	}
	return nil
}

// which selects a run by its id or as the newest of a workflow id.
func which(ns events.Namespace, id events.WorkflowID, run events.RunID) (where string, args []any) {
	if run.IsZero() {
		return "ns = ? AND workflow = ? ORDER BY started DESC, run DESC LIMIT 1", []any{string(ns), string(id)}
	}
	return "run = ? AND ns = ? AND workflow = ?", []any{run[:], string(ns), string(id)}
}

// Run returns one run in full.
func (m *Model) Run(ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID) (r row.Run, err error) {
	where, args := which(ns, id, run)
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		var c cells
		var views int
		dest, found := c.all(), false
		rows, err := tx.QueryContext(ctx, "SELECT "+columns+" FROM runs WHERE "+where, args...)
		err = each(rows, err, func(from *sql.Rows) (err error) {
			if err = from.Scan(dest...); err == nil {
				found = true
				views, err = c.fill(&r)
			}
			return err
		})
		if err == nil && !found {
			err = readmodel.ErrNotFound
		}
		if err == nil && views > 0 {
			r.Views, err = scanViews(tx.QueryContext(ctx, selectViews, r.RunID[:]))
		}
		if err != nil {
			return fmt.Errorf("workflow %q, run %s: %w", id, run, err)
		}
		return nil
	})
	return r, err
}

// View returns one view of a run.
func (m *Model) View(
	ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID, name events.ViewName,
) (v row.View, err error) {
	where, args := which(ns, id, run)
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		query := "SELECT " + viewColumns + " FROM views WHERE run = (SELECT run FROM runs WHERE " + where + ") AND name = ?"
		v, err = scanView(tx.QueryRowContext(ctx, query, append(args, string(name))...))
		if errors.Is(err, sql.ErrNoRows) {
			err = readmodel.ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("workflow %q, run %s, view %q: %w", id, run, name, err)
		}
		return nil
	})
	return v, err
}

// conditions are the parts of a WHERE clause, all of which must hold.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.parts, " AND ")
}

// of makes the conditions of a filter.
func of(f readmodel.Filter) *conditions {
	c := &conditions{}
	if f.Namespace != "" {
		c.add("ns = ?", string(f.Namespace))
	}
	if f.Type != "" {
		c.add("type = ?", string(f.Type))
	}
	if len(f.Statuses) > 0 {
		var args []any
		for _, s := range f.Statuses {
			args = append(args, int64(s))
		}
		c.add("status IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	}
	if f.WorkflowID != "" {
		c.add("workflow = ?", string(f.WorkflowID))
	}
	if p := f.WorkflowIDPrefix; p != "" {
		// Ids are UTF-8, whose last byte is never the highest.
		c.add("workflow >= ? AND workflow < ?", p, p[:len(p)-1]+string([]byte{p[len(p)-1] + 1}))
	}
	if f.StartedFrom != 0 {
		c.add("started >= ?", int64(f.StartedFrom))
	}
	if f.StartedTo != 0 {
		c.add("started < ?", int64(f.StartedTo))
	}
	if f.Quarantined {
		c.add("quarantine <> ''") // as the index has it
	}
	return c
}

// from names the table for a list, with the index for statuses that few runs have: SQLite cannot know how many.
func from(ctx context.Context, tx *sql.Tx, f readmodel.Filter) (string, error) {
	if f.Quarantined || f.Namespace == "" || len(f.Statuses) == 0 || f.Type != "" || f.WorkflowID != "" || f.WorkflowIDPrefix != "" {
		return "runs", nil
	}
	counts, err := kept(ctx, tx, f)
	if err != nil {
		return "", err
	}
	var runs int64
	for _, c := range counts {
		runs += c.Runs
	}
	if runs > fewRuns {
		return "runs", nil
	}
	return "runs INDEXED BY runs_by_status", nil
}

// List returns a page of the runs that fit.
func (m *Model) List(ctx context.Context, f readmodel.Filter, p readmodel.Page) (list readmodel.List, err error) {
	limit, after, err := p.Resolve(f)
	if err != nil {
		return list, err
	}
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		table, err := from(ctx, tx, f)
		if err != nil {
			return err
		}
		c := of(f)
		if after != (readmodel.Cursor{}) {
			c.add("(started, run) < (?, ?)", int64(after.Started), after.RunID[:])
		}
		rows, err := tx.QueryContext(ctx, "SELECT "+summary+" FROM "+table+c.where()+" ORDER BY started DESC, run DESC LIMIT ?", append(c.args, limit+1)...)
		var cell cells
		dest := cell.summary()
		return each(rows, err, func(from *sql.Rows) error {
			if err := from.Scan(dest...); err != nil {
				return err
			}
			list.Runs = append(list.Runs, row.Run{})
			_, err := cell.summarize(&list.Runs[len(list.Runs)-1])
			return err
		})
	})
	if err != nil {
		return readmodel.List{}, fmt.Errorf("list runs: %w", err)
	}
	if len(list.Runs) > limit {
		list.Runs = list.Runs[:limit]
		list.NextToken = readmodel.CursorOf(list.Runs[limit-1]).Token(f)
	}
	return list, nil
}

// Count counts the runs that fit.
func (m *Model) Count(ctx context.Context, f readmodel.Filter) (counts []readmodel.Count, err error) {
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		if f.WorkflowID == "" && f.WorkflowIDPrefix == "" && f.StartedFrom == 0 && f.StartedTo == 0 && !f.Quarantined {
			counts, err = kept(ctx, tx, f)
			return err
		}
		c := of(f)
		counts, err = scanCounts(tx.QueryContext(ctx, "SELECT type, status, count(*) FROM runs"+c.where()+" GROUP BY type, status ORDER BY type, status", c.args...))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	return counts, nil
}

// kept answers a count without looking at runs, for filters of namespace, type and status.
func kept(ctx context.Context, tx *sql.Tx, f readmodel.Filter) ([]readmodel.Count, error) {
	c := of(readmodel.Filter{Namespace: f.Namespace, Type: f.Type, Statuses: f.Statuses})
	return scanCounts(tx.QueryContext(ctx, "SELECT type, status, sum(runs) FROM counts"+c.where()+
		" GROUP BY type, status HAVING sum(runs) > 0 ORDER BY type, status", c.args...))
}

func scanCounts(rows *sql.Rows, err error) (counts []readmodel.Count, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c readmodel.Count
		if err := rows.Scan(&c.Type, &c.Status, &c.Runs); err != nil {
			return nil, err
		}
		counts = append(counts, c)
	}
	return counts, rows.Err()
}

// Watermark returns how far the model is.
func (m *Model) Watermark(ctx context.Context) ([]readmodel.Position, error) { return m.Positions(ctx) }

// WaitFor returns when the partition is folded up to and including seq.
func (m *Model) WaitFor(ctx context.Context, p events.Partition, seq events.Seq) error {
	for {
		m.state.Lock()
		done, moved := m.positions[p].Next > seq, m.moved
		m.state.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
