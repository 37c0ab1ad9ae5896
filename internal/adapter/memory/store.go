// Package memory makes every port in memory, for tests and simulation: deterministic, without goroutines of its own, and
// with faults on request.
//
// A [Store] is one life of a process over a shared backing. [Store.Crash] ends that life as kill -9 does and returns the
// next one with what was durable: records and blobs always, rows as far as a commit followed them. Callbacks run on the
// goroutine that causes them, so that a single-threaded driver sees one order.
package memory

import (
	"fmt"
	"sync"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/mailbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Options of a store. The zero value is usable.
type Options struct {
	// Partitions of the log; 0 means 16.
	Partitions int
	// ClientLimit is how many client commands may wait in a partition; 0 means [mailbox.DefaultClientLimit].
	ClientLimit int
}

// Store is one life of a process over the backing. Its methods may be called from any goroutine.
type Store struct {
	disk  *disk
	life  uint64
	boxes []*mailbox.Mailbox
	inbox *Inbox

	// The rest is guarded by disk.mu.
	owners  []*owner // the present owner of each partition, or nil
	readers [][]*reader
	dones   []doneQueue
	faults  Faults
	gone    chan struct{} // closed when the life ends
	ended   bool
	crashed bool
}

// disk is what outlives a process.
type disk struct {
	mu         sync.Mutex
	options    Options
	lives      uint64
	partitions []*partition
	undo       undoLog
	holds      table[holdKey, events.Seq]
	rows       rowTables
	due        dueTables
	blobs      map[string][]byte
}

// partition is the log of one partition.
type partition struct {
	epoch   uint64
	first   events.Seq
	records []*events.Record // first … last
	history table[events.RunID, []*events.Record]
}

func (p *partition) last() events.Seq { return p.first + events.Seq(len(p.records)) - 1 }

// New makes an empty store.
func New(o Options) *Store {
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	d := &disk{options: o, blobs: map[string][]byte{}}
	d.holds.undo = &d.undo
	d.rows.init(&d.undo)
	d.due.init(&d.undo, o.Partitions)
	for range o.Partitions {
		p := &partition{first: 1}
		p.history.undo = &d.undo
		d.partitions = append(d.partitions, p)
	}
	return d.open()
}

func (d *disk) open() *Store {
	d.lives++
	s := &Store{
		disk: d, life: d.lives, inbox: NewInbox(), owners: make([]*owner, d.options.Partitions),
		readers: make([][]*reader, d.options.Partitions), dones: make([]doneQueue, d.options.Partitions), gone: make(chan struct{}),
	}
	for range d.options.Partitions {
		s.boxes = append(s.boxes, mailbox.New(d.options.ClientLimit))
	}
	return s
}

// Inbox returns the inbox of this life; nothing in it is durable.
func (s *Store) Inbox() *Inbox { return s.inbox }

// Close ends this life in good order: everything written is durable, and commands that wait are done with
// [journal.ErrLost].
func (s *Store) Close() {
	d := s.disk
	d.mu.Lock()
	if s.ended {
		d.mu.Unlock()
		return
	}
	d.undo.clear()
	s.end()
	for p, box := range s.boxes {
		s.dones[p].add(errClosedLost, box.Close())
	}
	d.mu.Unlock()
	for p := range s.boxes {
		s.drain(events.Partition(p))
	}
}

// Crash ends this life as kill -9 does and returns the next one. Commands that waited are gone and their done functions
// are never called. Of the writes of rows that no commit has followed, the oldest keep ones survive, each as a whole.
func (s *Store) Crash(keep int) *Store {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.ended {
		panic("memory: Crash of a store that has ended")
	}
	s.crashed = true
	d.undo.back(keep)
	s.end()
	for _, box := range s.boxes {
		box.Close()
	}
	return d.open()
}

// Reopen closes this life, if that has not been done, and returns the next one.
func (s *Store) Reopen() *Store {
	s.Close()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.disk.open()
}

// end closes owners and readers. The lock is held.
func (s *Store) end() {
	s.ended = true
	close(s.gone)
	for p, o := range s.owners {
		if o != nil {
			o.end()
			s.owners[p] = nil
		}
	}
}

// errClosedLost is both: nothing more happens here, and the outcome of what waited is unknown.
var errClosedLost = fmt.Errorf("%w: %w", journal.ErrLost, journal.ErrClosed)

// errEnded is what writing and reading rows of an ended life gives.
var errEnded = fmt.Errorf("memory store: %w", journal.ErrClosed)

// lock locks the backing for a life that goes on.
func (s *Store) lock() error {
	s.disk.mu.Lock()
	if s.ended {
		s.disk.mu.Unlock()
		return errEnded
	}
	return nil
}

func (s *Store) unlock() { s.disk.mu.Unlock() }
