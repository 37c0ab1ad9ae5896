package book

import "container/list"

// byAge is a map that remembers the order in which its values were put. The zero value is empty.
type byAge[K comparable, V any] struct {
	at    map[K]*list.Element // of byAgeEntry
	order list.List           // oldest first
}

type byAgeEntry[K comparable, V any] struct {
	key   K
	value V
}

// put makes v the newest value, in place of one that the key had.
func (o *byAge[K, V]) put(k K, v V) {
	if o.at == nil {
		o.at = make(map[K]*list.Element)
	}
	o.drop(k)
	o.at[k] = o.order.PushBack(byAgeEntry[K, V]{k, v})
}

// get returns the value of a key.
func (o *byAge[K, V]) get(k K) (v V, ok bool) {
	e, ok := o.at[k]
	if ok {
		v = e.Value.(byAgeEntry[K, V]).value
	}
	return v, ok
}

// drop forgets a key.
func (o *byAge[K, V]) drop(k K) {
	if e, ok := o.at[k]; ok {
		o.order.Remove(e)
		delete(o.at, k)
	}
}

// trim forgets the oldest beyond a number.
func (o *byAge[K, V]) trim(limit int) {
	for o.order.Len() > limit {
		o.drop(o.order.Front().Value.(byAgeEntry[K, V]).key)
	}
}

// appendTo appends the values, oldest first.
func (o *byAge[K, V]) appendTo(dst []V) []V {
	for e := o.order.Front(); e != nil; e = e.Next() {
		dst = append(dst, e.Value.(byAgeEntry[K, V]).value)
	}
	return dst
}
