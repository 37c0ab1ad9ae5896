package segments

import (
	"context"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// minMerge is how many layers are merged at least.
const minMerge = 4

// pick chooses layers to merge, from the from-th up to the to-th of a table: the newest ones of which each is not larger than
// all newer ones of them together. So a row is copied about as often as the table has doubled, and there are few layers.
func pick(table []layer) (from, to int, ok bool) {
	for from = range table {
		to = from + 1
		for size := table[from].size(); to < len(table) && table[to].size() <= size; to++ {
			size += table[to].size()
		}
		if to-from >= minMerge {
			return from, to, true
		}
	}
	return 0, 0, false
}

// merging is a merge of layers of one table that is being made.
type merging struct {
	writer    string
	histories bool
	inputs    []layer
	last      bool // nothing lies below, so that what is deleted can be left out
}

// merge merges some layers and reports whether it did.
func (o *owned) merge(ctx context.Context) (bool, error) {
	m, ok := o.startMerge()
	if !ok {
		return false, nil
	}
	return o.mergeThose(ctx, &m)
}

// mergeThose makes one layer of some.
func (o *owned) mergeThose(ctx context.Context, m *merging) (bool, error) {
	b := builder{limit: o.store.options.SegmentBytes}
	b.put = func(data []byte) (string, error) {
		o.mu.Lock()
		o.made++
		name := segmentName(o.id, m.writer, o.made)
		o.mu.Unlock()
		if err := o.store.options.Objects.Put(ctx, name, data); err != nil {
			return "", fmt.Errorf("segment %s: %w", name, err)
		}
		o.store.cache.add(name, data)
		return name, nil
	}
	defer b.abandon()
	var dead []byte // the run whose records are left out
	err := tables{ctx, o.store.cache}.scan(m.inputs, nil, nil, func(key, value []byte, deleted bool) (bool, error) {
		switch {
		case m.histories && deleted:
			dead = append(dead[:0], key...)
		case m.histories && dead != nil && len(key) > len(dead) && string(key[:len(dead)]) == string(dead):
			return true, nil
		}
		if deleted && (m.last || mutant.On(mutant.DeletionDroppedEarly)) {
			return true, nil
		}
		return true, b.add(key, value, deleted)
	})
	if err == nil {
		err = b.cut()
	}
	o.endMerge(m, b.made, err)
	return err == nil, err
}

func (o *owned) startMerge() (merging, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun || o.failed != nil {
		return merging{}, false
	}
	for _, histories := range []bool{false, true} {
		table := *o.table(histories)
		if from, to, ok := pick(table); ok {
			return merging{writer: o.writer, histories: histories, inputs: slices.Clone(table[from:to]), last: to == len(table)}, true
		}
	}
	return merging{}, false
}

func (o *owned) table(histories bool) *[]layer {
	if histories {
		return &o.version.histories
	}
	return &o.version.rows
}

// endMerge puts the outcome in the place of what was merged, which stays until no manifest that counts names it.
func (o *owned) endMerge(m *merging, made layer, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writer != m.writer {
		return // of an ownership that is over: the next one lists it among what is left
	}
	gone := m.inputs
	if err != nil {
		gone = []layer{made}
	} else {
		table := o.table(m.histories)
		from := slices.IndexFunc(*table, func(l layer) bool { return l[0].name == m.inputs[0][0].name })
		var now []layer
		now = append(now, (*table)[:from]...)
		if len(made) > 0 {
			now = append(now, made)
		}
		*table = append(now, (*table)[from+len(m.inputs):]...)
	}
	for _, l := range gone {
		for i := range l {
			o.obsolete = append(o.obsolete, obsolete{l[i].name, o.written + 1})
		}
	}
}
