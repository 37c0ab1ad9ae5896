package pebble

import (
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/journal/mailbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// tailRecords is how many recent records a partition keeps in memory at most. Of those that all its readers have read it
// keeps the newest tailRead: they are what histories are asked for.
const (
	tailRecords = 4096
	tailRead    = 256
)

// partition is one partition of the open store.
type partition struct {
	id  events.Partition
	box *mailbox.Mailbox

	// Only the committer touches these.
	epoch   uint64
	written events.Seq // the last one in a batch, durable or on the way
	writer  *owner     // whose commits are due

	trimming sync.Mutex // held while records are deleted

	mu        sync.Mutex
	owner     *owner // whose ownership is known to its user
	first     events.Seq
	last      events.Seq // durable
	tail      []tailRecord
	tailBytes int // of tail
	tailLimit int
	holds     map[string]events.Seq
	readers   []*following
}

// following is what a reader reads next in a partition.
type following struct {
	reader *reader
	part   *partition
	next   events.Seq // changed by the reader alone, under the partition's mu
}

// tailRecord is a recent record with the size of its frame.
type tailRecord struct {
	record *events.Record
	size   int
}

// loadPartitions reads what the store knows of its partitions.
func (s *Store) loadPartitions() error {
	for n := range s.format.Partitions {
		p := &partition{
			id: events.Partition(n), box: mailbox.New(s.options.ClientLimit), tailLimit: s.options.TailBytes, first: 1,
			holds: map[string]events.Seq{},
		}
		key := prefix(famPartition, p.id)
		value, err := getCopy(s.db, key)
		if err != nil {
			return err
		}
		if value != nil {
			epoch, err := readSeq(key, value)
			if err != nil {
				return err
			}
			p.epoch = uint64(epoch)
		}
		if p.first, p.last, err = readBounds(s.db, p.id); err != nil {
			return err
		}
		p.written = p.last
		lower := prefix(famHold, p.id)
		err = scan(s.db, lower, after(lower), func(key, value []byte) (bool, error) {
			seq, err := readSeq(key, value)
			p.holds[string(key[3:])] = seq
			return err == nil, err
		})
		if err != nil {
			return err
		}
		s.parts = append(s.parts, p)
	}
	return nil
}

// readBounds reads the first readable and the last durable sequence number of a partition.
func readBounds(db pebble.Reader, p events.Partition) (first, last events.Seq, err error) {
	first = 1
	key := prefix(famFirst, p)
	value, err := getCopy(db, key)
	if err != nil {
		return 0, 0, err
	}
	if value != nil {
		if first, err = readSeq(key, value); err != nil {
			return 0, 0, err
		}
	}
	lower := prefix(famEvent, p)
	last = first - 1
	err = iterate(db, lower, after(lower), func(it *pebble.Iterator) error {
		if !it.Last() {
			return nil
		}
		seq, ok := seqOf(it.Key())
		if !ok {
			return damaged(it.Key(), "the key is not that of a record")
		}
		last = max(last, seq)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return first, last, nil
}

// scan calls row for the keys from lower to before upper until it returns false. Key and value are valid during the call.
func scan(db pebble.Reader, lower, upper []byte, row func(key, value []byte) (bool, error)) error {
	return iterate(db, lower, upper, func(it *pebble.Iterator) error {
		for it.First(); it.Valid(); it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				return readError(lower, err)
			}
			if more, err := row(it.Key(), value); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// iterate lets use read the keys from lower to before upper with an iterator of its own. What the iterator met on the way is an
// error even if use does not say so.
func iterate(db pebble.Reader, lower, upper []byte, use func(*pebble.Iterator) error) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(lower, err)
	}
	if err := use(it); err != nil {
		_ = it.Close() // its error would hide the cause
		return err
	}
	if err := it.Close(); err != nil {
		return readError(lower, err)
	}
	return nil
}

// show makes durable records readable and wakes the readers.
func (p *partition) show(records []*events.Record, sizes []int) {
	if len(records) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range records {
		p.tail = append(p.tail, tailRecord{record: r, size: sizes[i]})
		p.tailBytes += sizes[i]
	}
	p.last = records[len(records)-1].Seq
	limit := p.tailWanted()
	drop := 0
	for ; drop < len(p.tail)-1 && (p.tailBytes > p.tailLimit || len(p.tail)-drop > limit); drop++ {
		p.tailBytes -= p.tail[drop].size
	}
	clear(p.tail[:drop])
	p.tail = p.tail[drop:]
	for _, f := range p.readers {
		f.reader.wake()
	}
}

// tailWanted is how many recent records are worth their memory: what a reader has not read yet, and a few. mu is held.
func (p *partition) tailWanted() int {
	if len(p.readers) == 0 {
		return tailRecords
	}
	unread := events.Seq(0)
	for _, f := range p.readers {
		unread = max(unread, p.last+1-min(f.next, p.last+1))
	}
	return int(min(max(unread, tailRead), tailRecords))
}

// fromTail returns up to limit records from seq on, nil if the first is not in memory. mu is held.
func (p *partition) fromTail(seq events.Seq, limit int) []tailRecord {
	begin := p.last + 1 - events.Seq(len(p.tail))
	if seq < begin || seq > p.last {
		return nil
	}
	found := p.tail[seq-begin:]
	return found[:min(limit, len(found))]
}

func (p *partition) leave(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers = slices.DeleteFunc(p.readers, func(f *following) bool { return f.reader == r })
}
