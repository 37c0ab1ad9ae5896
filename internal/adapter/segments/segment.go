package segments

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// The format of segments. All of it is written into each of them, so it can change from one build to the next.
const (
	segmentFormat = sstable.TableFormatPebblev4
	bitsPerKey    = 10
	blockBytes    = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is what a manifest says of one.
type segment struct {
	name        string // of its object
	size        int64
	sum         uint32 // CRC-32C of the whole object
	first, last string // its least and greatest key
}

// layer is a sorted run: segments that follow each other.
type layer []segment

func (l layer) size() (n int64) {
	for i := range l {
		n += l[i].size
	}
	return n
}

// row is a key with its value, or that it is deleted.
type row struct {
	key     string
	value   []byte
	deleted bool
}

// builder makes the segments of one layer from rows by rising key.
type builder struct {
	limit int
	put   func(data []byte) (name string, err error)

	object      *objstorage.MemObj
	writer      *sstable.Writer
	bytes       int
	first, last string
	made        layer
}

func (b *builder) add(key, value []byte, deleted bool) error {
	if b.writer == nil {
		b.object = &objstorage.MemObj{}
		b.writer = sstable.NewWriter(b.object, sstable.WriterOptions{
			TableFormat: segmentFormat, BlockSize: blockBytes, FilterPolicy: bloom.FilterPolicy(bitsPerKey), FilterType: sstable.TableFilter,
			DisableValueBlocks: true,
		})
		b.bytes, b.first = 0, string(key)
	}
	b.last = string(key)
	b.bytes += len(key) + len(value)
	var err error
	if deleted {
		err = b.writer.Delete(key)
	} else {
		err = b.writer.Set(key, value)
	}
	if err != nil {
		return fmt.Errorf("making a segment: %w", err)
	}
	if b.bytes >= b.limit {
		return b.cut()
	}
	return nil
}

// cut ends the segment in hand.
func (b *builder) cut() error {
	if b.writer == nil {
		return nil
	}
	err := b.writer.Close()
	b.writer = nil
	if err != nil {
		return fmt.Errorf("making a segment: %w", err)
	}
	data := b.object.Data()
	s := segment{size: int64(len(data)), sum: crc32.Checksum(data, castagnoli), first: b.first, last: b.last}
	if s.name, err = b.put(data); err != nil {
		return err
	}
	b.made = append(b.made, s)
	return nil
}

// abandon frees what an unfinished segment holds.
func (b *builder) abandon() {
	if b.writer != nil {
		_ = b.writer.Close()
	}
}

// check compares an object with what its manifest says of it.
func (s *segment) check(data []byte) error {
	if int64(len(data)) != s.size || crc32.Checksum(data, castagnoli) != s.sum {
		return fmt.Errorf("object %s has %d bytes that are not those that were written (%d)", s.name, len(data), s.size)
	}
	return nil
}

// tables reads segments.
type tables struct {
	ctx   context.Context
	cache *cache
}

// iterator opens a segment between two keys; upper nil means its end.
func (t tables) iterator(s *segment, lower, upper []byte) (sstable.Iterator, error) {
	r, release, err := t.cache.open(t.ctx, s)
	if err != nil {
		return nil, err
	}
	it, err := r.NewIter(sstable.NoTransforms, lower, upper, sstable.AssertNoBlobHandles)
	if err != nil {
		release()
		return nil, t.cache.failed(s, err)
	}
	it.SetCloseHook(release)
	return it, nil
}

// get returns a copy of the newest value of a key; there is false when no layer has it or it is deleted.
func (t tables) get(layers []layer, key []byte) (value []byte, there bool, err error) {
	value, found, deleted, err := t.find(layers, key)
	return value, found && !deleted, err
}

// find is get that tells a deleted key from one that no layer has.
func (t tables) find(layers []layer, key []byte) (value []byte, found, deleted bool, err error) {
	for _, l := range layers {
		i := sort.Search(len(l), func(i int) bool { return l[i].last >= string(key) })
		if i == len(l) || l[i].first > string(key) {
			continue
		}
		if value, found, deleted, err = t.findIn(&l[i], key); found || err != nil {
			return value, found, deleted, err
		}
	}
	return nil, false, false, nil
}

func (t tables) findIn(s *segment, key []byte) (value []byte, found, deleted bool, err error) {
	it, err := t.iterator(s, nil, nil)
	if err != nil {
		return nil, false, false, err
	}
	if kv := it.SeekPrefixGE(key, key, 0); kv != nil && bytes.Equal(kv.K.UserKey, key) {
		found = true
		if deleted = kv.Kind() == pebble.InternalKeyKindDelete; !deleted {
			value = append([]byte{}, kv.InPlaceValue()...)
		}
	}
	err = it.Error()
	if closing := it.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, false, false, t.cache.failed(s, err)
	}
	return value, found, deleted, nil
}

// before returns the greatest key from lower on that is below upper, in any layer.
func (t tables) before(layers []layer, lower, upper []byte) (key []byte, found bool, err error) {
	for _, l := range layers {
		// The segment that holds the greatest key below upper: the last that begins below it.
		i := sort.Search(len(l), func(i int) bool { return l[i].first >= string(upper) }) - 1
		if i < 0 || l[i].last < string(lower) {
			continue
		}
		it, err := t.iterator(&l[i], lower, nil)
		if err != nil {
			return nil, false, err
		}
		if kv := it.SeekLT(upper, 0); kv != nil && bytes.Compare(kv.K.UserKey, key) > 0 {
			key, found = append(key[:0], kv.K.UserKey...), true
		}
		err = it.Error()
		if closing := it.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return nil, false, t.cache.failed(&l[i], err)
		}
	}
	return key, found, nil
}

// scan calls visit with the newest version of each key from lower on and below upper (nil: the end), by rising key, deleted
// ones included, until visit returns false. Key and value are valid until visit returns.
func (t tables) scan(layers []layer, lower, upper []byte, visit func(key, value []byte, deleted bool) (bool, error)) (err error) {
	var cursors []*cursor // newest first
	defer func() {
		for _, c := range cursors {
			if closing := c.close(); err == nil {
				err = closing
			}
		}
	}()
	for _, l := range layers {
		c := &cursor{tables: t, layer: l, lower: lower, upper: upper}
		cursors = append(cursors, c)
		if err := c.begin(); err != nil {
			return err
		}
	}
	for {
		var least *cursor
		for _, c := range cursors {
			if c.key != nil && (least == nil || bytes.Compare(c.key, least.key) < 0) {
				least = c
			}
		}
		if least == nil {
			return nil
		}
		for _, c := range cursors { // older versions are passed over
			if c != least && c.key != nil && bytes.Equal(c.key, least.key) {
				if err := c.next(); err != nil {
					return err
				}
			}
		}
		if more, err := visit(least.key, least.value, least.deleted); err != nil || !more {
			return err
		}
		if err := least.next(); err != nil {
			return err
		}
	}
}

// cursor goes through one layer.
type cursor struct {
	tables
	layer        layer
	lower, upper []byte
	at           int // the segment that it reads
	it           sstable.Iterator
	key, value   []byte // of the row it is at; key is nil at the end
	deleted      bool
}

// set notes the row it is at.
func (c *cursor) set(key, value []byte, kind pebble.InternalKeyKind) {
	c.key, c.value, c.deleted = key, value, kind == pebble.InternalKeyKindDelete
}

func (c *cursor) begin() error {
	c.at = sort.Search(len(c.layer), func(i int) bool { return c.layer[i].last >= string(c.lower) })
	return c.open()
}

// open goes to the first row of the segment at hand, or of one behind it.
func (c *cursor) open() (err error) {
	for ; c.at < len(c.layer); c.at++ {
		s := &c.layer[c.at]
		if c.upper != nil && s.first >= string(c.upper) {
			return nil
		}
		if c.it, err = c.iterator(s, c.lower, c.upper); err != nil {
			return err
		}
		if kv := c.it.SeekGE(c.lower, 0); kv != nil {
			c.set(kv.K.UserKey, kv.InPlaceValue(), kv.Kind())
			return nil
		}
		if err := c.close(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) next() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if kv := c.it.Next(); kv != nil {
		c.set(kv.K.UserKey, kv.InPlaceValue(), kv.Kind())
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	c.at++
	return c.open()
}

func (c *cursor) close() error {
	if c.it == nil {
		return nil
	}
	err := c.it.Error()
	if closing := c.it.Close(); err == nil {
		err = closing
	}
	c.it, c.key, c.value = nil, nil, nil
	if err != nil {
		return c.cache.failed(&c.layer[c.at], err)
	}
	return nil
}

// after returns the end of the keys that begin with prefix; nil if they have no end.
func after(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
