package pebble

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

type duePort struct{ *Store }

// DueIndex returns the due index.
func (s *Store) DueIndex() dueindex.Index { return duePort{s} }

func (d duePort) Save(_ context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	if err := d.usable(); err != nil {
		return err
	}
	w := rows{batch: d.db.NewBatch()}
	for _, key := range deletes {
		d.drop(&w, p, key)
	}
	for i := range puts {
		item := &puts[i]
		if !mutant.On(mutant.DueRowLeftBehind) {
			d.drop(&w, p, item.Key)
		}
		w.set(byRunKey(p, item.Key), appendTime(nil, item.Due))
		w.set(dueKey(p, item.Due, item.Key), item.Body)
	}
	w.set(prefix(famDuePosition, p), appendSeq(nil, next))
	d.committer.rows.RUnlock()
	return d.apply(&w)
}

// drop deletes an item at whatever time it is due.
func (d duePort) drop(w *rows, p events.Partition, key dueindex.Key) {
	due, ok, err := d.due(p, key)
	if w.err == nil {
		w.err = err
	}
	if ok {
		w.delete(dueKey(p, due, key))
		w.delete(byRunKey(p, key))
	}
}

func (d duePort) due(p events.Partition, key dueindex.Key) (due events.Time, ok bool, err error) {
	k := byRunKey(p, key)
	value, err := getCopy(d.db, k)
	if err != nil || value == nil {
		return 0, false, err
	}
	if len(value) != 8 {
		return 0, false, damaged(k, "the value is not a time")
	}
	return readTime(value), true, nil
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
	due, ok, err := d.due(p, key)
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

func (d duePort) OfRun(_ context.Context, p events.Partition, run events.RunID, limit int) ([]dueindex.Key, error) {
	lower := runKey(famDueKey, p, run)
	return list(d.Store, lower, after(lower), limit, func(key, _ []byte) (dueindex.Key, error) {
		k, ok := byRunOf(key)
		if !ok {
			return k, damaged(key, "the key is not that of a due item")
		}
		return k, nil
	})
}

// checkDueKey reports whether a time by run is one.
func checkDueKey(key, value []byte) (events.Time, dueindex.Key, error) {
	k, ok := byRunOf(key)
	if !ok || len(value) != 8 {
		return 0, k, damaged(key, "the row does not name a due item")
	}
	return events.Time(binary.BigEndian.Uint64(value) ^ 1<<63), k, nil
}
