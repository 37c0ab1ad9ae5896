package segments

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// lookLeast is how long a manifest is used at least when a newer one would only save reading.
const lookLeast = time.Second

// reading reads the histories of a partition: those below the position of a manifest from segments, the others from the log.
// The latter it keeps in memory, up to a bound, and reads on when it is asked.
type reading struct {
	store *Store
	id    events.Partition

	old struct { // apart, because the owner holds its own lock when it sets it
		sync.Mutex
		is bool
	}

	mu     sync.Mutex
	v      *version // nil before the first
	looked time.Duration
	reader journal.Reader // at next; nil while it is not open
	next   events.Seq     // the tail has the records from v.next on and below
	tail   map[events.RunID][]tailRecord
	bytes  int
	scrap  []byte // of encoding, to measure records
}

type tailRecord struct {
	*events.Record
	bytes int
}

// outdated says that there is a newer manifest.
func (r *reading) outdated() {
	r.old.Lock()
	defer r.old.Unlock()
	r.old.is = true
}

func (r *reading) wasOutdated() bool {
	r.old.Lock()
	defer r.old.Unlock()
	was := r.old.is
	r.old.is = false
	return was
}

func (r *reading) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
}

// stop ends the reading of the log.
func (r *reading) stop() {
	if r.reader != nil {
		r.reader.Close()
		r.reader = nil
	}
}

// look reads the newest manifest and forgets what it has of the tail.
func (r *reading) look(ctx context.Context) error {
	v, _, err := r.store.newest(ctx, r.id)
	if err != nil {
		return err
	}
	r.looked = r.store.options.Clock.Boot()
	if r.v != nil && v.next < r.v.next {
		return nil // of a former owner, late
	}
	r.v = v
	if first := max(v.next, 1); r.next < first {
		r.stop()
		r.next, r.tail, r.bytes = first, map[events.RunID][]tailRecord{}, 0
		return nil
	}
	for run, records := range r.tail {
		n, _ := slices.BinarySearchFunc(records, v.next, func(t tailRecord, next events.Seq) int { return cmp.Compare(t.Seq, next) })
		for _, t := range records[:n] {
			r.bytes -= t.bytes
		}
		if r.tail[run] = slices.Clone(records[n:]); n == len(records) {
			delete(r.tail, run)
		}
	}
	return nil
}

// catchUp makes sure that segments and tail have everything that the log shows now, or that the bound is reached.
func (r *reading) catchUp(ctx context.Context) (last events.Seq, err error) {
	age := r.store.options.Clock.Boot() - r.looked
	if outdated := r.wasOutdated(); outdated || r.v == nil || age >= r.store.options.LookEvery || age >= lookLeast && r.bytes > r.store.options.TailBytes/2 {
		if err := r.look(ctx); err != nil {
			return 0, err
		}
	}
	_, last = r.store.options.Log.Bounds(r.id)
	err = r.follow(ctx, last)
	if errors.Is(err, journal.ErrTrimmed) { // so there is a newer manifest
		if err = r.look(ctx); err == nil {
			err = r.follow(ctx, last)
		}
		if errors.Is(err, journal.ErrTrimmed) {
			err = fmt.Errorf("%w: the histories of partition %d end at %d, and its log begins later: %w", journal.ErrDamaged, r.id, r.v.next, err)
		}
	}
	return last, err
}

// follow reads the log into the tail, up to last or the bound.
func (r *reading) follow(ctx context.Context, last events.Seq) (err error) {
	for r.next <= last && r.bytes < r.store.options.TailBytes {
		if r.reader == nil {
			if r.reader, err = r.store.options.Log.Follow(ctx, []journal.Position{{Partition: r.id, Next: r.next}}); err != nil {
				return fmt.Errorf("reading the log of partition %d from %d: %w", r.id, r.next, err)
			}
		}
		records, err := r.reader.Next(ctx, readLimit)
		if err != nil {
			r.stop()
			return fmt.Errorf("reading the log of partition %d from %d: %w", r.id, r.next, err)
		}
		for _, record := range records {
			r.next = record.Seq + 1
			if len(record.Events) == 0 || record.RunID.IsZero() {
				continue
			}
			r.scrap = events.AppendRecord(r.scrap[:0], record)
			size := len(r.scrap)
			r.tail[record.RunID] = append(r.tail[record.RunID], tailRecord{record, size})
			r.bytes += size
		}
	}
	return nil
}

// sight is what is known of a run, or of all, at one moment.
type sight struct {
	v    *version
	tail []tailRecord // of the run that was asked for
	next events.Seq   // the records from here to last are in the log only
	last events.Seq
}

// see looks at one run; with runs it also returns all that the tail has.
func (r *reading) see(ctx context.Context, run events.RunID) (sight, []events.RunID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, err := r.catchUp(ctx)
	if err != nil {
		return sight{}, nil, err
	}
	s := sight{v: r.v, tail: r.tail[run], next: r.next, last: last}
	s.tail = slices.Clip(s.tail)
	if !run.IsZero() {
		return s, nil, nil
	}
	return s, slices.Collect(maps.Keys(r.tail)), nil
}

// again calls read until it meets nothing that is deleted meanwhile, segments or the log's beginning, each time with a newer
// manifest.
func (r *reading) again(ctx context.Context, read func() error) error {
	for {
		err := read()
		if errors.Is(err, journal.ErrDamaged) || !errors.Is(err, objectstore.ErrNotFound) && !errors.Is(err, journal.ErrTrimmed) {
			return err
		}
		r.mu.Lock()
		before := r.v
		failed := r.look(ctx)
		same := before != nil && r.v.name == before.name
		r.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case same:
			return fmt.Errorf("%w: what the newest manifest of partition %d needs is not there: %w", journal.ErrDamaged, r.id, err)
		}
	}
}

// History returns what the segments have, then the tail, then what only the log has. It sees what the journal of this process
// has shown.
func (a archivePort) History(
	ctx context.Context, p events.Partition, run events.RunID, from, to events.EventNumber, limitBytes int,
) (records []*events.Record, next events.EventNumber, err error) {
	if a.store.options.Log == nil {
		return nil, 0, errNoLog
	}
	err = a.store.reading[p].again(ctx, func() error {
		records, next, err = a.history(ctx, p, run, from, to, limitBytes)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return records, next, nil
}

// page is a part of a history that is being read.
type page struct {
	from, to events.EventNumber
	limit    int

	records []*events.Record
	bytes   int
	next    events.EventNumber
	seen    bool // the run is known
}

// add takes the next record of the run; false when that is enough.
func (p *page) add(r *events.Record, bytes int) bool {
	p.seen = true
	switch {
	case r.Last() < p.from:
		return true
	case p.to != 0 && r.First > p.to:
		return false
	case len(p.records) > 0 && p.bytes >= p.limit:
		p.next = r.First
		return false
	}
	p.records = append(p.records, r)
	p.bytes += bytes
	return true
}

var errEnough = errors.New("enough")

func (a archivePort) history(
	ctx context.Context, id events.Partition, run events.RunID, from, to events.EventNumber, limit int,
) ([]*events.Record, events.EventNumber, error) {
	unknown := fmt.Errorf("run %s: %w", run, archive.ErrNotFound)
	if a.store.owned[id].forgotten.has(run) {
		return nil, 0, unknown
	}
	s, _, err := a.store.reading[id].see(ctx, run)
	if err != nil {
		return nil, 0, err
	}
	p := &page{from: from, to: to, limit: limit}
	more, err := a.archived(ctx, s.v, run, p)
	if err != nil {
		if errors.Is(err, archive.ErrNotFound) {
			err = unknown
		}
		return nil, 0, err
	}
	for i := 0; more && i < len(s.tail); i++ {
		more = p.add(s.tail[i].Record, s.tail[i].bytes)
	}
	if more {
		err = a.store.read(ctx, id, s.next, s.last, func(r *events.Record) error {
			if r.RunID == run && len(r.Events) > 0 && !p.add(r, len(events.AppendRecord(nil, r))) {
				return errEnough
			}
			return nil
		})
	}
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return nil, 0, err
	case !p.seen:
		return nil, 0, unknown
	}
	return p.records, p.next, nil
}

// archived adds what segments have of a run; more is false when that is enough.
func (a archivePort) archived(ctx context.Context, v *version, run events.RunID, p *page) (more bool, err error) {
	t := tables{ctx, a.store.cache}
	switch _, _, forgotten, err := t.find(v.histories, run[:]); {
	case err != nil:
		return false, err
	case forgotten:
		return false, archive.ErrNotFound
	}
	// The record with event from begins at or before it.
	lower := historyKey(run, 0)
	if first, ok, err := t.before(v.histories, lower, historyKey(run, p.from+1)); err != nil {
		return false, err
	} else if ok {
		lower = first
	}
	more = true
	err = t.scan(v.histories, lower, after(run[:]), func(_, value []byte, _ bool) (bool, error) {
		r, err := events.DecodeRecord(value)
		if err != nil {
			return false, fmt.Errorf("%w: the history of run %s: %w", journal.ErrDamaged, run, err)
		}
		more = p.add(r, len(value))
		return more, nil
	})
	return more, err
}

// Runs goes from run to run, however long their histories are.
func (a archivePort) Runs(ctx context.Context, p events.Partition, above events.RunID, limit int) (runs []events.RunID, err error) {
	if a.store.options.Log == nil {
		return nil, errNoLog
	}
	err = a.store.reading[p].again(ctx, func() error {
		runs, err = a.runs(ctx, p, above, limit)
		return err
	})
	return runs, err
}

func (a archivePort) runs(ctx context.Context, p events.Partition, above events.RunID, limit int) (runs []events.RunID, err error) {
	s, late, err := a.store.reading[p].see(ctx, events.RunID{})
	if err != nil {
		return nil, err
	}
	err = a.store.read(ctx, p, s.next, s.last, func(r *events.Record) error {
		if len(r.Events) > 0 && !r.RunID.IsZero() {
			late = append(late, r.RunID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	order := func(a, b events.RunID) int { return bytes.Compare(a[:], b[:]) }
	late = slices.DeleteFunc(late, func(run events.RunID) bool { return order(run, above) <= 0 })
	slices.SortFunc(late, order)
	late = slices.Compact(late)
	t := tables{ctx, a.store.cache}
	for len(runs) < limit {
		run, ok, err := t.nextRun(s.v.histories, above)
		switch {
		case err != nil:
			return nil, err
		case ok && (len(late) == 0 || order(run, late[0]) <= 0):
		case len(late) == 0:
			return runs, nil
		default:
			run = late[0]
		}
		above = run
		if len(late) > 0 && late[0] == run {
			late = late[1:]
		}
		_, _, forgotten, err := t.find(s.v.histories, run[:])
		if err != nil {
			return nil, err
		}
		if !forgotten && !a.store.owned[p].forgotten.has(run) {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// nextRun returns the least run above one that a table mentions.
func (t tables) nextRun(histories []layer, above events.RunID) (run events.RunID, ok bool, err error) {
	var lower []byte
	if !above.IsZero() {
		if lower = after(above[:]); lower == nil {
			return run, false, nil // there is none
		}
	}
	err = t.scan(histories, lower, nil, func(key, _ []byte, _ bool) (bool, error) {
		copy(run[:], key)
		ok = true
		return false, nil
	})
	return run, ok, err
}
