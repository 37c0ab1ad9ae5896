package segments

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Keys begin with a letter. Numbers are big-endian, so that keys sort as what they mean; signed times are shifted into the
// unsigned range.
//
//	letter  rest of the key                       value
//	r       run 16                                row of a run
//	n       length of namespace 2 namespace id    newest run 16, status 1
//	a       run 16, request                       time 8, answer
//	z       time 8, run 16                        workflow id and namespace of an ended run
//	q       run 16                                time 8, workflow id, namespace, reason
const (
	letterRun         = 'r'
	letterNewest      = 'n'
	letterAnswer      = 'a'
	letterEnded       = 'z'
	letterQuarantined = 'q'
)

type rowsPort struct{ store *Store }

var _ runstore.Store = rowsPort{}

func runKey(letter byte, id events.RunID) []byte { return append([]byte{letter}, id[:]...) }

func newestKey(ns events.Namespace, id events.WorkflowID) []byte {
	k := binary.BigEndian.AppendUint16([]byte{letterNewest}, uint16(len(ns)))
	return append(append(k, ns...), id...)
}

func answerKey(run events.RunID, request events.RequestID) []byte {
	return append(runKey(letterAnswer, run), request...)
}

func appendTime(b []byte, t events.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^1<<63)
}

func (d *decoder) time() events.Time { return events.Time(d.fixed(8) ^ 1<<63) }

func (d *decoder) run() (id events.RunID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func endedKey(e *runstore.Ended) []byte {
	return append(appendTime([]byte{letterEnded}, e.Forget), e.RunID[:]...)
}

// end checks that a row was read as a whole.
func (d *decoder) end(key []byte) error {
	if d.short || len(d.b) > 0 {
		return fmt.Errorf("%w: row %q is not one of this store", journal.ErrDamaged, key)
	}
	return nil
}

// begun locks a partition whose ownership has begun.
func (r rowsPort) begun(ctx context.Context, p events.Partition) (*owned, error) {
	o := r.store.owned[p]
	o.mu.Lock()
	if err := o.ready(ctx); err != nil {
		o.mu.Unlock()
		return nil, err
	}
	return o, nil
}

func (r rowsPort) get(ctx context.Context, p events.Partition, key []byte) ([]byte, error) {
	o, err := r.begun(ctx, p)
	if err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	return o.get(ctx, key)
}

func (r rowsPort) Run(ctx context.Context, p events.Partition, id events.RunID) ([]byte, error) {
	return r.get(ctx, p, runKey(letterRun, id))
}

func readNewest(key, value []byte) (n runstore.Newest, err error) {
	d := decoder{b: value}
	n = runstore.Newest{RunID: d.run(), Status: events.Status(d.fixed(1))}
	return n, d.end(key)
}

func (r rowsPort) Newest(
	ctx context.Context, p events.Partition, ns events.Namespace, id events.WorkflowID,
) (newest runstore.Newest, ok bool, err error) {
	key := newestKey(ns, id)
	value, err := r.get(ctx, p, key)
	if err != nil || value == nil {
		return newest, false, err
	}
	newest, err = readNewest(key, value)
	return newest, err == nil, err
}

func (r rowsPort) Answer(
	ctx context.Context, p events.Partition, run events.RunID, request events.RequestID,
) (answer runstore.KeptAnswer, ok bool, err error) {
	key := answerKey(run, request)
	value, err := r.get(ctx, p, key)
	if err != nil || value == nil {
		return answer, false, err
	}
	d := decoder{b: value}
	answer.At = d.time()
	if answer.Answer, err = events.DecodeAnswer(d.b); err != nil {
		return answer, false, fmt.Errorf("%w: row %q: %w", journal.ErrDamaged, key, err)
	}
	return answer, true, nil
}

// Checkpoint begins an ownership.
func (r rowsPort) Checkpoint(ctx context.Context, p events.Partition) (runstore.Checkpoint, error) {
	o := r.store.owned[p]
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.begin(ctx); err != nil {
		return runstore.Checkpoint{}, err
	}
	return runstore.Checkpoint{Next: o.version.next, State: append([]byte(nil), o.version.state...)}, nil
}

func (r rowsPort) Ended(ctx context.Context, p events.Partition, until events.Time, limit int) (ended []runstore.Ended, err error) {
	o, err := r.begun(ctx, p)
	if err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	err = o.scan(ctx, []byte{letterEnded}, after(appendTime([]byte{letterEnded}, until)), func(key, value []byte) (bool, error) {
		if len(ended) >= limit {
			return false, nil
		}
		k, d := decoder{b: key[1:]}, decoder{b: value}
		ended = append(ended, runstore.Ended{
			Forget: k.time(), RunID: k.run(), WorkflowID: events.WorkflowID(d.text()), Namespace: events.Namespace(d.text()),
		})
		if err := k.end(key); err != nil {
			return false, err
		}
		return true, d.end(key)
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// Quarantined shows what the newest manifest has if another process has written the partition last.
func (r rowsPort) Quarantined(ctx context.Context, p events.Partition, limit int) (runs []runstore.QuarantinedRun, err error) {
	take := func(key, value []byte) (bool, error) {
		if len(runs) >= limit {
			return false, nil
		}
		k, d := decoder{b: key[1:]}, decoder{b: value}
		runs = append(runs, runstore.QuarantinedRun{
			RunID: k.run(), Since: d.time(), WorkflowID: events.WorkflowID(d.text()), Namespace: events.Namespace(d.text()), Reason: d.text(),
		})
		if err := k.end(key); err != nil {
			return false, err
		}
		return true, d.end(key)
	}
	lower := []byte{letterQuarantined}
	v, _, err := r.store.newest(ctx, p)
	if err != nil {
		return nil, err
	}
	o := r.store.owned[p]
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun && o.failed == nil && v.name == o.version.name {
		err = o.scan(ctx, lower, after(lower), take)
	} else {
		err = tables{ctx, r.store.cache}.scan(v.rows, lower, after(lower), func(key, value []byte, deleted bool) (bool, error) {
			if deleted {
				return true, nil
			}
			return take(key, value)
		})
	}
	if err != nil {
		return nil, err
	}
	return runs, nil
}

// Write applies changes. Without a checkpoint they wait in memory for the next one that has it.
func (r rowsPort) Write(ctx context.Context, p events.Partition, c runstore.Changes) error {
	o, err := r.begun(ctx, p)
	if err != nil {
		return err
	}
	defer o.mu.Unlock()
	rows, err := o.deletions(ctx, &c)
	if err != nil {
		return err
	}
	return o.write(ctx, putRows(rows, &c), c.Checkpoint)
}

// deletions makes rows of what is deleted.
func (o *owned) deletions(ctx context.Context, c *runstore.Changes) (rows []row, err error) {
	drop := func(key []byte) { rows = append(rows, row{key: string(key), deleted: true}) }
	for _, id := range c.DeleteRuns {
		drop(runKey(letterRun, id))
		answers := runKey(letterAnswer, id)
		if err := o.scan(ctx, answers, after(answers), func(key, _ []byte) (bool, error) { drop(key); return true, nil }); err != nil {
			return nil, err
		}
	}
	for i := range c.DeleteNewest {
		key := newestKey(c.DeleteNewest[i].Namespace, c.DeleteNewest[i].WorkflowID)
		value, err := o.get(ctx, key)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		kept, err := readNewest(key, value)
		if err != nil {
			return nil, err
		}
		if kept.RunID == c.DeleteNewest[i].RunID {
			drop(key)
		}
	}
	for i := range c.DeleteAnswers {
		drop(answerKey(c.DeleteAnswers[i].RunID, c.DeleteAnswers[i].Request))
	}
	for i := range c.DeleteEnded {
		drop(endedKey(&c.DeleteEnded[i]))
	}
	for _, id := range c.DeleteQuarantined {
		drop(runKey(letterQuarantined, id))
	}
	return rows, nil
}

// putRows appends rows that are put.
func putRows(rows []row, c *runstore.Changes) []row {
	put := func(key, value []byte) { rows = append(rows, row{key: string(key), value: value}) }
	for i := range c.PutRuns {
		put(runKey(letterRun, c.PutRuns[i].RunID), append([]byte{}, c.PutRuns[i].Row...))
	}
	for i := range c.PutNewest {
		n := &c.PutNewest[i]
		put(newestKey(n.Namespace, n.WorkflowID), append(append([]byte{}, n.RunID[:]...), byte(n.Status)))
	}
	for i := range c.PutAnswers {
		a := &c.PutAnswers[i]
		put(answerKey(a.RunID, a.Request), events.AppendAnswer(appendTime(nil, a.At), &a.Answer))
	}
	for i := range c.PutEnded {
		e := &c.PutEnded[i]
		put(endedKey(e), appendText(appendText(nil, string(e.WorkflowID)), string(e.Namespace)))
	}
	for i := range c.PutQuarantined {
		q := &c.PutQuarantined[i]
		value := appendText(appendText(appendTime(nil, q.Since), string(q.WorkflowID)), string(q.Namespace))
		put(runKey(letterQuarantined, q.RunID), appendText(value, q.Reason))
	}
	return rows
}
