package memory

import (
	"cmp"
	"slices"
)

// undoLog remembers how to take back what no commit has followed yet, grouped by write.
type undoLog struct {
	parts  []func()
	writes []int // where in parts each write begins
}

// begin starts the next write.
func (u *undoLog) begin() { u.writes = append(u.writes, len(u.parts)) }

// add tells how to take back a part of the present write.
func (u *undoLog) add(back func()) { u.parts = append(u.parts, back) }

// clear makes everything written so far durable.
func (u *undoLog) clear() {
	clear(u.parts)
	u.parts, u.writes = u.parts[:0], u.writes[:0]
}

// back takes back all writes but the oldest keep ones, newest first.
func (u *undoLog) back(keep int) {
	if keep < len(u.writes) {
		for _, back := range slices.Backward(u.parts[u.writes[keep]:]) {
			back()
		}
	}
	u.clear()
}

// table is a map whose changes can be taken back.
type table[K comparable, V any] struct {
	undo *undoLog
	rows map[K]V
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.rows[k]
	return v, ok
}

func (t *table[K, V]) put(k K, v V) {
	t.remember(k)
	t.keep(k, v)
}

// keep puts what is durable at once: no crash takes it back.
func (t *table[K, V]) keep(k K, v V) {
	if t.rows == nil {
		t.rows = map[K]V{}
	}
	t.rows[k] = v
}

func (t *table[K, V]) delete(k K) {
	if _, there := t.rows[k]; there {
		t.remember(k)
		delete(t.rows, k)
	}
}

func (t *table[K, V]) remember(k K) {
	old, there := t.rows[k]
	t.undo.add(func() {
		if there {
			t.rows[k] = old
		} else {
			delete(t.rows, k)
		}
	})
}

// keys returns the keys that fit, ordered by compare.
func (t *table[K, V]) keys(fits func(K) bool, compare func(a, b K) int) []K {
	var keys []K
	for k := range t.rows {
		if fits(k) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compare)
	return keys
}

// ordered is a sorted list of values whose changes can be taken back.
type ordered[V any] struct {
	undo    *undoLog
	compare func(a, b V) int
	values  []V
}

// from returns the place of the first value that is not below v, and whether it equals v.
func (o *ordered[V]) from(v V) (int, bool) { return slices.BinarySearchFunc(o.values, v, o.compare) }

// put adds v or replaces the value that compares equal to it.
func (o *ordered[V]) put(v V) {
	i, there := o.from(v)
	if there {
		old := o.values[i]
		o.values[i] = v
		o.undo.add(func() {
			at, _ := o.from(v)
			o.values[at] = old
		})
		return
	}
	o.values = slices.Insert(o.values, i, v)
	o.undo.add(func() { o.cut(v) })
}

func (o *ordered[V]) delete(v V) {
	i, there := o.from(v)
	if !there {
		return
	}
	old := o.values[i]
	o.values = slices.Delete(o.values, i, i+1)
	o.undo.add(func() {
		at, _ := o.from(old)
		o.values = slices.Insert(o.values, at, old)
	})
}

func (o *ordered[V]) cut(v V) {
	at, _ := o.from(v)
	o.values = slices.Delete(o.values, at, at+1)
}

func compareRunIDs(a, b [16]byte) int {
	return cmp.Compare(string(a[:]), string(b[:]))
}
