package memory

import (
	"cmp"
	"slices"
)

// undoLog remembers what no commit has followed yet, grouped by write, so that it can be taken back.
type undoLog struct {
	parts  []undoable // what the parts of the writes changed, oldest first
	writes []int      // where in parts each write begins
}

// undoable is something that remembers its changes.
type undoable interface {
	// back takes back the newest change that it remembers.
	back()
	// forget makes all its changes final.
	forget()
}

// begin starts the next write.
func (u *undoLog) begin() { u.writes = append(u.writes, len(u.parts)) }

// add tells what a part of the present write changed.
func (u *undoLog) add(changed undoable) { u.parts = append(u.parts, changed) }

// clear makes everything written so far durable.
func (u *undoLog) clear() {
	for _, changed := range u.parts {
		changed.forget()
	}
	clear(u.parts)
	u.parts, u.writes = u.parts[:0], u.writes[:0]
}

// back takes back all writes but the oldest keep ones, newest first.
func (u *undoLog) back(keep int) {
	if keep < len(u.writes) {
		for _, changed := range slices.Backward(u.parts[u.writes[keep]:]) {
			changed.back()
		}
	}
	u.clear()
}

// undoFunc is a single change, as the function that takes it back.
type undoFunc func()

func (f undoFunc) back() { f() }

func (undoFunc) forget() {}

// table is a map whose changes can be taken back.
type table[K comparable, V any] struct {
	undo *undoLog
	rows map[K]V
	old  []oldRow[K, V] // in the order of the changes
}

// oldRow is a row as it was before a change.
type oldRow[K comparable, V any] struct {
	key   K
	value V
	there bool
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
	value, there := t.rows[k]
	t.old = append(t.old, oldRow[K, V]{k, value, there})
	t.undo.add(t)
}

func (t *table[K, V]) back() {
	last := len(t.old) - 1
	if row := t.old[last]; row.there {
		t.rows[row.key] = row.value
	} else {
		delete(t.rows, row.key)
	}
	t.old = t.old[:last]
}

func (t *table[K, V]) forget() {
	clear(t.old)
	t.old = t.old[:0]
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
	old     []oldValue[V] // in the order of the changes
}

// oldValue is a change of a sorted list.
type oldValue[V any] struct {
	value V
	what  valueChange
}

type valueChange uint8

const (
	valueAdded    valueChange = iota // the value was not there
	valueReplaced                    // the value was there in place of its equal
	valueDeleted                     // the value was there
)

// from returns the place of the first value that is not below v, and whether it equals v.
func (o *ordered[V]) from(v V) (int, bool) { return slices.BinarySearchFunc(o.values, v, o.compare) }

// put adds v or replaces the value that compares equal to it.
func (o *ordered[V]) put(v V) {
	i, there := o.from(v)
	if there {
		o.remember(o.values[i], valueReplaced)
		o.values[i] = v
		return
	}
	o.remember(v, valueAdded)
	o.values = slices.Insert(o.values, i, v)
}

// delete removes the value that compares equal to v, if there is one, and returns it.
func (o *ordered[V]) delete(v V) (old V, there bool) {
	i, there := o.from(v)
	if !there {
		return old, false
	}
	old = o.values[i]
	o.remember(old, valueDeleted)
	o.values = slices.Delete(o.values, i, i+1)
	return old, true
}

func (o *ordered[V]) remember(v V, what valueChange) {
	o.old = append(o.old, oldValue[V]{v, what})
	o.undo.add(o)
}

func (o *ordered[V]) back() {
	last := len(o.old) - 1
	old := o.old[last]
	o.old = o.old[:last]
	i, _ := o.from(old.value)
	switch old.what {
	case valueAdded:
		o.values = slices.Delete(o.values, i, i+1)
	case valueReplaced:
		o.values[i] = old.value
	case valueDeleted:
		o.values = slices.Insert(o.values, i, old.value)
	}
}

func (o *ordered[V]) forget() {
	clear(o.old)
	o.old = o.old[:0]
}

func compareRunIDs(a, b [16]byte) int {
	return cmp.Compare(string(a[:]), string(b[:]))
}
