package projection

import (
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Batch folds records of many runs into one row each, so that a run that began and ended within it is written once. The
// zero value is empty.
type Batch struct {
	records []*events.Record
	events  int
	first   map[events.RunID]*events.Record // of each run, in this batch
	order   []events.RunID                  // as they came
}

// Add takes the next record.
func (b *Batch) Add(r *events.Record) {
	if r.RunID.IsZero() || len(r.Events) == 0 {
		return
	}
	if b.first == nil {
		b.first = make(map[events.RunID]*events.Record)
	}
	if b.first[r.RunID] == nil {
		b.first[r.RunID] = r
		b.order = append(b.order, r.RunID)
	}
	b.records = append(b.records, r)
	b.events += len(r.Events)
}

// Events returns the number of events taken.
func (b *Batch) Events() int { return b.events }

// Wanted returns the runs whose stored rows the batch builds upon: all but those that began in it.
func (b *Batch) Wanted() []events.RunID {
	var wanted []events.RunID
	for _, run := range b.order {
		if b.first[run].First > 1 {
			wanted = append(wanted, run)
		}
	}
	return wanted
}

// Gap is history that lies between a stored row and the batch: events From to To of a run.
type Gap struct {
	Partition events.Partition
	RunID     events.RunID
	From, To  events.EventNumber
}

// Gaps returns what is missing between the stored rows and the batch. Runs that the batch deletes need nothing.
func (b *Batch) Gaps(stored []row.Run) []Gap {
	known := byRun(stored)
	purged := make(map[events.RunID]struct{})
	for _, r := range b.records {
		if Purges(r) {
			purged[r.RunID] = struct{}{}
		}
	}
	var gaps []Gap
	for _, run := range b.order {
		r := b.first[run]
		from, missing := Missing(known[run], r)
		if _, gone := purged[run]; missing && !gone {
			gaps = append(gaps, Gap{Partition: r.Partition, RunID: run, From: from, To: r.First - 1})
		}
	}
	return gaps
}

// Rows folds the batch over the stored rows. It returns the rows to write and the runs to delete, in the order in which
// they came, and empties the batch. The stored rows must not be used any more.
func (b *Batch) Rows(stored []row.Run) (rows []row.Run, deletes []events.RunID) {
	known := byRun(stored)
	for _, r := range b.records {
		if Purges(r) {
			delete(known, r.RunID)
			deletes = append(deletes, r.RunID)
			continue
		}
		known[r.RunID] = Fold(known[r.RunID], r)
	}
	for _, run := range b.order {
		if r, ok := known[run]; ok {
			rows = append(rows, r)
		}
	}
	*b = Batch{}
	return rows, deletes
}

func byRun(rows []row.Run) map[events.RunID]row.Run {
	known := make(map[events.RunID]row.Run, len(rows))
	for _, r := range rows {
		known[r.RunID] = r
	}
	return known
}
