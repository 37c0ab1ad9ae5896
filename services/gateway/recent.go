package gateway

import (
	"sync"

	"github.com/continuo-dev/continuo/pkg/events"
)

// recentBytes bounds the records kept for open runs, in estimated bytes of memory.
const recentBytes = 16 << 20

// recent keeps the newest records of open runs, as the tail brings them: what an activation has to be given is nearly always
// what was recorded a moment ago, and is not read from the store again.
type recent struct {
	mu    sync.Mutex
	runs  map[events.RunID]*recentRun
	order ring // of everything kept, oldest first
	bytes int
}

// recentRun is a stretch of a run's records without gaps.
type recentRun struct {
	id      events.RunID
	records []*events.Record
	over    bool // the run has ended: its entries in the order mean nothing any more
}

// note keeps a record of the tail, without its answers.
func (c *recent) note(r *events.Record) {
	if len(r.Events) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	run := c.runs[r.RunID]
	ends := events.EndsRun(r.Events[len(r.Events)-1])
	if run != nil && (ends || r.First != run.records[len(run.records)-1].Last()+1) {
		c.end(run)
		run = nil
	}
	if !ends {
		c.keep(run, r)
	}
}

// found keeps a record that an activation was given from the store, if nothing is kept of its run: what is given next to a worker
// that has it begins within it, and a run that has waited for long would be read again for each of its activations.
func (c *recent) found(r *events.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs[r.RunID] == nil {
		c.keep(nil, r)
	}
}

// keep adds a record to what is kept of its run, nil for nothing.
func (c *recent) keep(run *recentRun, r *events.Record) {
	if run == nil {
		run = &recentRun{id: r.RunID}
		c.runs[r.RunID] = run
	}
	kept := *r
	kept.Answers = nil
	run.records = append(run.records, &kept)
	size := recentSize(&kept)
	c.order.push(recentEntry{run: run, bytes: size})
	for c.bytes += size; c.bytes > recentBytes; {
		c.bytes -= c.dropOldest()
	}
}

// Memory that a record and each of its events take beside payloads, with what is kept about them: roughly.
const (
	recentRecordBytes = 320
	recentEventBytes  = 128
)

// recentSize estimates what a record takes while it is kept.
func recentSize(r *events.Record) int {
	return recentRecordBytes + recentEventBytes*len(r.Events) + recordBytes(r)
}

// end forgets a run that needs no history any more.
func (c *recent) end(run *recentRun) {
	run.over, run.records = true, nil
	delete(c.runs, run.id)
}

// dropOldest forgets the oldest record and returns what it was counted with. The records of a run are kept in the order in
// which they came, so the oldest of all is the oldest of its run.
func (c *recent) dropOldest() (bytes int) {
	oldest := c.order.pop()
	if run := oldest.run; !run.over {
		run.records[0] = nil
		if run.records = run.records[1:]; len(run.records) == 0 {
			c.end(run)
		}
	}
	return oldest.bytes
}

// reset forgets everything: the tail begins anew and may have left something out.
func (c *recent) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs, c.order, c.bytes = make(map[events.RunID]*recentRun), ring{}, 0
}

// history returns the records with the events numbered from first to last, both included, if all of them are kept. The
// records are shared.
func (c *recent) history(run events.RunID, first, last events.EventNumber) ([]*events.Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.runs[run]
	if kept == nil || kept.records[0].First > first || kept.records[len(kept.records)-1].Last() < last {
		return nil, false
	}
	begin := len(kept.records) - 1
	for kept.records[begin].First > first {
		begin--
	}
	var found []*events.Record
	for _, r := range kept.records[begin:] {
		if r.First > last {
			break
		}
		found = append(found, r)
	}
	return found, true
}

// recentEntry is one record that is kept.
type recentEntry struct {
	run   *recentRun
	bytes int
}

// ring is a queue that reuses its memory.
type ring struct {
	entries    []recentEntry // a power of two
	head, size int
}

func (q *ring) push(e recentEntry) {
	if q.size == len(q.entries) {
		grown := make([]recentEntry, max(64, 2*len(q.entries)))
		for i := range q.size {
			grown[i] = q.entries[(q.head+i)&(len(q.entries)-1)]
		}
		q.entries, q.head = grown, 0
	}
	q.entries[(q.head+q.size)&(len(q.entries)-1)] = e
	q.size++
}

func (q *ring) pop() recentEntry {
	e := q.entries[q.head]
	q.entries[q.head] = recentEntry{}
	q.head = (q.head + 1) & (len(q.entries) - 1)
	q.size--
	return e
}
