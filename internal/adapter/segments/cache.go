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

	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
)

// cacheSuffix ends the name of a file in the local directory; others are left alone, but for unfinished ones.
const cacheSuffix = ".segment"

// cache holds whole segments: in memory, and in a local directory if there is one. What comes from anywhere is checked
// against its manifest before it is used. A directory that fails is done without.
type cache struct {
	objects objectstore.Store
	logger  *slog.Logger
	dir     string

	mu     sync.Mutex
	memory recency[*sstable.Reader]
	files  recency[struct{}]
}

func openCache(o Options) (*cache, error) {
	c := &cache{objects: o.Objects, logger: o.Logger, dir: o.Directory}
	c.memory.limit, c.files.limit = o.MemoryBytes, o.DirectoryBytes
	if c.dir == "" {
		return c, nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("the local cache of segments: %w", err)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("the local cache of segments: %w", err)
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
		c.files.put(strings.TrimSuffix(info.Name(), cacheSuffix), info.Size(), struct{}{})
	}
	c.shrink()
	return c, nil
}

// fileName is the name of a segment's file without its suffix.
func fileName(object string) string { return strings.ReplaceAll(object, "/", ".") }

// open returns a reader of a segment. It needs no closing.
func (c *cache) open(ctx context.Context, s *segment) (*sstable.Reader, error) {
	c.mu.Lock()
	r, ok := c.memory.get(s.name)
	c.mu.Unlock()
	if ok {
		return r, nil
	}
	data := c.fromFile(s)
	if data == nil {
		var err error
		if data, err = c.objects.Get(ctx, s.name); err != nil {
			return nil, fmt.Errorf("segment %s: %w", s.name, err)
		}
		if err := s.check(data); err != nil {
			return nil, fmt.Errorf("%w: %w", journal.ErrDamaged, err)
		}
		c.toFile(s.name, data)
	}
	return c.keep(s, data)
}

// keep keeps a segment in memory.
func (c *cache) keep(s *segment, data []byte) (*sstable.Reader, error) {
	r, err := openSegment(s.name, data)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.put(s.name, s.size, r)
	for c.memory.over() {
		c.memory.evict() // whoever reads it has it still
	}
	return r, nil
}

// fromFile returns a segment from the directory; nil when it is not there, or damaged.
func (c *cache) fromFile(s *segment) []byte {
	name := fileName(s.name)
	c.mu.Lock()
	_, ok := c.files.get(name)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(c.dir, name+cacheSuffix))
	if err == nil {
		err = s.check(data)
	}
	if err != nil {
		c.logger.Warn("a segment in the local cache is damaged; it is fetched again", slog.String("segment", s.name), slog.String("error", err.Error()))
		c.drop(s.name)
		return nil
	}
	return data
}

// toFile writes a segment into the directory. It is not synced: what a crash leaves of it is noticed.
func (c *cache) toFile(object string, data []byte) {
	if c.dir == "" || int64(len(data)) > c.files.limit {
		return
	}
	path := filepath.Join(c.dir, fileName(object)+cacheSuffix)
	err := os.WriteFile(path+".tmp", data, 0o600)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		c.logger.Warn("a segment could not be written into the local cache", slog.String("segment", object), slog.String("error", err.Error()))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files.put(fileName(object), int64(len(data)), struct{}{})
	c.shrink()
}

// shrink deletes files until the directory is within its bound.
func (c *cache) shrink() {
	for c.files.over() {
		c.remove(c.files.evict())
	}
}

func (c *cache) remove(name string) {
	if err := os.Remove(filepath.Join(c.dir, name+cacheSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.logger.Warn("a file of the local cache could not be deleted", slog.String("file", name), slog.String("error", err.Error()))
	}
}

// drop forgets a segment.
func (c *cache) drop(object string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.drop(object)
	if name := fileName(object); c.files.drop(name) {
		c.remove(name)
	}
}

// recency is a set of named things with sizes, and which of them was used least lately.
type recency[T any] struct {
	limit int64
	bytes int64
	byKey map[string]*list.Element
	order list.List // of *kept[T], the one used last in front
}

type kept[T any] struct {
	key   string
	bytes int64
	value T
}

func (r *recency[T]) get(key string) (value T, ok bool) {
	e, ok := r.byKey[key]
	if !ok {
		return value, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*kept[T]).value, true
}

func (r *recency[T]) put(key string, bytes int64, value T) {
	r.drop(key)
	if r.byKey == nil {
		r.byKey = map[string]*list.Element{}
	}
	r.byKey[key] = r.order.PushFront(&kept[T]{key, bytes, value})
	r.bytes += bytes
}

func (r *recency[T]) drop(key string) bool {
	e, ok := r.byKey[key]
	if ok {
		r.bytes -= r.order.Remove(e).(*kept[T]).bytes
		delete(r.byKey, key)
	}
	return ok
}

func (r *recency[T]) over() bool { return r.bytes > r.limit }

// evict forgets what was used least lately and returns its key.
func (r *recency[T]) evict() string {
	key := r.order.Back().Value.(*kept[T]).key
	r.drop(key)
	return key
}
