package segments

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Rows of the due index. They are in a store of their own, with its own root among the objects: the scheduler writes it, not
// the engine.
//
//	letter  rest of the key                                     value
//	i       run 16, kind 1, timer's kind 1, step 8, attempt 4   due 8
//	d       kind 1, due 8, run 16, timer's kind, step, attempt  body
const (
	letterItem = 'i'
	letterDue  = 'd'
)

type indexPort struct{ store *Store }

var _ dueindex.Index = indexPort{}

// DueIndex returns the due index. What the scheduler before has saved is read when a partition is first asked for: each time
// that a process begins to work as the scheduler it opens a store of its own, with Claims. A Save that does not move the position is durable
// with the next one that does.
func (s *Store) DueIndex() dueindex.Index { return indexPort{s} }

func appendItemKey(b []byte, k dueindex.Key) []byte {
	b = append(b, byte(k.Timer.Kind))
	b = binary.BigEndian.AppendUint64(b, uint64(k.Timer.Step))
	return binary.BigEndian.AppendUint32(b, uint32(k.Timer.Attempt))
}

func itemKey(k dueindex.Key) []byte {
	return appendItemKey(append(runKey(letterItem, k.RunID), byte(k.Kind)), k)
}

func itemDueKey(due events.Time, k dueindex.Key) []byte {
	b := appendTime([]byte{letterDue, byte(k.Kind)}, due)
	return appendItemKey(append(b, k.RunID[:]...), k)
}

// itemOf reads what ends both keys.
func (d *decoder) itemOf(k *dueindex.Key) {
	k.Timer = events.TimerID{
		Kind: events.TimerKind(d.fixed(1)), Step: events.Step(d.fixed(8)), Attempt: events.Attempt(d.fixed(4)),
	}
}

func (x indexPort) begun(ctx context.Context, p events.Partition) (*owned, error) {
	return rowsPort(x).begun(ctx, p)
}

func (x indexPort) Position(ctx context.Context, p events.Partition) (events.Seq, error) {
	o, err := x.begun(ctx, p)
	if err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return o.version.next, nil
}

func (x indexPort) Save(ctx context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	o, err := x.begun(ctx, p)
	if err != nil {
		return err
	}
	defer o.mu.Unlock()
	var rows []row
	drop := func(k dueindex.Key) error {
		key := itemKey(k)
		value, err := o.get(ctx, key)
		if err != nil || value == nil {
			return err
		}
		due, err := readItemDue(key, value)
		rows = append(rows, row{key: string(key), deleted: true}, row{key: string(itemDueKey(due, k)), deleted: true})
		return err
	}
	for _, k := range deletes {
		if err := drop(k); err != nil {
			return err
		}
	}
	last := make(map[dueindex.Key]int, len(puts))
	for i := range puts {
		last[puts[i].Key] = i
	}
	for i := range puts {
		item := &puts[i]
		if last[item.Key] != i {
			continue
		}
		if err := drop(item.Key); err != nil {
			return err
		}
		rows = append(rows, row{key: string(itemKey(item.Key)), value: appendTime(nil, item.Due)},
			row{key: string(itemDueKey(item.Due, item.Key)), value: append([]byte{}, item.Body...)})
	}
	if o.version.name != "" && next == o.version.next {
		return o.write(ctx, rows, nil)
	}
	return o.write(ctx, rows, &runstore.Checkpoint{Next: next})
}

func readItemDue(key, value []byte) (events.Time, error) {
	d := decoder{b: value}
	due := d.time()
	return due, d.end(key)
}

func (x indexPort) Due(
	ctx context.Context, p events.Partition, kind dueindex.Kind, begin dueindex.Item, until events.Time, limit int,
) (items []dueindex.Item, err error) {
	o, err := x.begun(ctx, p)
	if err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	lower, upper := []byte{letterDue, byte(kind)}, after(appendTime([]byte{letterDue, byte(kind)}, until))
	if begin.Due != 0 || begin.Key != (dueindex.Key{}) {
		begin.Key.Kind = kind
		lower = append(itemDueKey(begin.Due, begin.Key), 0)
	}
	if bytes.Compare(lower, upper) >= 0 || limit <= 0 {
		return nil, nil
	}
	err = o.scan(ctx, lower, upper, func(key, value []byte) (bool, error) {
		d := decoder{b: key[2:]}
		item := dueindex.Item{Due: d.time(), Body: bytes.Clone(value)}
		item.Key.Kind, item.Key.RunID = kind, d.run()
		d.itemOf(&item.Key)
		items = append(items, item)
		return len(items) < limit, d.end(key)
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

func (x indexPort) Get(ctx context.Context, p events.Partition, key dueindex.Key) (item dueindex.Item, ok bool, err error) {
	o, err := x.begun(ctx, p)
	if err != nil {
		return item, false, err
	}
	defer o.mu.Unlock()
	k := itemKey(key)
	value, err := o.get(ctx, k)
	if err != nil || value == nil {
		return item, false, err
	}
	item.Key = key
	if item.Due, err = readItemDue(k, value); err != nil {
		return item, false, err
	}
	if item.Body, err = o.get(ctx, itemDueKey(item.Due, key)); err != nil {
		return item, false, err
	}
	if item.Body == nil {
		return item, false, fmt.Errorf("%w: the item of row %q is missing although its run lists it", journal.ErrDamaged, k)
	}
	item.Body = bytes.Clone(item.Body)
	return item, true, nil
}

func (x indexPort) OfRuns(ctx context.Context, p events.Partition, runs []events.RunID, limit int) (keys []dueindex.Key, err error) {
	o, err := x.begun(ctx, p)
	if err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	for _, run := range runs {
		if len(keys) >= limit {
			break
		}
		lower := runKey(letterItem, run)
		err = o.scan(ctx, lower, after(lower), func(key, _ []byte) (bool, error) {
			d := decoder{b: key[1:]}
			k := dueindex.Key{RunID: d.run()}
			k.Kind = dueindex.Kind(d.fixed(1))
			d.itemOf(&k)
			keys = append(keys, k)
			return len(keys) < limit, d.end(key)
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}
