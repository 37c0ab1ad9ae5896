package scheduler

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// part is one partition: how far its log is folded, and what its index does not have yet.
type part struct {
	id     events.Partition
	next   events.Seq  // to fold
	saved  events.Seq  // next of the last save
	target events.Seq  // the last record of the log when the scheduler began
	time   events.Time // of the last record folded

	records int         // folded since the last save
	since   events.Time // when the first of them was folded
	oldest  events.Time // its time

	dirty map[dueindex.Key]mark // open, in memory, and not in the index as it is
	order []dueindex.Key        // the keys of dirty as they came; some have left again or come twice
	dead  map[dueindex.Key]struct{}
	ends  map[events.RunID]struct{} // ended since the last save, maybe with rows
	born  map[events.RunID]struct{} // begun since the last save: they have no rows

	scans  [3]scan // by kind, less one
	timers int     // in memory
}

// mark says where a dirty key is in the order, and whether the index may have an older row of it.
type mark struct {
	at    int
	rowed bool
}

// scan is how far ahead in time the index has been looked at for one kind. What is due up to the cursor is in memory, or
// counted as spilled by the matcher; what is due later is in memory only until it is saved.
type scan struct {
	kind   dueindex.Kind
	cursor dueindex.Item
	more   bool // the cursor stands among rows that are near enough
	asking bool
}

func newPart(id events.Partition) *part {
	p := &part{
		id: id, next: 1, dirty: make(map[dueindex.Key]mark), dead: make(map[dueindex.Key]struct{}), ends: make(map[events.RunID]struct{}),
		born: make(map[events.RunID]struct{}),
	}
	for i := range p.scans {
		p.scans[i] = scan{kind: dueindex.Kind(i + 1), more: true}
	}
	return p
}

// folding notes that a record is folded now.
func (p *part) folding(now events.Time, r *events.Record) {
	if p.records == 0 {
		p.since, p.oldest = now, r.Time
	}
	p.records++
	p.next = r.Seq + 1
	p.time = r.Time
}

// opened notes that key is open as it is in memory now. known says that it was in memory before, later that it is not the
// first of its key, so that the index may have an older row even if memory has not.
func (p *part) opened(key dueindex.Key, known, later bool) {
	if later && mutant.On(mutant.DueEntryNotAdded) {
		return
	}
	_, rowed := p.dead[key]
	delete(p.dead, key)
	if known {
		m, dirty := p.dirty[key]
		rowed = rowed || !dirty || m.rowed
	} else if later {
		_, born := p.born[key.RunID]
		rowed = rowed || !born
	}
	p.dirty[key] = mark{at: len(p.order), rowed: rowed}
	p.order = append(p.order, key)
}

// closed notes that key is over. known says that it was in memory.
func (p *part) closed(key dueindex.Key, known bool) {
	m, dirty := p.dirty[key]
	delete(p.dirty, key)
	if dirty && !m.rowed {
		return
	}
	if _, born := p.born[key.RunID]; born && !known || mutant.On(mutant.DueEntryNotRemoved) {
		return
	}
	p.dead[key] = struct{}{}
}

// ended notes that everything of a run is over.
func (p *part) ended(run events.RunID) {
	if _, born := p.born[run]; !born {
		p.ends[run] = struct{}{}
	}
}

// gone reports whether a row of the index is over although it is still there.
func (p *part) gone(key dueindex.Key) bool {
	if _, dead := p.dead[key]; dead {
		return true
	}
	_, ended := p.ends[key.RunID]
	return ended
}

// pending is about how many changes the next save has.
func (p *part) pending() int { return len(p.order) + len(p.dead) + len(p.ends) }

// clean forgets what a save has taken.
func (p *part) clean() {
	p.saved, p.records, p.since, p.oldest = p.next, 0, 0, 0
	clear(p.dirty)
	p.order = p.order[:0]
	clear(p.dead)
	clear(p.ends)
	clear(p.born)
}

func sortedKeys(m map[dueindex.Key]struct{}) []dueindex.Key {
	keys := make([]dueindex.Key, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b dueindex.Key) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.RunID[:], b.RunID[:]), cmp.Compare(a.Timer.Kind, b.Timer.Kind),
		cmp.Compare(a.Timer.Step, b.Timer.Step), cmp.Compare(a.Timer.Attempt, b.Timer.Attempt),
	)
}

func sortedRuns(m map[events.RunID]struct{}) []events.RunID {
	runs := make([]events.RunID, 0, len(m))
	for run := range m {
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b events.RunID) int { return bytes.Compare(a[:], b[:]) })
	return runs
}
