package projection

import (
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Batch folds records of many runs into one row each, so that a run that began and ended within it is written once. The
// zero value is empty.
type Batch struct {
	// Facts collects what folding passes by. What [Batch.Rows] has folded is in it until it is taken.
	Facts Facts

	records []entry // of runs that began before it
	events  int
	bytes   int
	index   map[events.RunID]int // into runs
	runs    []ofRun              // as they came
	deletes []events.RunID       // of runs that began in it
}

// entry is a record and the place of its run.
type entry struct {
	record *events.Record
	run    int
	purges bool
}

// ofRun is what the batch has of a run.
type ofRun struct {
	first  *events.Record // nil if the run began in the batch
	row    row.Run
	known  bool // there is something to write
	purged bool // the batch deletes it
}

// Add takes the next record. Those of runs that began in the batch are folded at once and not kept.
func (b *Batch) Add(r *events.Record) {
	if r.RunID.IsZero() || len(r.Events) == 0 {
		return
	}
	if b.index == nil {
		b.index = make(map[events.RunID]int)
	}
	i, ok := b.index[r.RunID]
	if !ok {
		i = len(b.runs)
		b.index[r.RunID] = i
		b.runs = append(b.runs, ofRun{})
		b.bytes += rowBytes
		if r.First > 1 {
			b.runs[i].first = r
		}
	}
	run, purges := &b.runs[i], Purges(r)
	b.events += len(r.Events)
	run.purged = run.purged || purges
	switch {
	case run.first != nil:
		b.records = append(b.records, entry{record: r, run: i, purges: purges})
		b.bytes += recordBytes
		for _, e := range r.Events {
			b.bytes += eventBytes + len(events.PayloadOf(e).Data) + failureBytes(e)
		}
	case purges:
		b.deletes = append(b.deletes, r.RunID)
		run.row, run.known = row.Run{}, false
	default:
		b.Facts.Fold(&run.row, r)
		run.known = true
		for _, e := range r.Events {
			b.bytes += waitBytes + shownBytes(e) + failureBytes(e)
		}
	}
}

// Deletes reports whether the batch deletes a run. What comes after that begins the run anew, and is for the next batch: a model
// writes the rows of a batch first.
func (b *Batch) Deletes(run events.RunID) bool {
	i, ok := b.index[run]
	return ok && b.runs[i].purged
}

// Events returns the number of events taken.
func (b *Batch) Events() int { return b.events }

// Bytes returns about how much memory the batch keeps, without the stored rows it builds upon.
func (b *Batch) Bytes() int { return b.bytes + b.Facts.Bytes() }

// What a row, a record, an event and something a run waits for take, without payloads.
const (
	rowBytes    = 600
	recordBytes = 300
	eventBytes  = 200
	waitBytes   = 50
)

// shownBytes is the size of a payload that is part of a row.
func shownBytes(e events.Event) int {
	switch e := e.(type) {
	case events.ViewSet:
		return len(e.Value.Data)
	case events.RunCompleted:
		return len(e.Result.Data)
	default:
		return 0
	}
}

// failureBytes is the size of what is in a failure, whose causes may be many.
func failureBytes(e events.Event) (n int) {
	var f *events.Failure
	switch e := e.(type) {
	case events.ActivationFailed:
		f = &e.Failure
	case events.TaskAttemptFailed:
		f = &e.Failure
	case events.TaskFailed:
		f = &e.Failure
	case events.StepBackedOff:
		f = &e.Failure
	case events.RunFailed:
		f = &e.Failure
	case events.RunCancelled:
		f = &e.Failure
	default:
	}
	for ; f != nil; f = f.Cause {
		n += len(f.Message) + len(f.Details.Data)
	}
	return n
}

// Wanted returns the runs whose stored rows the batch builds upon: all but those that began in it.
func (b *Batch) Wanted() []events.RunID {
	var wanted []events.RunID
	for i := range b.runs {
		if r := b.runs[i].first; r != nil {
			wanted = append(wanted, r.RunID)
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
	versions := make([]events.EventNumber, len(b.runs))
	for i := range stored {
		if n, ok := b.index[stored[i].RunID]; ok {
			versions[n] = stored[i].Version
		}
	}
	var gaps []Gap
	for i := range b.runs {
		r := b.runs[i].first
		if r == nil || b.runs[i].purged {
			continue
		}
		if from, missing := Missing(row.Run{Version: versions[i]}, r); missing {
			gaps = append(gaps, Gap{Partition: r.Partition, RunID: r.RunID, From: from, To: r.First - 1})
		}
	}
	return gaps
}

// Rows folds the batch over the stored rows. It returns the rows to write, in the order in which they came, those of runs
// that began in the batch first, how many these are, and the runs to delete, and empties the batch, but for its facts. The
// stored rows must not be used any more.
func (b *Batch) Rows(stored []row.Run) (rows []row.Run, begun int, deletes []events.RunID) {
	for i := range stored {
		if n, ok := b.index[stored[i].RunID]; ok {
			b.runs[n].row, b.runs[n].known = stored[i], true
		}
	}
	for _, e := range b.records {
		run := &b.runs[e.run]
		if e.purges {
			run.row, run.known = row.Run{}, false
			b.deletes = append(b.deletes, e.record.RunID)
			continue
		}
		run.known = true
		b.Facts.Fold(&run.row, e.record)
	}
	rows = make([]row.Run, 0, len(b.runs))
	for _, began := range []bool{true, false} {
		for i := range b.runs {
			if run := &b.runs[i]; run.known && (run.first == nil) == began {
				rows = append(rows, run.row)
			}
		}
		if began {
			begun = len(rows)
		}
	}
	deletes = b.deletes
	b.reset()
	return rows, begun, deletes
}

// maxKeptRuns and maxKeptRecords bound what an empty batch keeps for its next use.
const (
	maxKeptRuns    = 256
	maxKeptRecords = 1024
)

// reset empties the batch. The room of one that was small is used again.
func (b *Batch) reset() {
	if len(b.runs) > maxKeptRuns || len(b.records) > maxKeptRecords {
		*b = Batch{Facts: b.Facts}
		return
	}
	clear(b.index)
	clear(b.runs)
	clear(b.records)
	*b = Batch{Facts: b.Facts, index: b.index, runs: b.runs[:0], records: b.records[:0]}
}
