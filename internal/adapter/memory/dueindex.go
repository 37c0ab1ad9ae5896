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

// dueTables has the items of each partition in two orders.
type dueTables struct {
	byDue     []ordered[dueindex.Item]
	byRun     []ordered[dueindex.Item]
	positions table[events.Partition, events.Seq]
}

func (t *dueTables) init(u *undoLog, partitions int) {
	t.positions.undo = u
	for range partitions {
		t.byDue = append(t.byDue, ordered[dueindex.Item]{undo: u, compare: compareDue})
		t.byRun = append(t.byRun, ordered[dueindex.Item]{undo: u, compare: compareByRun})
	}
}

func compareDue(a, b dueindex.Item) int {
	if a.Key.Kind != b.Key.Kind {
		return cmp.Compare(a.Key.Kind, b.Key.Kind)
	}
	if a.Due != b.Due {
		return cmp.Compare(a.Due, b.Due)
	}
	return compareByRun(a, b)
}

func compareByRun(a, b dueindex.Item) int {
	if a.Key.RunID != b.Key.RunID {
		return compareRunIDs(a.Key.RunID, b.Key.RunID)
	}
	if a.Key.Kind != b.Key.Kind {
		return cmp.Compare(a.Key.Kind, b.Key.Kind)
	}
	t, u := a.Key.Timer, b.Key.Timer
	return cmp.Or(cmp.Compare(t.Kind, u.Kind), cmp.Compare(t.Step, u.Step), cmp.Compare(t.Attempt, u.Attempt))
}

func (t *dueTables) delete(p events.Partition, k dueindex.Key) {
	if item, ok := t.byRun[p].delete(dueindex.Item{Key: k}); ok {
		t.byDue[p].delete(item)
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
		t.delete(p, key)
	}
	for _, item := range puts {
		t.delete(p, item.Key)
		item.Body = slices.Clone(item.Body)
		t.byDue[p].put(item)
		t.byRun[p].put(item)
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
	byDue := &d.disk.due.byDue[p]
	i, there := byDue.from(after)
	if there {
		i++
	}
	items := byDue.values[i:]
	end := 0
	for end < len(items) && end < limit && items[end].Key.Kind == kind && items[end].Due <= until {
		end++
	}
	if end == 0 {
		return nil, nil
	}
	return slices.Clone(items[:end]), nil
}

func (d duePort) Get(_ context.Context, p events.Partition, key dueindex.Key) (item dueindex.Item, ok bool, err error) {
	if err := d.lock(); err != nil {
		return dueindex.Item{}, false, err
	}
	defer d.unlock()
	byRun := &d.disk.due.byRun[p]
	i, ok := byRun.from(dueindex.Item{Key: key})
	if !ok {
		return dueindex.Item{}, false, nil
	}
	return byRun.values[i], true, nil
}

func (d duePort) OfRuns(_ context.Context, p events.Partition, runs []events.RunID, limit int) ([]dueindex.Key, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.unlock()
	var found []dueindex.Key
	byRun := &d.disk.due.byRun[p]
	for _, run := range runs {
		i, _ := byRun.from(dueindex.Item{Key: dueindex.Key{RunID: run}})
		for _, item := range byRun.values[i:] {
			if item.Key.RunID != run || len(found) >= limit {
				break
			}
			found = append(found, item.Key)
		}
	}
	return found, nil
}
