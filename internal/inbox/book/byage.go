package book

// byAge is a map that remembers the order in which its values were put. The zero value is empty.
type byAge[K comparable, V any] struct {
	at             map[K]*aged[K, V]
	oldest, newest *aged[K, V]
	spare          *aged[K, V] // the one that was dropped last, to be used again
}

type aged[K comparable, V any] struct {
	key          K
	value        V
	older, newer *aged[K, V]
}

// put makes v the newest value, in place of one that the key had.
func (o *byAge[K, V]) put(k K, v V) {
	if o.at == nil {
		o.at = make(map[K]*aged[K, V])
	}
	o.drop(k)
	e := o.spare
	if o.spare = nil; e == nil {
		e = new(aged[K, V])
	}
	*e = aged[K, V]{key: k, value: v, older: o.newest}
	if o.newest != nil {
		o.newest.newer = e
	} else {
		o.oldest = e
	}
	o.newest = e
	o.at[k] = e
}

// get returns the value of a key.
func (o *byAge[K, V]) get(k K) (v V, ok bool) {
	e, ok := o.at[k]
	if ok {
		v = e.value
	}
	return v, ok
}

// drop forgets a key.
func (o *byAge[K, V]) drop(k K) {
	e, ok := o.at[k]
	if !ok {
		return
	}
	delete(o.at, k)
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		o.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		o.newest = e.older
	}
	*e = aged[K, V]{}
	o.spare = e
}

// trim forgets the oldest beyond a number.
func (o *byAge[K, V]) trim(limit int) {
	for len(o.at) > limit {
		o.drop(o.oldest.key)
	}
}

// appendTo appends the values, oldest first.
func (o *byAge[K, V]) appendTo(dst []V) []V {
	for e := o.oldest; e != nil; e = e.newer {
		dst = append(dst, e.value)
	}
	return dst
}
