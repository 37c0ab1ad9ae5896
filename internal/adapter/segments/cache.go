package segments

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
)

// cacheSuffix ends the name of a file in the local directory; others are left alone, but for unfinished ones.
const cacheSuffix = ".segment"

// maxCached bounds the segments of a cache, and so the open files.
const maxCached = 1_000

// blockBytesCached bounds the blocks of all segments, filters and indexes among them, that are kept ready for reading.
const blockBytesCached = 32 << 20

// cache holds whole segments: in a local directory if there is one, else in memory. What comes from anywhere is checked
// against its manifest before it is used. What does not fit, or cannot be written, is read from memory while it is needed.
type cache struct {
	objects objectstore.Store
	logger  *slog.Logger
	dir     string
	limit   int64
	blocks  *pebble.Cache
	options sstable.ReaderOptions // with blocks

	mu    sync.Mutex
	made  uint64 // readers
	bytes int64
	byKey map[string]*list.Element
	order list.List // of *cached, the one used last in front
}

// cached is a segment in the cache, or one that is still read though it no longer is there.
type cached struct {
	key    string
	bytes  int64
	reader *sstable.Reader // nil while the file is not open
	evict  func()          // forgets its blocks
	users  int
	gone   bool
}

func openCache(o Options) (*cache, error) {
	c := &cache{objects: o.Objects, logger: o.Logger, dir: o.Directory, limit: o.MemoryBytes, byKey: map[string]*list.Element{}}
	c.blocks = pebble.NewCache(blockBytesCached)
	filter := bloom.FilterPolicy(bitsPerKey)
	c.options = sstable.ReaderOptions{Filters: map[string]sstable.FilterPolicy{filter.Name(): filter}}
	c.options.CacheOpts.CacheHandle = c.blocks.NewHandle()
	if c.dir != "" {
		c.limit = o.DirectoryBytes
		if err := c.openDir(); err != nil {
			c.close()
			return nil, fmt.Errorf("the local cache of segments: %w", err)
		}
	}
	return c, nil
}

// openDir takes over what the directory has. It is checked when it is read.
func (c *cache) openDir() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var found []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil: // it has just gone
		case strings.HasSuffix(e.Name(), cacheSuffix):
			found = append(found, info)
		case strings.HasSuffix(e.Name(), cacheSuffix+".tmp"):
			_ = os.Remove(filepath.Join(c.dir, e.Name())) // one that stays costs its bytes only
		}
	}
	slices.SortFunc(found, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range found {
		c.insert(&cached{key: strings.TrimSuffix(info.Name(), cacheSuffix), bytes: info.Size()})
	}
	return nil
}

// close closes all files. Nothing is read any more.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.byKey {
		c.closeReader(e.Value.(*cached))
	}
	c.options.CacheOpts.CacheHandle.Close()
	c.blocks.Unref()
}

// keyOf is the key of an object in the cache, and the name of its file without suffix.
func keyOf(object string) string { return strings.ReplaceAll(object, "/", ".") }

func (c *cache) path(key string) string { return filepath.Join(c.dir, key+cacheSuffix) }

// open returns a reader of a segment, and what is called when it is no longer used.
func (c *cache) open(ctx context.Context, s *segment) (*sstable.Reader, func(), error) {
	if r, release, ok := c.opened(s); ok {
		return r, release, nil
	}
	data, err := c.objects.Get(ctx, s.name)
	if err != nil {
		return nil, nil, fmt.Errorf("segment %s: %w", s.name, err)
	}
	if err := s.check(data); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", journal.ErrDamaged, err)
	}
	c.add(s.name, data)
	if r, release, ok := c.opened(s); ok {
		return r, release, nil
	}
	k := &cached{users: 1, gone: true} // it does not fit
	if err := c.read(k, memoryFile(data)); err != nil {
		return nil, nil, fmt.Errorf("%w: segment %s: %w", journal.ErrDamaged, s.name, err)
	}
	return k.reader, func() { c.release(k) }, nil
}

// release ends one use of a segment.
func (c *cache) release(k *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.users--; k.users == 0 && k.gone {
		c.closeReader(k)
	}
}

// opened returns a reader of a segment that the cache has.
func (c *cache) opened(s *segment) (*sstable.Reader, func(), bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[keyOf(s.name)]
	if !ok {
		return nil, nil, false
	}
	k := e.Value.(*cached)
	if k.reader == nil {
		if err := c.readFile(k, s); err != nil {
			c.logger.Warn("a segment in the local cache cannot be read; it is fetched again", slog.String("segment", s.name), slog.String("error", err.Error()))
			c.remove(e)
			return nil, nil, false
		}
	}
	c.order.MoveToFront(e)
	k.users++
	return k.reader, func() { c.release(k) }, true
}

// readFile opens a file and checks it as a whole. Later each block is checked when it is read. The lock is held.
func (c *cache) readFile(k *cached, s *segment) error {
	data, err := os.ReadFile(c.path(k.key))
	if err == nil {
		err = s.check(data)
	}
	if err != nil {
		return err
	}
	return c.openFile(k)
}

// openFile opens a file that was checked. The lock is held.
func (c *cache) openFile(k *cached) error {
	f, err := vfs.Default.Open(c.path(k.key))
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return c.readLocked(k, readable)
}

// memoryFile is a segment in memory.
func memoryFile(data []byte) objstorage.Readable {
	f := &objstorage.MemObj{}
	_ = f.Write(data) // memory takes it
	return f
}

func (c *cache) read(k *cached, f objstorage.Readable) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readLocked(k, f)
}

// readLocked makes the reader of a segment, with a number of its own for its blocks. The lock is held.
func (c *cache) readLocked(k *cached, f objstorage.Readable) (err error) {
	c.made++
	o := c.options
	setNumber(&o.CacheOpts.FileNum, c.made)
	if k.reader, err = sstable.NewReader(context.Background(), f, o); err != nil {
		return errors.Join(err, f.Close())
	}
	k.evict = func() { o.CacheOpts.CacheHandle.EvictFile(o.CacheOpts.FileNum) }
	return nil
}

// setNumber sets a number of a type that Pebble does not export.
func setNumber[N ~uint64](to *N, n uint64) { *to = N(n) }

// add takes a segment into the cache. A file is not synced: what a crash leaves of it is noticed.
func (c *cache) add(object string, data []byte) {
	k := &cached{key: keyOf(object), bytes: int64(len(data))}
	if k.bytes > c.limit {
		return
	}
	if err := c.fill(k, data); err != nil {
		c.logger.Warn("a segment could not be taken into the local cache", slog.String("segment", object), slog.String("error", err.Error()))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.insert(k)
	if err := c.openNew(k, data); err != nil {
		c.logger.Warn("a segment could not be taken into the local cache", slog.String("segment", object), slog.String("error", err.Error()))
		c.remove(c.byKey[k.key])
	}
}

// openNew opens what was just taken in and needs no checking. The lock is held.
func (c *cache) openNew(k *cached, data []byte) error {
	if c.dir == "" {
		return c.readLocked(k, memoryFile(data))
	}
	return c.openFile(k)
}

// fill writes a segment into the directory.
func (c *cache) fill(k *cached, data []byte) error {
	if c.dir == "" {
		return nil
	}
	f, err := os.CreateTemp(c.dir, k.key+".*"+cacheSuffix+".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.path(k.key))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// insert puts an entry in front and keeps the bounds. The lock is held.
func (c *cache) insert(k *cached) {
	if e, ok := c.byKey[k.key]; ok {
		c.forget(e)
	}
	c.byKey[k.key] = c.order.PushFront(k)
	for c.bytes += k.bytes; c.bytes > c.limit || len(c.byKey) > maxCached; {
		c.remove(c.order.Back())
	}
}

// forget takes an entry out. Who reads it goes on. The lock is held.
func (c *cache) forget(e *list.Element) *cached {
	k := c.order.Remove(e).(*cached)
	delete(c.byKey, k.key)
	c.bytes -= k.bytes
	if k.gone = true; k.users == 0 {
		c.closeReader(k)
	}
	return k
}

// remove takes an entry out and deletes its file. The lock is held.
func (c *cache) remove(e *list.Element) {
	k := c.forget(e)
	if c.dir == "" {
		return
	}
	if err := os.Remove(c.path(k.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.logger.Warn("a file of the local cache could not be deleted", slog.String("file", k.key), slog.String("error", err.Error()))
	}
}

// closeReader closes a file that nobody reads. The lock is held.
func (c *cache) closeReader(k *cached) {
	if k.reader == nil {
		return
	}
	if err := k.reader.Close(); err != nil {
		c.logger.Warn("a file of the local cache could not be closed", slog.String("file", k.key), slog.String("error", err.Error()))
	}
	k.evict()
	k.reader = nil
}

// drop takes a segment out of the cache.
func (c *cache) drop(object string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[keyOf(object)]; ok {
		c.remove(e)
	}
}

// failed is the error of a segment that was checked and cannot be read. A local copy is dropped, so that trying again reads
// the object.
func (c *cache) failed(s *segment, err error) error {
	if c.dir == "" {
		return fmt.Errorf("%w: segment %s: %w", journal.ErrDamaged, s.name, err)
	}
	c.drop(s.name)
	return fmt.Errorf("the local copy of segment %s is damaged; the next reading fetches it again: %w", s.name, err)
}
