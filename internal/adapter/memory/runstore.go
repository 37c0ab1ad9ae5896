package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

type runstorePort struct{ *Store }

// RunStore returns the run store.
func (s *Store) RunStore() runstore.Store { return runstorePort{s} }

type runKey struct {
	partition events.Partition
	run       events.RunID
}

type newestKey struct {
	partition events.Partition
	namespace events.Namespace
	workflow  events.WorkflowID
}

type endedRow struct {
	partition events.Partition
	runstore.Ended
}

func compareEnded(a, b endedRow) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.Forget, b.Forget), compareRunIDs(a.RunID, b.RunID))
}

type quarantinedRow struct {
	partition events.Partition
	runstore.QuarantinedRun
}

func compareQuarantined(a, b quarantinedRow) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), compareRunIDs(a.RunID, b.RunID))
}

type rowTables struct {
	runs        table[runKey, []byte]
	newest      table[newestKey, runstore.Newest]
	answers     table[runKey, []*runstore.AnswerRow] // of each run by request; a few thousand at most
	checkpoints table[events.Partition, runstore.Checkpoint]
	ended       ordered[endedRow]
	quarantined ordered[quarantinedRow]
}

func (t *rowTables) init(u *undoLog) {
	t.runs.undo, t.newest.undo, t.answers.undo, t.checkpoints.undo = u, u, u, u
	t.ended = ordered[endedRow]{undo: u, compare: compareEnded}
	t.quarantined = ordered[quarantinedRow]{undo: u, compare: compareQuarantined}
}

func (r runstorePort) Run(_ context.Context, p events.Partition, id events.RunID) ([]byte, error) {
	if err := r.lock(); err != nil {
		return nil, err
	}
	defer r.unlock()
	row, _ := r.disk.rows.runs.get(runKey{p, id})
	return row, nil
}

func (r runstorePort) Newest(
	_ context.Context, p events.Partition, ns events.Namespace, id events.WorkflowID,
) (newest runstore.Newest, ok bool, err error) {
	if err := r.lock(); err != nil {
		return runstore.Newest{}, false, err
	}
	defer r.unlock()
	newest, ok = r.disk.rows.newest.get(newestKey{p, ns, id})
	return newest, ok, nil
}

func (r runstorePort) Answer(
	_ context.Context, p events.Partition, run events.RunID, request events.RequestID,
) (answer runstore.KeptAnswer, ok bool, err error) {
	if err := r.lock(); err != nil {
		return runstore.KeptAnswer{}, false, err
	}
	defer r.unlock()
	rows, _ := r.disk.rows.answers.get(runKey{p, run})
	if i, found := answerTo(rows, request); found {
		return rows[i].KeptAnswer, true, nil
	}
	return runstore.KeptAnswer{}, false, nil
}

func (r runstorePort) Checkpoint(_ context.Context, p events.Partition) (runstore.Checkpoint, error) {
	if err := r.lock(); err != nil {
		return runstore.Checkpoint{}, err
	}
	defer r.unlock()
	c, _ := r.disk.rows.checkpoints.get(p)
	return c, nil
}

func (r runstorePort) Ended(_ context.Context, p events.Partition, until events.Time, limit int) ([]runstore.Ended, error) {
	if err := r.lock(); err != nil {
		return nil, err
	}
	defer r.unlock()
	rows := &r.disk.rows.ended
	var found []runstore.Ended
	i, _ := slices.BinarySearchFunc(rows.values, p, func(row endedRow, p events.Partition) int { return cmp.Compare(row.partition, p) })
	for _, row := range rows.values[i:] {
		if row.partition != p || row.Forget > until || len(found) >= limit {
			break
		}
		found = append(found, row.Ended)
	}
	return found, nil
}

func (r runstorePort) Quarantined(_ context.Context, p events.Partition, limit int) ([]runstore.QuarantinedRun, error) {
	if err := r.lock(); err != nil {
		return nil, err
	}
	defer r.unlock()
	var found []runstore.QuarantinedRun
	for _, row := range r.disk.rows.quarantined.values {
		if row.partition == p && len(found) < limit {
			found = append(found, row.QuarantinedRun)
		}
	}
	return found, nil
}

func (r runstorePort) Write(_ context.Context, p events.Partition, c runstore.Changes) error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.unlock()
	r.disk.undo.begin()
	r.disk.rows.write(p, c)
	return nil
}

// answerTo returns the place of the answer to a request, and whether there is one.
func answerTo(rows []*runstore.AnswerRow, request events.RequestID) (int, bool) {
	return slices.BinarySearchFunc(rows, request, func(row *runstore.AnswerRow, request events.RequestID) int { return cmp.Compare(row.Request, request) })
}

func (t *rowTables) write(p events.Partition, c runstore.Changes) {
	for _, row := range c.PutRuns {
		t.runs.put(runKey{p, row.RunID}, slices.Clone(row.Row))
	}
	for _, id := range c.DeleteRuns {
		k := runKey{p, id}
		t.runs.delete(k)
		t.answers.delete(k)
	}
	for _, row := range c.PutNewest {
		t.newest.put(newestKey{p, row.Namespace, row.WorkflowID}, row.Newest)
	}
	for _, row := range c.DeleteNewest {
		k := newestKey{p, row.Namespace, row.WorkflowID}
		if kept, ok := t.newest.get(k); ok && kept.RunID == row.RunID {
			t.newest.delete(k)
		}
	}
	for put := c.PutAnswers; len(put) > 0; {
		n := slices.IndexFunc(put, func(row runstore.AnswerRow) bool { return row.RunID != put[0].RunID })
		if n < 0 {
			n = len(put)
		}
		t.putAnswers(runKey{p, put[0].RunID}, put[:n])
		put = put[n:]
	}
	for _, row := range c.DeleteAnswers {
		k := runKey{p, row.RunID}
		rows, _ := t.answers.get(k)
		if i, found := answerTo(rows, row.Request); found {
			t.answers.put(k, slices.Delete(slices.Clone(rows), i, i+1))
		}
	}
	for _, row := range c.PutEnded {
		t.ended.put(endedRow{p, row})
	}
	for _, row := range c.DeleteEnded {
		t.ended.delete(endedRow{p, row})
	}
	for _, row := range c.PutQuarantined {
		t.quarantined.put(quarantinedRow{p, row})
	}
	for _, id := range c.DeleteQuarantined {
		t.quarantined.delete(quarantinedRow{p, runstore.QuarantinedRun{RunID: id}})
	}
	if c.Checkpoint != nil {
		t.checkpoints.put(p, runstore.Checkpoint{Next: c.Checkpoint.Next, State: slices.Clone(c.Checkpoint.State)})
	}
}

// putAnswers puts answers to requests to one run, which are kept as they are. The list before it may be taken back: it stays.
func (t *rowTables) putAnswers(k runKey, put []runstore.AnswerRow) {
	old, _ := t.answers.get(k)
	rows := append(make([]*runstore.AnswerRow, 0, len(old)+len(put)), old...)
	for i := range put {
		if at, found := answerTo(rows, put[i].Request); found {
			rows[at] = &put[i]
		} else {
			rows = slices.Insert(rows, at, &put[i])
		}
	}
	t.answers.put(k, rows)
}
