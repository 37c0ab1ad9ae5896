package projection

import (
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Facts collect what folding passes by and rows do not keep: what statistics count, and the events themselves. The zero
// value collects outcomes.
type Facts struct {
	// Events says that every event is wanted.
	Events bool
	// Source is where the records come from.
	Source Source

	outcomes []row.Outcome
	events   []row.Event
	bytes    int
}

// Source is where records come from, which decides what is counted.
type Source uint8

// The sources of records.
const (
	// Log: records come in the order of their partition.
	Log Source = iota
	// Archive: whole histories, run by run, of which the model has counted nothing. Outcomes have no Seq.
	Archive
	// Gaps: history between a row and the log, of which nobody knows whether it was counted. It has no outcomes, so that nothing is
	// counted twice.
	Gaps
)

// Fold is [Fold], and collects what it passes by. Events that the row includes already were collected before.
func (f *Facts) Fold(run *row.Run, r *events.Record) { fold(run, r, f) }

// Take returns what was collected, and begins anew.
func (f *Facts) Take() (outcomes []row.Outcome, history []row.Event) {
	outcomes, history = f.outcomes, f.events
	f.outcomes, f.events, f.bytes = nil, nil, 0
	return outcomes, history
}

// Bytes returns about how much memory is kept by what was collected.
func (f *Facts) Bytes() int { return f.bytes }

// outcomeBytes is what an outcome takes, and about what its failure adds is counted by failureBytes.
const outcomeBytes = 200

// event collects an event before it is folded into its row, which still lists what the event ends.
func (f *Facts) event(run *row.Run, r *events.Record, number events.EventNumber, e events.Event) {
	o := row.Outcome{
		Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Number: number, Type: run.Type, Time: r.Time, Partition: r.Partition, Seq: r.Seq,
	}
	counts := outcome(run, e, &o)
	if f.Events {
		if started, ok := e.(events.RunStarted); ok {
			o.Type = started.Type
		}
		f.events = append(f.events, row.Event{
			Namespace: o.Namespace, WorkflowID: o.WorkflowID, RunID: o.RunID, Type: o.Type, Partition: o.Partition, Seq: o.Seq, Number: number,
			Time: o.Time, Name: o.Name, Took: o.Took, Event: e,
		})
		f.bytes += eventBytes + len(events.PayloadOf(e).Data) + failureBytes(e)
	}
	if !counts || f.Source == Gaps {
		return
	}
	if f.Source == Archive {
		o.Seq = 0
	}
	f.outcomes = append(f.outcomes, o)
	f.bytes += outcomeBytes + failureBytes(e)
}

// outcome says what an event means for statistics, if anything.
func outcome(run *row.Run, e events.Event, o *row.Outcome) bool {
	switch e := e.(type) {
	case events.TaskCompleted:
		t := taskOf(run, e.Step)
		o.Kind, o.Name = row.TaskDone, t.Name
		if t.Scheduled != 0 {
			o.Took = max(0, int64(o.Time-max(t.Scheduled, t.NextAttempt)))
		}
	case events.TaskFailed:
		o.Kind, o.Name, o.Failure = row.TaskFailed, taskOf(run, e.Step).Name, &e.Failure
	case events.TaskAttemptFailed:
		o.Kind, o.Name, o.Failure = row.TaskRetried, e.Name, &e.Failure
	case events.StepBackedOff:
		o.Kind, o.Name, o.Failure = row.StepFailed, events.TaskName(e.Label), &e.Failure
	case events.StepRecorded:
		o.Kind, o.Name, o.Failure = row.StepFailed, events.TaskName(e.Label), e.Failure
		return e.Failure != nil
	case events.ActivationFailed:
		o.Kind, o.Failure = row.CodeFailed, &e.Failure
	case events.RunFailed:
		o.Kind, o.Failure = row.RunFailed, &e.Failure
	default:
		return false
	}
	return true
}

// taskOf is the open task of a step, zero if it is not listed.
func taskOf(run *row.Run, step events.Step) row.Task {
	if i := (folding{run: run}).taskAt(step); i >= 0 {
		return run.Tasks[i]
	}
	return row.Task{}
}
