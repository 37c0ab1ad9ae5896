// Package pebble is the embedded store: one Pebble database per process, which makes the journal, the run store, the due
// index and the archive.
//
// One goroutine, the committer, merges what all partitions want durable into one synced batch at a time, and calls done and
// shows records to readers afterwards. Rows are written without a sync of their own; Pebble's one write-ahead log keeps
// them behind the records they follow. A failed write or sync is final: the store stops and [Options.OnFatal] is called.
package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/mailbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Options of a store. The zero value is usable.
type Options struct {
	// Partitions is the number of partitions of a new store; 0 means 4 (ADR 7), or what the store has. A store with another
	// number is refused with [ErrPartitions].
	Partitions int
	// ClientLimit is how many client commands may wait in a partition; 0 means [mailbox.DefaultClientLimit].
	ClientLimit int
	// DiskReserve is how many bytes must be free for client commands to be taken; 0 means 256 MiB, negative none. Commands
	// are taken again when an eighth more is free.
	DiskReserve int64
	// TailBytes is how many encoded bytes of recent records each partition keeps in memory for readers; 0 means 1 MiB.
	TailBytes int
	// Logger gets Pebble's messages at debug level; nil means none.
	Logger *slog.Logger
	// Clock dates a new store and measures commits; nil means the machine's.
	Clock clock.Clock
	// OnFatal is called once when a write or sync has failed: the process should end. It must not call the store. Nil means
	// that only the errors of calls tell.
	OnFatal func(error)

	fs       vfs.FS                           // of Pebble's files; nil means the machine's
	freeDisk func(dir string) (uint64, error) // nil means statfs
}

func (o *Options) setDefaults() {
	if o.ClientLimit == 0 {
		o.ClientLimit = mailbox.DefaultClientLimit
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = 256 << 20
	}
	if o.TailBytes == 0 {
		o.TailBytes = 1 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.freeDisk == nil {
		o.freeDisk = freeDisk
	}
}

// Store is an open data directory. Its methods may be called from any goroutine.
type Store struct {
	dir     string
	options Options
	format  Format
	lock    *os.File
	db      *pebble.DB
	owner   events.OwnerID
	parts   []*partition
	disk    diskWatch
	synced  watermark
	stats   counters

	committer committer
	gone      chan struct{} // closed when nothing is taken or shown any more
	fatalOnce sync.Once
	fatalErr  atomic.Pointer[error]
	closeOnce sync.Once
	closeErr  error
}

// Open opens the data directory, or makes it when it is missing or empty. Its errors wrap [ErrInUse], [ErrForeign],
// [ErrNewer], [ErrPartitions] or [ErrDamaged] where one of them is the reason.
func Open(dir string, o Options) (*Store, error) {
	o.setDefaults()
	kind, err := survey(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, options: o, lock: lock, gone: make(chan struct{})}
	if err := s.open(kind); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, errors.Join(err, unlockDir(lock))
	}
	return s, nil
}

func (s *Store) open(kind content) error {
	var err error
	if kind != contentStore {
		if kind, err = survey(s.dir); err != nil { // again, now that nobody else can make it
			return err
		}
	}
	if kind != contentStore {
		if err := s.create(); err != nil {
			return fmt.Errorf("making the store in %s: %w", s.dir, err)
		}
	}
	var format []byte
	if s.format, format, err = readFormat(s.dir); err != nil {
		return err
	}
	if want := s.options.Partitions; want != 0 && want != s.format.Partitions {
		return fmt.Errorf("%s: %w: %d, not %d; the number is fixed when a store is made", s.dir, ErrPartitions, s.format.Partitions, want)
	}
	if s.db, err = s.openDB(false); err != nil {
		return err
	}
	if err := verifyIdentity(s.db, s.dir, format); err != nil {
		return err
	}
	id, err := newOwner()
	if err != nil {
		return err
	}
	s.owner = id
	if err := s.loadPartitions(); err != nil {
		return err
	}
	if err := s.openWatermark(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, fileClean)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("beginning to write: %w", err)
	}
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("beginning to write: %w", err)
	}
	s.disk.init(s.dir, s.options)
	s.committer.init()
	go s.commitLoop()
	return nil
}

// newPartitions is the number of partitions of a store that is made without saying how many.
const newPartitions = 4

// create makes the store in an empty directory. FORMAT comes last, so that what is left of a failure is made anew.
func (s *Store) create() error {
	partitions := s.options.Partitions
	if partitions == 0 {
		partitions = newPartitions
	}
	if partitions < 1 || partitions > 1<<16-1 {
		return fmt.Errorf("%d partitions; a store has 1 to %d", partitions, 1<<16-1)
	}
	format, err := newFormat(partitions, s.options.Clock.Now())
	if err != nil {
		return err
	}
	text, err := format.encode()
	if err != nil {
		return err
	}
	if err := writeFile(s.dir, fileNew, text); err != nil {
		return err
	}
	if err := s.options.fs.RemoveAll(filepath.Join(s.dir, dirLog)); err != nil {
		return err
	}
	db, err := s.openDB(true)
	if err != nil {
		return err
	}
	err = s.guard(func() error { return db.Set(keyFormat, text, pebble.Sync) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, fileNew), filepath.Join(s.dir, fileFormat)); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// Format returns what the file FORMAT says.
func (s *Store) Format() Format { return s.format }

// Close stops the store in good order: commits that are queued are made, commands that wait are done with
// [journal.ErrLost], everything is durable. It returns the error that has stopped the store before, if there was one.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.stopCommitter()
	err := s.synced.file.Close()
	if fatal := s.fatalErr.Load(); fatal != nil {
		// Pebble's locks and files are in an unknown state; only the end of the process frees them.
		return errors.Join(fmt.Errorf("the store failed: %w", *fatal), unlockDir(s.lock))
	}
	mark, markErr := newMark()
	if err = errors.Join(err, markErr); err == nil {
		err = s.guard(func() error {
			if err := s.db.Set(keyMark, []byte(mark), pebble.Sync); err != nil {
				return err
			}
			return s.db.Flush()
		})
	}
	err = errors.Join(err, s.db.Close())
	if err == nil {
		err = writeFile(s.dir, fileClean, []byte(mark+"\n"))
	}
	return errors.Join(err, unlockDir(s.lock))
}

// fail stops the store for good.
func (s *Store) fail(err error) {
	s.fatalOnce.Do(func() {
		s.fatalErr.Store(&err)
		if s.options.OnFatal != nil {
			s.options.OnFatal(err)
		}
		s.committer.wake()
	})
}

// failure returns why the store does not write any more, nil while it does.
func (s *Store) failure() error {
	if err := s.fatalErr.Load(); err != nil {
		return fmt.Errorf("%w: the store failed: %w", journal.ErrClosed, *err)
	}
	return nil
}

// isGone reports whether nothing is taken any more.
func (s *Store) isGone() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// write applies rows without a sync of their own.
func (s *Store) write(b *pebble.Batch) error {
	defer b.Close() //nolint:errcheck // a batch that was applied has nothing to report
	if err := s.usable(); err != nil {
		return err
	}
	defer s.committer.rows.RUnlock()
	if b.Empty() {
		return nil
	}
	return s.guard(func() error { return b.Commit(pebble.NoSync) })
}

// usable keeps the store open until the caller releases committer.rows; an error says that it is not open.
func (s *Store) usable() error {
	s.committer.rows.RLock()
	if err := s.failure(); err != nil {
		s.committer.rows.RUnlock()
		return err
	}
	if s.committer.closed {
		s.committer.rows.RUnlock()
		return fmt.Errorf("embedded store: %w", journal.ErrClosed)
	}
	return nil
}
