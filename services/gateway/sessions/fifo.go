package sessions

// fifo is a set that forgets its oldest members beyond a bound.
type fifo[K comparable] struct {
	limit   int
	members map[K]struct{}
	order   []K // a ring once it has limit entries
	oldest  int
}

func newFIFO[K comparable](limit int) *fifo[K] {
	return &fifo[K]{limit: limit, members: make(map[K]struct{})}
}

func (f *fifo[K]) add(k K) {
	if f.has(k) {
		return
	}
	f.members[k] = struct{}{}
	if len(f.order) < f.limit {
		f.order = append(f.order, k)
		return
	}
	delete(f.members, f.order[f.oldest])
	f.order[f.oldest] = k
	f.oldest = (f.oldest + 1) % f.limit
}

func (f *fifo[K]) has(k K) bool {
	_, ok := f.members[k]
	return ok
}

// remove takes k out for good: its place in the order stays until its turn comes, so k must not be added again.
func (f *fifo[K]) remove(k K) { delete(f.members, k) }

func (f *fifo[K]) clear() {
	clear(f.members)
	f.order, f.oldest = f.order[:0], 0
}
