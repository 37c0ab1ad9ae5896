package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
)

type duePort struct{ *Store }

// DueIndex returns the due index.
func (s *Store) DueIndex() dueindex.Index { return duePort{s} }

type dueKey struct {
	partition events.Partition
	dueindex.Key
}

type dueRow struct {
	partition events.Partition
	dueindex.Item
}

func compareKeys(a, b dueindex.Key) int {
	return cmp.Or(
		compareRunIDs(a.RunID, b.RunID), cmp.Compare(a.Timer.Kind, b.Timer.Kind), cmp.Compare(a.Timer.Step, b.Timer.Step),
		cmp.Compare(a.Timer.Attempt, b.Timer.Attempt),
	)
}

func compareDue(a, b dueRow) int {
	return cmp.Or(
		cmp.Compare(a.partition, b.partition), cmp.Compare(a.Key.Kind, b.Key.Kind), cmp.Compare(a.Due, b.Due), compareKeys(a.Key, b.Key),
	)
}

func compareByRun(a, b dueKey) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), compareRunIDs(a.RunID, b.RunID), cmp.Compare(a.Kind, b.Kind), compareKeys(a.Key, b.Key))
}

type dueTables struct {
	items     table[dueKey, dueindex.Item]
	byDue     ordered[dueRow]
	byRun     ordered[dueKey]
	positions table[events.Partition, events.Seq]
}

func (t *dueTables) init(u *undoLog) {
	t.items.undo, t.positions.undo = u, u
	t.byDue = ordered[dueRow]{undo: u, compare: compareDue}
	t.byRun = ordered[dueKey]{undo: u, compare: compareByRun}
}

func (t *dueTables) delete(k dueKey) {
	if item, ok := t.items.get(k); ok {
		t.byDue.delete(dueRow{k.partition, item})
		t.byRun.delete(k)
		t.items.delete(k)
	}
}

func (d duePort) Save(_ context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	if err := d.lock(); err != nil {
		return err
	}
	defer d.unlock()
	t := &d.disk.due
	d.disk.undo.begin()
	for _, key := range deletes {
		t.delete(dueKey{p, key})
	}
	for _, item := range puts {
		k := dueKey{p, item.Key}
		t.delete(k)
		item.Body = slices.Clone(item.Body)
		t.items.put(k, item)
		t.byDue.put(dueRow{p, item})
		t.byRun.put(k)
	}
	t.positions.put(p, next)
	return nil
}

func (d duePort) Position(_ context.Context, p events.Partition) (events.Seq, error) {
	if err := d.lock(); err != nil {
		return 0, err
	}
	defer d.unlock()
	next, _ := d.disk.due.positions.get(p)
	return next, nil
}

func (d duePort) Due(
	_ context.Context, p events.Partition, kind dueindex.Kind, after dueindex.Item, until events.Time, limit int,
) ([]dueindex.Item, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.unlock()
	after.Key.Kind = kind
	begin := dueRow{p, after}
	i, there := d.disk.due.byDue.from(begin)
	if there {
		i++
	}
	rows := d.disk.due.byDue.values[i:]
	end := 0
	for end < len(rows) && end < limit && rows[end].partition == p && rows[end].Key.Kind == kind && rows[end].Due <= until {
		end++
	}
	var found []dueindex.Item
	if end > 0 {
		found = make([]dueindex.Item, end)
	}
	for i := range found {
		found[i] = rows[i].Item
	}
	return found, nil
}

func (d duePort) Get(_ context.Context, p events.Partition, key dueindex.Key) (item dueindex.Item, ok bool, err error) {
	if err := d.lock(); err != nil {
		return dueindex.Item{}, false, err
	}
	defer d.unlock()
	item, ok = d.disk.due.items.get(dueKey{p, key})
	return item, ok, nil
}

func (d duePort) OfRun(_ context.Context, p events.Partition, run events.RunID, limit int) ([]dueindex.Key, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.unlock()
	var found []dueindex.Key
	i, _ := d.disk.due.byRun.from(dueKey{p, dueindex.Key{RunID: run}})
	for _, k := range d.disk.due.byRun.values[i:] {
		if k.partition != p || k.RunID != run || len(found) >= limit {
			break
		}
		found = append(found, k.Key)
	}
	return found, nil
}
