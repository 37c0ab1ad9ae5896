package sessions

// fifo is a map that forgets its oldest entries beyond a bound.
type fifo[K comparable, V any] struct {
	limit   int
	entries map[K]V
	order   []K // a ring once it has limit entries
	oldest  int
}

func newFIFO[K comparable, V any](limit int) *fifo[K, V] {
	return &fifo[K, V]{limit: limit, entries: make(map[K]V)}
}

// add puts k in, unless it is there.
func (f *fifo[K, V]) add(k K, v V) {
	if f.has(k) {
		return
	}
	f.entries[k] = v
	if len(f.order) < f.limit {
		f.order = append(f.order, k)
		return
	}
	delete(f.entries, f.order[f.oldest])
	f.order[f.oldest] = k
	f.oldest = (f.oldest + 1) % f.limit
}

func (f *fifo[K, V]) has(k K) bool {
	_, ok := f.entries[k]
	return ok
}

func (f *fifo[K, V]) get(k K) (V, bool) {
	v, ok := f.entries[k]
	return v, ok
}

// remove takes k out for good: its place in the order stays until its turn comes, so k must not be added again.
func (f *fifo[K, V]) remove(k K) { delete(f.entries, k) }

func (f *fifo[K, V]) clear() {
	clear(f.entries)
	f.order, f.oldest = f.order[:0], 0
}
