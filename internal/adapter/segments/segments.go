// Package segments keeps the engine's rows and the histories of runs in a store of objects, for the shape in which several
// processes share partitions.
//
// Each partition has two tables, rows and histories. A table is a list of layers, newest first; a layer is a sorted run of
// segments; a segment is one immutable object with sorted keys. A manifest is one small object that names everything:
//
//	rows/<partition>/manifest/<next>-<writer>   checkpoint, layers of both tables; the greatest name counts, two are kept
//	rows/<partition>/segment/<writer>-<number>  a segment
//
// A write with a checkpoint makes new layers of what changed, then the manifest that names them: whoever opens the partition
// later finds all of it or nothing. Histories below the checkpoint are in the same manifest, so that the log can be trimmed.
// Layers are merged in the background. What no kept manifest names is deleted when no process can come to need it.
//
// One process writes a partition, its owner; any number read histories. Nothing local is needed: the directory is a cache.
// docs/internals/object-store.md has the rules and the reasons.
package segments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Defaults of the options.
const (
	DefaultMemoryBytes    = 128 << 20
	DefaultDirectoryBytes = 4 << 30
	DefaultSegmentBytes   = 8 << 20
	DefaultTailBytes      = 2 << 20
	DefaultLookEvery      = 30 * time.Second
)

// Options are what a store stands on, and its settings. Zero settings mean the defaults.
type Options struct {
	Objects objectstore.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	// Log is read for what is not yet in the objects. Without it there are rows only: the histories must not be used.
	Log journal.Follower
	// Partitions is how many there are.
	Partitions int
	// Directory is a local cache of segments, of this process alone, with up to DirectoryBytes. What is in it is checked, and
	// may be deleted while no process uses it. "" means that segments are cached in memory, up to MemoryBytes.
	Directory      string
	DirectoryBytes int64
	MemoryBytes    int64
	// SegmentBytes is about how large a segment gets, before compression.
	SegmentBytes int
	// TailBytes bounds, for each partition, the encoded records that are kept in memory because they are not yet in the
	// objects. Beyond it each reading of a history reads the log.
	TailBytes int
	// Claims says that nothing but the objects tells who owns a partition: whoever begins an ownership claims the partition,
	// and the one before it writes and deletes nothing any more that counts. Otherwise an owner commits to the log between two
	// checkpoints, as engines do.
	Claims bool
	// LookEvery is how old the manifest may be that histories are read by. A run that another process has forgotten may be
	// seen for so long.
	LookEvery time.Duration

	quiet bool // tests merge and delete when they want to
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Objects == nil || o.Clock == nil || o.Logger == nil || o.Partitions <= 0:
		return o, errors.New("segments: Objects, Clock, Logger and Partitions are needed")
	case o.DirectoryBytes < 0 || o.MemoryBytes < 0 || o.SegmentBytes < 0 || o.TailBytes < 0 || o.LookEvery < 0:
		return o, errors.New("segments: sizes and durations cannot be negative; 0 means the default")
	case o.SegmentBytes > objectstore.MaxObjectBytes/2:
		return o, fmt.Errorf("segments: a segment of %d bytes may not fit an object; at most %d", o.SegmentBytes, objectstore.MaxObjectBytes/2)
	}
	o.DirectoryBytes = cmp.Or(o.DirectoryBytes, DefaultDirectoryBytes)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, DefaultMemoryBytes)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, DefaultSegmentBytes)
	o.TailBytes = cmp.Or(o.TailBytes, DefaultTailBytes)
	o.LookEvery = cmp.Or(o.LookEvery, DefaultLookEvery)
	return o, nil
}

// Store is the rows and histories as one process sees them. Two engines must not share one: each has its own ownerships.
type Store struct {
	options Options
	cache   *cache
	owned   []*owned
	reading []*reading

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   chan struct{} // has a value when there may be something to tidy
	all    sync.WaitGroup
}

// Open opens a store. It reads nothing yet.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := openCache(o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, cache: c, work: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for p := range events.Partition(o.Partitions) {
		s.owned = append(s.owned, &owned{store: s, id: p, forgotten: &runSet{}})
		s.reading = append(s.reading, &reading{store: s, id: p})
	}
	if !o.quiet {
		s.all.Go(s.background)
	}
	return s, nil
}

// Close ends work in the background. What was written with a checkpoint is durable; the rest is made again from the log.
func (s *Store) Close() error {
	s.cancel()
	s.all.Wait()
	for _, r := range s.reading {
		r.close()
	}
	s.cache.close()
	return nil
}

// RunStore returns the rows. Its Checkpoint begins an ownership: it reads the newest manifest, and what this process wrote
// since the last checkpoint is forgotten. After a Write has failed, everything else fails until then. The Next of checkpoints
// rises.
func (s *Store) RunStore() runstore.Store { return rowsPort{s} }

// Checkpoint returns the Next of the newest checkpoint that any process has written of a partition; 0 when there is none.
func (s *Store) Checkpoint(ctx context.Context, p events.Partition) (events.Seq, error) {
	all, err := s.manifests(ctx, p)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].next, nil
}

// Archive returns the histories; it is an [archive.Lister] too. Append and Forget are for the owner, and durable with the next
// write of rows that has a checkpoint.
func (s *Store) Archive() archive.Archive { return archivePort{s} }

// background merges layers and deletes what nobody needs.
func (s *Store) background() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.work:
		}
		for _, o := range s.owned {
			if err := o.tidy(s.ctx); err != nil && s.ctx.Err() == nil {
				s.options.Logger.Warn("segments could not be merged or deleted; it is tried again", slog.Int("partition", int(o.id)),
					slog.String("error", err.Error()))
			}
		}
	}
}

// wake lets the background look.
func (s *Store) wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}
