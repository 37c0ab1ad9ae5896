package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

const statsSchema = `
CREATE TABLE steps(
	minute INTEGER NOT NULL, ns TEXT NOT NULL, type TEXT NOT NULL, task TEXT NOT NULL, counts BLOB NOT NULL, PRIMARY KEY(minute, ns, type, task)
) WITHOUT ROWID;
CREATE TABLE errors(
	hour INTEGER NOT NULL, ns TEXT NOT NULL, place TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
	count INTEGER NOT NULL, last INTEGER NOT NULL, run BLOB NOT NULL, workflow TEXT NOT NULL, PRIMARY KEY(hour, ns, place, type, name, code, message)
) WITHOUT ROWID;
`

// maxErrorKinds bounds the kinds of failures of an hour. What comes above is counted as one of the code otherErrors.
const (
	maxErrorKinds = 1000
	otherErrors   = "other_errors"
)

// outcomes counts what the batch has and the model has not.
func (w *writing) outcomes(outcomes []row.Outcome) error {
	steps, failures := map[row.StepKey]row.Steps{}, map[row.ErrorKey]row.Errors{}
	w.model.state.Lock()
	for i := range outcomes {
		o := &outcomes[i]
		if o.Seq != 0 && o.Seq < w.model.positions[o.Partition].Next {
			continue
		}
		k := row.KeyOf(o)
		if s := steps[k]; s.Add(o) {
			steps[k] = s
		}
		if o.Failure != nil {
			k := row.ErrorKeyOf(o)
			e := failures[k]
			e.Add(o)
			failures[k] = e
		}
	}
	w.model.state.Unlock()
	hour := row.Floor(w.model.newest, row.Hour)
	for _, k := range slices.SortedFunc(maps.Keys(steps), row.StepKey.Compare) {
		s := steps[k]
		if err := w.steps(k, &s); err != nil {
			return err
		}
		w.model.newest = max(w.model.newest, k.Minute)
	}
	for k, e := range failures {
		if err := w.failure(k, &e); err != nil {
			return err
		}
		w.model.newest = max(w.model.newest, k.Hour)
	}
	if row.Floor(w.model.newest, row.Hour) == hour {
		return nil
	}
	old := int64(w.model.newest) - int64(readmodel.StatsKept/time.Microsecond)
	for _, forget := range []string{"DELETE FROM steps WHERE minute < ?", "DELETE FROM errors WHERE hour < ?"} {
		if _, err := w.tx.ExecContext(w.ctx, forget, old); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) steps(k row.StepKey, add *row.Steps) error {
	var counts []byte
	err := w.tx.QueryRowContext(w.ctx, "SELECT counts FROM steps WHERE minute = ? AND ns = ? AND type = ? AND task = ?",
		int64(k.Minute), string(k.Namespace), string(k.Type), string(k.Task)).Scan(&counts)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil {
		have, err := decodeSteps(counts)
		if err != nil {
			return err
		}
		add.Merge(&have)
	}
	_, err = w.tx.ExecContext(w.ctx, "INSERT INTO steps VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET counts = excluded.counts",
		int64(k.Minute), string(k.Namespace), string(k.Type), string(k.Task), row.AppendSteps(nil, add))
	return err
}

func decodeSteps(counts []byte) (row.Steps, error) {
	s, err := row.DecodeSteps(counts)
	if err != nil {
		return s, fmt.Errorf("%w: %w", readmodel.ErrDamaged, err)
	}
	return s, nil
}

func (w *writing) failure(k row.ErrorKey, e *row.Errors) error {
	var known, kinds int
	args := []any{int64(k.Hour), string(k.Namespace), k.Of, string(k.Type), string(k.Name), k.Code, k.Message}
	if err := w.tx.QueryRowContext(w.ctx, `SELECT (SELECT count(*) FROM errors WHERE hour = ?1 AND ns = ?2 AND place = ?3 AND type = ?4 AND name = ?5 AND code = ?6 AND message = ?7),
		(SELECT count(*) FROM errors WHERE hour = ?1)`, args...).Scan(&known, &kinds); err != nil {
		return err
	}
	if known == 0 && kinds >= maxErrorKinds {
		args = []any{int64(k.Hour), string(k.Namespace), k.Of, "", "", otherErrors, ""}
	}
	_, err := w.tx.ExecContext(w.ctx, `INSERT INTO errors VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,
		last = max(last, excluded.last),
		run = CASE WHEN (excluded.last, excluded.run) > (last, run) THEN excluded.run ELSE run END,
		workflow = CASE WHEN (excluded.last, excluded.run) > (last, run) THEN excluded.workflow ELSE workflow END`,
		append(args, int64(e.Count), int64(e.Last), e.Run[:], string(e.WorkflowID))...)
	return err
}

// StepStats returns what became of tasks.
func (m *Model) StepStats(ctx context.Context, f readmodel.StatsFilter) ([]readmodel.StepStats, error) {
	tally, err := readmodel.NewStepTally(f)
	if err != nil {
		return nil, err
	}
	from, to := f.Minutes()
	c := &conditions{}
	span(c, "minute", f.From, from, f.To, to)
	names(c, f.Namespace, f.Type)
	if f.Task != "" {
		c.add("task = ?", string(f.Task))
	}
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT minute, type, task, counts FROM steps"+c.where(), c.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var k row.StepKey
			var counts []byte
			if err := rows.Scan(&k.Minute, &k.Type, &k.Task, &counts); err != nil {
				return err
			}
			s, err := decodeSteps(counts)
			if err != nil {
				return err
			}
			tally.Add(k, &s)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("step statistics: %w", err)
	}
	return tally.Stats()
}

// TopErrors returns the most frequent kinds of failures.
func (m *Model) TopErrors(ctx context.Context, f readmodel.ErrorFilter) ([]readmodel.ErrorCount, error) {
	tally, err := readmodel.NewErrorTally(f)
	if err != nil {
		return nil, err
	}
	from, to := f.Hours()
	c := &conditions{}
	span(c, "hour", f.From, from, f.To, to)
	names(c, f.Namespace, f.Type)
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT place, type, name, code, message, count, last, run, workflow FROM errors"+c.where(), c.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var k row.ErrorKey
			var e row.Errors
			var run []byte
			if err := rows.Scan(&k.Of, &k.Type, &k.Name, &k.Code, &k.Message, &e.Count, &e.Last, &run, &e.WorkflowID); err != nil {
				return err
			}
			copy(e.Run[:], run)
			tally.Add(k, &e)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("top errors: %w", err)
	}
	return tally.Top(), nil
}

// span bounds a column of times; unset bounds are none.
func span(c *conditions, column string, wantFrom, from, wantTo, to events.Time) {
	if wantFrom != 0 {
		c.add(column+" >= ?", int64(from))
	}
	if wantTo != 0 {
		c.add(column+" < ?", int64(to))
	}
}

func names(c *conditions, ns events.Namespace, of events.WorkflowType) {
	if ns != "" {
		c.add("ns = ?", string(ns))
	}
	if of != "" {
		c.add("type = ?", string(of))
	}
}
