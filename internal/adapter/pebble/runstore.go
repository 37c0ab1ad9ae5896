package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

type runstorePort struct{ *Store }

// RunStore returns the run store.
func (s *Store) RunStore() runstore.Store { return runstorePort{s} }

// get returns a copy of a value, nil if the key is not there.
func (s *Store) get(key []byte) ([]byte, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	defer s.committer.rows.RUnlock()
	return getCopy(s.db, key)
}

func (r runstorePort) Run(_ context.Context, p events.Partition, id events.RunID) ([]byte, error) {
	return r.get(runKey(famRun, p, id))
}

func (r runstorePort) Newest(
	_ context.Context, p events.Partition, ns events.Namespace, id events.WorkflowID,
) (newest runstore.Newest, ok bool, err error) {
	key := newestKey(p, ns, id)
	value, err := r.get(key)
	if err != nil || value == nil {
		return newest, false, err
	}
	newest, err = readNewest(key, value)
	return newest, err == nil, err
}

func (r runstorePort) Answer(
	_ context.Context, p events.Partition, run events.RunID, request events.RequestID,
) (answer runstore.KeptAnswer, ok bool, err error) {
	key := answerKey(p, run, request)
	value, err := r.get(key)
	if err != nil || value == nil {
		return answer, false, err
	}
	answer, err = readAnswer(key, value)
	return answer, err == nil, err
}

func (r runstorePort) Checkpoint(_ context.Context, p events.Partition) (runstore.Checkpoint, error) {
	key := prefix(famCheckpoint, p)
	value, err := r.get(key)
	if err != nil || value == nil {
		return runstore.Checkpoint{}, err
	}
	return readCheckpoint(key, value)
}

func (r runstorePort) Ended(_ context.Context, p events.Partition, until events.Time, limit int) ([]runstore.Ended, error) {
	upper := after(appendTime(prefix(famEnded, p), until))
	return list(r.Store, prefix(famEnded, p), upper, limit, readEnded)
}

func (r runstorePort) Quarantined(_ context.Context, p events.Partition, limit int) ([]runstore.QuarantinedRun, error) {
	lower := prefix(famQuarantined, p)
	return list(r.Store, lower, after(lower), limit, readQuarantined)
}

// list reads up to limit rows.
func list[T any](s *Store, lower, upper []byte, limit int, read func(key, value []byte) (T, error)) ([]T, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	defer s.committer.rows.RUnlock()
	var found []T
	err := scan(s.db, lower, upper, func(key, value []byte) (bool, error) {
		if len(found) >= limit {
			return false, nil
		}
		row, err := read(key, value)
		found = append(found, row)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// rows collects changes; an error of the batch is kept and ends the collecting.
type rows struct {
	batch *pebble.Batch
	err   error
}

func (w *rows) set(key, value []byte) {
	if w.err == nil {
		w.err = w.batch.Set(key, value, nil)
	}
}

func (w *rows) delete(key []byte) {
	if w.err == nil {
		w.err = w.batch.Delete(key, nil)
	}
}

// deletePrefix deletes the keys there are now. A range would cost every later reading of its neighbours.
func (w *rows) deletePrefix(db pebble.Reader, lower []byte) {
	if w.err == nil {
		w.err = scan(db, lower, after(lower), func(key, _ []byte) (bool, error) {
			w.delete(key)
			return true, w.err
		})
	}
}

func (r runstorePort) Write(_ context.Context, p events.Partition, c runstore.Changes) error {
	if err := r.usable(); err != nil {
		return err
	}
	w := rows{batch: r.db.NewBatch()}
	w.deleteChanges(r.db, p, &c)
	w.putChanges(p, &c)
	r.committer.rows.RUnlock()
	return r.apply(&w)
}

// apply writes the collected rows.
func (s *Store) apply(w *rows) error {
	if w.err != nil {
		return errors.Join(w.err, w.batch.Close())
	}
	return s.write(w.batch)
}

func (w *rows) putChanges(p events.Partition, c *runstore.Changes) {
	for i := range c.PutRuns {
		w.set(runKey(famRun, p, c.PutRuns[i].RunID), c.PutRuns[i].Row)
	}
	for i := range c.PutNewest {
		row := &c.PutNewest[i]
		w.set(newestKey(p, row.Namespace, row.WorkflowID), newestValue(row.Newest))
	}
	for i := range c.PutAnswers {
		row := &c.PutAnswers[i]
		w.set(answerKey(p, row.RunID, row.Request), answerValue(&row.KeptAnswer))
	}
	for i := range c.PutEnded {
		row := &c.PutEnded[i]
		w.set(endedKey(p, row.Forget, row.RunID), endedValue(row))
	}
	for i := range c.PutQuarantined {
		row := &c.PutQuarantined[i]
		w.set(runKey(famQuarantined, p, row.RunID), quarantinedValue(row))
	}
	if c.Checkpoint != nil {
		w.set(prefix(famCheckpoint, p), append(appendSeq(nil, c.Checkpoint.Next), c.Checkpoint.State...))
	}
}

func (w *rows) deleteChanges(db pebble.Reader, p events.Partition, c *runstore.Changes) {
	for _, id := range c.DeleteRuns {
		w.delete(runKey(famRun, p, id))
		w.deletePrefix(db, runKey(famAnswer, p, id))
	}
	for i := range c.DeleteNewest {
		row := &c.DeleteNewest[i]
		key := newestKey(p, row.Namespace, row.WorkflowID)
		value, err := getCopy(db, key)
		if err == nil && value != nil {
			var kept runstore.Newest
			if kept, err = readNewest(key, value); err == nil && kept.RunID == row.RunID {
				w.delete(key)
			}
		}
		w.err = errors.Join(w.err, err)
	}
	for i := range c.DeleteAnswers {
		w.delete(answerKey(p, c.DeleteAnswers[i].RunID, c.DeleteAnswers[i].Request))
	}
	for i := range c.DeleteEnded {
		w.delete(endedKey(p, c.DeleteEnded[i].Forget, c.DeleteEnded[i].RunID))
	}
	for _, id := range c.DeleteQuarantined {
		w.delete(runKey(famQuarantined, p, id))
	}
}
