package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// stepKey is the key of the table steps. A partition has rows of its own, so that each says how much of its log it has.
type stepKey struct {
	row.StepKey
	partition events.Partition
}

// stepRow is what has become of the tasks of a key before next.
type stepRow struct {
	row.Steps
	next events.Seq
}

// maxStepRows bounds the memory of the writer.
const maxStepRows = 20_000

// writeSteps adds outcomes to the rows they count in. A row that has counted them already is left alone.
func (m *Model) writeSteps(ctx context.Context, outcomes []row.Outcome, at []readmodel.Position, token string) error {
	w := &m.writer
	next := map[events.Partition]events.Seq{}
	for _, p := range at {
		next[p.Partition] = p.Next
	}
	if err := m.loadSteps(ctx, outcomes); err != nil {
		return err
	}
	changed := map[stepKey]stepRow{}
	for i := range outcomes {
		o := &outcomes[i]
		k := stepKey{row.KeyOf(o), o.Partition}
		was := w.steps[k]
		if o.Seq != 0 && o.Seq < was.next {
			continue
		}
		r, ok := changed[k]
		if !ok {
			r = stepRow{Steps: was.Clone(), next: max(was.next, next[o.Partition])}
		}
		if r.Add(o) {
			changed[k] = r
		}
	}
	if err := m.insertSteps(ctx, changed, token); err != nil {
		return err
	}
	if len(w.steps)+len(changed) > maxStepRows {
		clear(w.steps)
	}
	maps.Copy(w.steps, changed)
	return nil
}

func (m *Model) insertSteps(ctx context.Context, changed map[stepKey]stepRow, token string) error {
	var namespace, of, task []string
	var minute []time.Time
	var partition []uint16
	var done, failed, retried, next, total []uint64
	var sum, longest []int64
	var sketch []map[uint16]uint64
	for _, k := range slices.SortedFunc(maps.Keys(changed), func(a, b stepKey) int { return a.Compare(b.StepKey) }) {
		r := changed[k]
		namespace, of, task = append(namespace, string(k.Namespace)), append(of, string(k.Type)), append(task, string(k.Task))
		minute, partition = append(minute, timeOf(k.Minute)), append(partition, uint16(k.partition))
		done, failed, retried = append(done, r.Done), append(failed, r.Failed), append(retried, r.Retried)
		sum, longest, sketch = append(sum, r.Sum), append(longest, r.Max), append(sketch, r.Sketch)
		next, total = append(next, uint64(r.next)), append(total, r.Total())
	}
	return m.insert(ctx, "steps", token, []column{
		{"namespace", symbol, namespace},
		{"minute", "DateTime('UTC')", minute},
		{"type", symbol, of},
		{"task", symbol, task},
		{"partition", unsigned16, partition},
		{"done", unsigned64, done},
		{"failed", unsigned64, failed},
		{"retried", unsigned64, retried},
		{"sum_us", signed64, sum},
		{"max_us", signed64, longest},
		{"sketch", "Map(UInt16, UInt64)", sketch},
		{"next", unsigned64, next},
		{"total", unsigned64, total},
	})
}

// loadSteps reads the rows that outcomes count in and that are not known, all of the minutes they are in.
func (m *Model) loadSteps(ctx context.Context, outcomes []row.Outcome) error {
	w := &m.writer
	if w.steps == nil {
		w.steps = map[stepKey]stepRow{}
	}
	unknown := map[stepKey]bool{}
	minutes := map[events.Time]bool{}
	for i := range outcomes {
		k := stepKey{row.KeyOf(&outcomes[i]), outcomes[i].Partition}
		if _, ok := w.steps[k]; !ok {
			unknown[k], minutes[k.Minute] = true, true
		}
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(minutes)), idsPerQuery) {
		var list strings.Builder
		for i, minute := range chunk {
			if i > 0 {
				list.WriteByte(',')
			}
			fmt.Fprintf(&list, "toDateTime(%d, 'UTC')", int64(minute)/1_000_000)
		}
		rows, err := m.conn.Query(ctx, `SELECT toString(namespace), minute, toString(type), toString(task), partition, done, failed, retried, sum_us, max_us, sketch, next
			FROM steps FINAL WHERE minute IN (`+list.String()+`)`)
		if err != nil {
			return fmt.Errorf("read steps: %w", err)
		}
		for rows.Next() {
			var namespace, of, task string
			var minute time.Time
			var partition uint16
			var next uint64
			var r stepRow
			var sketch map[uint16]uint64
			if err = rows.Scan(&namespace, &minute, &of, &task, &partition, &r.Done, &r.Failed, &r.Retried, &r.Sum, &r.Max, &sketch, &next); err != nil {
				break
			}
			k := stepKey{row.StepKey{
				Namespace: events.Namespace(namespace), Minute: events.Time(minute.UnixMicro()), Type: events.WorkflowType(of), Task: events.TaskName(task),
			}, events.Partition(partition)}
			if r.Sketch, r.next = sketch, events.Seq(next); unknown[k] {
				w.steps[k] = r
				delete(unknown, k)
			}
		}
		if err := errors.Join(err, finish(rows)); err != nil {
			return fmt.Errorf("read steps: %w", err)
		}
	}
	for k := range unknown { // the table has none of them
		w.steps[k] = stepRow{}
	}
	return nil
}

// writeErrors writes failures, each with the event it is in as its key.
func (m *Model) writeErrors(ctx context.Context, outcomes []row.Outcome, token string) error {
	var namespace, workflow, place, of, name, code, kind []string
	var run []uuid.UUID
	var times []time.Time
	var number []uint64
	for i := range outcomes {
		o := &outcomes[i]
		if o.Failure == nil {
			continue
		}
		namespace, workflow, run = append(namespace, string(o.Namespace)), append(workflow, string(o.WorkflowID)), append(run, uuid.UUID(o.RunID))
		number, times = append(number, uint64(o.Number)), append(times, timeOf(o.Time))
		place, of, name = append(place, o.Kind.String()), append(of, string(o.Type)), append(name, string(o.Name))
		code, kind = append(code, o.Failure.Code), append(kind, row.Fingerprint(o.Failure.Message))
	}
	return m.insert(ctx, "errors", token, []column{
		{"namespace", symbol, namespace},
		{"time", micros, times},
		{"workflow_id", text, workflow},
		{"run_id", uuidType, run},
		{"number", unsigned64, number},
		{"place", symbol, place},
		{"type", symbol, of},
		{"name", symbol, name},
		{"code", symbol, code},
		{"kind", text, kind},
	})
}

// StepStats returns what became of tasks.
func (m *Model) StepStats(ctx context.Context, f readmodel.StatsFilter) ([]readmodel.StepStats, error) {
	tally, err := readmodel.NewStepTally(f)
	if err != nil {
		return nil, err
	}
	ctx, end, err := m.query(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	from, to := f.Minutes()
	c := &conditions{}
	span(c, "minute", f.From, from, f.To, to)
	names(c, f.Namespace, f.Type)
	if f.Task != "" {
		c.add("task = ?", string(f.Task))
	}
	start := "toDateTime(0, 'UTC')"
	if f.Every > 0 { // intervals of ClickHouse begin elsewhere than at multiples since 1970 for some lengths
		seconds := int64(f.Every / time.Second)
		start = fmt.Sprintf("toDateTime(intDiv(toUInt32(minute), %d) * %d, 'UTC')", seconds, seconds)
	}
	rows, err := m.conn.Query(ctx, `SELECT `+start+` AS start, toString(type), toString(task), sum(done), sum(failed), sum(retried), sum(sum_us), max(max_us), sumMap(sketch)
		FROM steps FINAL`+c.where()+` GROUP BY start, type, task LIMIT `+fmt.Sprint(readmodel.MaxStats+1), c.args...)
	if err != nil {
		return nil, fmt.Errorf("step statistics: %w", m.failed(err))
	}
	for rows.Next() {
		var of, task string
		var minute time.Time
		var s row.Steps
		var sketch map[uint16]uint64
		if err = rows.Scan(&minute, &of, &task, &s.Done, &s.Failed, &s.Retried, &s.Sum, &s.Max, &sketch); err != nil {
			break
		}
		s.Sketch = sketch
		tally.Add(row.StepKey{Minute: events.Time(minute.UnixMicro()), Type: events.WorkflowType(of), Task: events.TaskName(task)}, &s)
	}
	if err := errors.Join(err, finish(rows)); err != nil {
		return nil, fmt.Errorf("step statistics: %w", m.failed(err))
	}
	return tally.Stats()
}

// TopErrors returns the most frequent kinds of failures.
func (m *Model) TopErrors(ctx context.Context, f readmodel.ErrorFilter) ([]readmodel.ErrorCount, error) {
	limit, err := f.Size()
	if err != nil {
		return nil, err
	}
	ctx, end, err := m.query(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	from, to := f.Hours()
	c := &conditions{}
	span(c, "time", f.From, from, f.To, to)
	names(c, f.Namespace, f.Type)
	rows, err := m.conn.Query(ctx, `SELECT toString(place) AS place, toString(type) AS type, toString(name) AS name, toString(code) AS code, kind, count() AS n,
			max((time, UUIDToNum(run_id))).1, argMax(run_id, (time, UUIDToNum(run_id))), argMax(workflow_id, (time, UUIDToNum(run_id)))
		FROM errors FINAL`+c.where()+` GROUP BY place, type, name, code, kind ORDER BY n DESC, place, type, name, code, kind LIMIT `+fmt.Sprint(limit), c.args...)
	if err != nil {
		return nil, fmt.Errorf("top errors: %w", m.failed(err))
	}
	var out []readmodel.ErrorCount
	for rows.Next() {
		var one readmodel.ErrorCount
		var of, name, workflow string
		var last time.Time
		var run uuid.UUID
		if err = rows.Scan(&one.Of, &of, &name, &one.Code, &one.Message, &one.Count, &last, &run, &workflow); err != nil {
			break
		}
		one.Type, one.Name = events.WorkflowType(of), events.TaskName(name)
		one.Last, one.Run, one.WorkflowID = events.Time(last.UnixMicro()), events.RunID(run), events.WorkflowID(workflow)
		out = append(out, one)
	}
	if err := errors.Join(err, finish(rows)); err != nil {
		return nil, fmt.Errorf("top errors: %w", m.failed(err))
	}
	return out, nil
}

// span bounds a column of times; unset bounds are none.
func span(c *conditions, column string, wantFrom, from, wantTo, to events.Time) {
	if wantFrom != 0 {
		c.add(column + " >= " + instant(from))
	}
	if wantTo != 0 {
		c.add(column + " < " + instant(to))
	}
}

func names(c *conditions, ns events.Namespace, of events.WorkflowType) {
	if ns != "" {
		c.add("namespace = ?", string(ns))
	}
	if of != "" {
		c.add("type = ?", string(of))
	}
}
