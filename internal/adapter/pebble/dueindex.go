package pebble

import (
	"bytes"
	"context"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

type duePort struct{ *Store }

// DueIndex returns the due index.
func (s *Store) DueIndex() dueindex.Index { return duePort{s} }

func (d duePort) Save(_ context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	changes := changesOf(p, puts, deletes)
	if err := d.usable(); err != nil {
		return err
	}
	err := d.lookUp(p, changes)
	d.committer.rows.RUnlock()
	if err != nil {
		return err
	}
	w := rows{batch: d.db.NewBatch()}
	for i := range changes {
		w.change(p, &changes[i])
	}
	w.set(prefix(famDuePosition, p), appendSeq(nil, next))
	return d.apply(&w)
}

// change is what a save does to one item.
type change struct {
	row   []byte // its key by run
	key   dueindex.Key
	put   *dueindex.Item // nil: it is deleted
	due   events.Time    // of the item that is there
	there bool
}

// changesOf returns one change for each key, in the order of the rows by run. What comes last for a key counts, puts after
// deletes.
func changesOf(p events.Partition, puts []dueindex.Item, deletes []dueindex.Key) []change {
	all := make([]change, 0, len(deletes)+len(puts))
	for _, key := range deletes {
		all = append(all, change{row: byRunKey(p, key), key: key})
	}
	for i := range puts {
		all = append(all, change{row: byRunKey(p, puts[i].Key), key: puts[i].Key, put: &puts[i]})
	}
	slices.SortStableFunc(all, func(a, b change) int { return bytes.Compare(a.row, b.row) })
	changes := all[:0]
	for i := range all {
		if i+1 == len(all) || !bytes.Equal(all[i].row, all[i+1].row) {
			changes = append(changes, all[i])
		}
	}
	return changes
}

// lookUp finds out when the items that are to change are due now. The store is usable. One row is had for less than an
// iterator costs.
func (d duePort) lookUp(p events.Partition, changes []change) (err error) {
	switch len(changes) {
	case 0:
		return nil
	case 1:
		c := &changes[0]
		c.due, c.there, err = d.due(c.row)
		return err
	}
	lower := prefix(famDueKey, p)
	return iterate(d.db, lower, after(lower), func(it *pebble.Iterator) error {
		for i := range changes {
			if err := changes[i].read(it); err != nil {
				return err
			}
		}
		return nil
	})
}

// read finds the item with an iterator that did not go beyond it yet. All of a key is its prefix: a seek without it would
// walk from a row that is not there over deleted ones to the next.
func (c *change) read(it *pebble.Iterator) error {
	if c.there = it.SeekPrefixGE(c.row); !c.there {
		if err := it.Error(); err != nil {
			return readError(c.row, err)
		}
		return nil
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return readError(c.row, err)
	}
	c.due, err = readDueTime(c.row, value)
	return err
}

// change writes a change. An item that is there goes from whatever time it is due at.
func (w *rows) change(p events.Partition, c *change) {
	if c.there && (c.put == nil || c.put.Due != c.due && !mutant.On(mutant.DueRowLeftBehind)) {
		w.delete(dueKey(p, c.due, c.key))
	}
	switch {
	case c.put != nil:
		w.set(c.row, appendTime(nil, c.put.Due))
		w.set(dueKey(p, c.put.Due, c.key), c.put.Body)
	case c.there:
		w.delete(c.row)
	}
}

// due returns when the item with a row by run is due.
func (d duePort) due(row []byte) (due events.Time, ok bool, err error) {
	value, err := getCopy(d.db, row)
	if err != nil || value == nil {
		return 0, false, err
	}
	due, err = readDueTime(row, value)
	return due, err == nil, err
}

func readDueTime(row, value []byte) (events.Time, error) {
	if len(value) != 8 {
		return 0, damaged(row, "the value is not a time")
	}
	return readTime(value), nil
}

func (d duePort) Position(_ context.Context, p events.Partition) (events.Seq, error) {
	key := prefix(famDuePosition, p)
	value, err := d.get(key)
	if err != nil || value == nil {
		return 0, err
	}
	return readSeq(key, value)
}

func readDue(key, value []byte) (dueindex.Item, error) {
	due, k, ok := dueOf(key)
	if !ok {
		return dueindex.Item{}, damaged(key, "the key is not that of a due item")
	}
	return dueindex.Item{Key: k, Due: due, Body: bytes.Clone(value)}, nil
}

func (d duePort) Due(
	_ context.Context, p events.Partition, kind dueindex.Kind, begin dueindex.Item, until events.Time, limit int,
) ([]dueindex.Item, error) {
	lower := append(prefix(famDue, p), byte(kind))
	upper := after(appendTime(append(prefix(famDue, p), byte(kind)), until))
	if begin.Due != 0 || begin.Key != (dueindex.Key{}) {
		begin.Key.Kind = kind
		lower = append(dueKey(p, begin.Due, begin.Key), 0)
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	return list(d.Store, lower, upper, limit, readDue)
}

func (d duePort) Get(_ context.Context, p events.Partition, key dueindex.Key) (item dueindex.Item, ok bool, err error) {
	if err := d.usable(); err != nil {
		return item, false, err
	}
	defer d.committer.rows.RUnlock()
	due, ok, err := d.due(byRunKey(p, key))
	if err != nil || !ok {
		return item, false, err
	}
	k := dueKey(p, due, key)
	body, err := getCopy(d.db, k)
	switch {
	case err != nil:
		return item, false, err
	case body == nil:
		return item, false, damaged(k, "the item is missing although its run lists it")
	}
	return dueindex.Item{Key: key, Due: due, Body: body}, true, nil
}

// OfRuns goes from run to run with one iterator, whose bounds are those of the run: beyond its rows may be many deleted ones.
func (d duePort) OfRuns(_ context.Context, p events.Partition, runs []events.RunID, limit int) (found []dueindex.Key, err error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	defer d.committer.rows.RUnlock()
	if len(runs) == 0 || limit <= 0 {
		return nil, nil
	}
	lower := runKey(famDueKey, p, runs[0])
	err = iterate(d.db, lower, after(lower), func(it *pebble.Iterator) (err error) {
		for i := 0; i < len(runs) && len(found) < limit && err == nil; i++ {
			if i > 0 {
				lower = runKey(famDueKey, p, runs[i])
				it.SetBounds(lower, after(lower))
			}
			found, err = appendOfRun(found, it, lower, limit)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// appendOfRun appends the keys of the rows within the bounds, which begin with lower, until there are limit keys.
func appendOfRun(keys []dueindex.Key, it *pebble.Iterator, lower []byte, limit int) ([]dueindex.Key, error) {
	for it.First(); it.Valid() && len(keys) < limit; it.Next() {
		key, ok := byRunOf(it.Key())
		if !ok {
			return nil, damaged(it.Key(), "the key is not that of a due item")
		}
		keys = append(keys, key)
	}
	if err := it.Error(); err != nil {
		return nil, readError(lower, err)
	}
	return keys, nil
}

// checkDueKey reports whether a time by run is one.
func checkDueKey(key, value []byte) (events.Time, dueindex.Key, error) {
	k, ok := byRunOf(key)
	if !ok || len(value) != 8 {
		return 0, k, damaged(key, "the row does not name a due item")
	}
	return readTime(value), k, nil
}
