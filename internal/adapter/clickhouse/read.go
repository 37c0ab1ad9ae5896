package clickhouse

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// finish ends reading rows and says whether all came.
func finish(rows driver.Rows) error { return errors.Join(rows.Err(), rows.Close()) }

// Run returns one run in full.
func (m *Model) Run(ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID) (row.Run, error) {
	ctx, end, err := m.query(ctx)
	if err != nil {
		return row.Run{}, err
	}
	defer end()
	c := &conditions{}
	c.add("namespace = ?", string(ns))
	c.add("workflow_id = ?", string(id))
	if !run.IsZero() {
		c.add("run_id = toUUID(?)", run.String())
	}
	rows, err := m.conn.Query(ctx, "SELECT "+whole+" FROM workflows FINAL"+c.where()+newestFirst+" LIMIT 1", c.args...)
	if err != nil {
		return row.Run{}, fmt.Errorf("workflow %q, run %s: %w", id, run, m.failed(err))
	}
	var found row.Run
	err = readmodel.ErrNotFound
	if rows.Next() {
		found, err = scanRun(rows)
	}
	if broken := finish(rows); broken != nil {
		err = broken
	}
	if err != nil && !errors.Is(err, readmodel.ErrNotFound) {
		err = m.failed(err)
	}
	if err != nil {
		return row.Run{}, fmt.Errorf("workflow %q, run %s: %w", id, run, err)
	}
	return found, nil
}

// View returns one view of a run.
func (m *Model) View(
	ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID, name events.ViewName,
) (row.View, error) {
	found, err := m.Run(ctx, ns, id, run)
	if err != nil {
		return row.View{}, err
	}
	for _, v := range found.Views {
		if v.Name == name {
			return v, nil
		}
	}
	return row.View{}, fmt.Errorf("workflow %q, run %s, view %q: %w", id, run, name, readmodel.ErrNotFound)
}

// newestFirst orders by the bytes of run ids; UUIDs compare by their second half first.
const newestFirst = " ORDER BY started DESC, UUIDToNum(run_id) DESC"

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

// instant is a time for a comparison with a column.
func instant(t events.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(toInt64(%d), 'UTC')", int64(min(max(t, minTime), maxTime)))
}

// of makes the conditions of a filter.
func of(f readmodel.Filter) *conditions {
	c := &conditions{}
	if f.Namespace != "" {
		c.add("namespace = ?", string(f.Namespace))
	}
	if f.Type != "" {
		c.add("type = ?", string(f.Type))
	}
	if len(f.Statuses) > 0 {
		var args []any
		for _, s := range f.Statuses {
			args = append(args, s.String())
		}
		c.add("status IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	}
	if f.WorkflowID != "" {
		c.add("workflow_id = ?", string(f.WorkflowID))
	}
	if f.WorkflowIDPrefix != "" {
		c.add("startsWith(workflow_id, ?)", f.WorkflowIDPrefix)
	}
	if f.StartedFrom != 0 {
		c.add("started >= " + instant(f.StartedFrom))
	}
	if f.StartedTo != 0 {
		c.add("started < " + instant(f.StartedTo))
	}
	if f.Quarantined {
		c.add("quarantine <> ''")
	}
	return c
}

// List returns a page of the runs that fit.
func (m *Model) List(ctx context.Context, f readmodel.Filter, p readmodel.Page) (readmodel.List, error) {
	limit, after, err := p.Resolve(f)
	if err != nil {
		return readmodel.List{}, err
	}
	ctx, end, err := m.query(ctx)
	if err != nil {
		return readmodel.List{}, err
	}
	defer end()
	c := of(f)
	if after != (readmodel.Cursor{}) {
		at := instant(after.Started)
		c.add("started <= " + at)
		c.add("(started < " + at + " OR UUIDToNum(run_id) < toFixedString(unhex('" + hex.EncodeToString(after.RunID[:]) + "'), 16))")
	}
	rows, err := m.conn.Query(ctx, "SELECT "+summary+" FROM workflows FINAL"+c.where()+newestFirst+fmt.Sprintf(" LIMIT %d", limit+1), c.args...)
	if err != nil {
		return readmodel.List{}, fmt.Errorf("list runs: %w", m.failed(err))
	}
	var list readmodel.List
	for rows.Next() {
		var r row.Run
		if r, err = scanSummary(rows); err != nil {
			break
		}
		list.Runs = append(list.Runs, r)
	}
	if err = errors.Join(err, finish(rows)); err != nil {
		return readmodel.List{}, fmt.Errorf("list runs: %w", m.failed(err))
	}
	if len(list.Runs) > limit {
		list.Runs = list.Runs[:limit]
		list.NextToken = readmodel.CursorOf(list.Runs[limit-1]).Token(f)
	}
	return list, nil
}

// Count counts the runs that fit.
func (m *Model) Count(ctx context.Context, f readmodel.Filter) ([]readmodel.Count, error) {
	ctx, end, err := m.query(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	c := of(f)
	rows, err := m.conn.Query(ctx, "SELECT toString(type), toString(status), toInt64(count()) FROM workflows FINAL"+c.where()+" GROUP BY type, status", c.args...)
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", m.failed(err))
	}
	var counts []readmodel.Count
	for rows.Next() {
		var kind, status string
		var n int64
		if err = rows.Scan(&kind, &status, &n); err != nil {
			break
		}
		count := readmodel.Count{Type: events.WorkflowType(kind), Runs: n}
		count.Status, _ = events.ParseStatus(status) // another name is that of the unknown status
		counts = append(counts, count)
	}
	if err = errors.Join(err, finish(rows)); err != nil {
		return nil, fmt.Errorf("count runs: %w", m.failed(err))
	}
	slices.SortFunc(counts, func(a, b readmodel.Count) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Status, b.Status))
	})
	return counts, nil
}
