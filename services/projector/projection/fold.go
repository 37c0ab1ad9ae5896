// Package projection makes the rows of the read models from the event log. It is pure: a row and a record in, a row out.
package projection

import (
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxListed bounds each list of what a run waits for. What is above is counted but not listed.
const MaxListed = 1000

// Fold brings a row to what it is after the record's events. Events that the row includes already (up to its Version) change
// nothing, so that reading a record twice is harmless. A copy of the row must not be used any more: its lists are built upon.
//
// The zero row is that of a run of which nothing is known. A record that begins above Version+1 leaves a gap; see
// [Missing].
func Fold(run *row.Run, r *events.Record) { fold(run, r, nil) }

func fold(run *row.Run, r *events.Record, facts *Facts) {
	for i, e := range r.Events {
		number := r.First + events.EventNumber(i)
		if number <= run.Version && !mutant.On(mutant.ProjectionAppliesTwice) {
			continue
		}
		if run.RunID.IsZero() {
			run.Namespace, run.WorkflowID, run.RunID, run.Partition = r.Namespace, r.WorkflowID, r.RunID, r.Partition
		}
		if facts != nil {
			facts.event(run, r, number, e)
		}
		f := folding{run: run, at: r.Time, number: number}
		f.event(e)
		run.Version = number
	}
}

// Missing returns the event from which on history is missing between a row and a record; ok is false when it fits.
func Missing(run row.Run, r *events.Record) (from events.EventNumber, ok bool) {
	return run.Version + 1, len(r.Events) > 0 && r.First > run.Version+1
}

// Purges reports whether the record says that everything of its run is deleted.
func Purges(r *events.Record) bool {
	return slices.ContainsFunc(r.Events, func(e events.Event) bool { _, purged := e.(events.RunPurged); return purged })
}

// folding is one event on its way into a row.
type folding struct {
	run    *row.Run
	at     events.Time
	number events.EventNumber
}

func (f folding) event(e events.Event) {
	run := f.run
	switch e := e.(type) {
	case events.RunStarted:
		run.Type, run.Queue, run.Started, run.Status = e.Type, e.Queue, f.at, events.StatusRunning
	case events.ActivationScheduled:
		f.activationScheduled(e)
	case events.ProgressMade:
		f.progressMade(e)
	case events.ProgressRefused:
		run.Activation = nil
	case events.ActivationFailed:
		f.activationEnded(e.Failure)
	case events.ActivationTimedOut:
		f.activationEnded(events.Failure{Code: events.CodeWorkerLost, Message: "the worker did not answer the activation in time"})
	case events.TaskScheduled:
		run.TasksScheduled++
		f.openTask(row.Task{Step: e.Step, Name: e.Name, Queue: e.Queue, Attempt: 1, Scheduled: f.at})
	case events.TaskAttemptFailed:
		f.taskAttemptFailed(e)
	case events.TaskCompleted:
		f.closeTask(e.Step)
	case events.TaskFailed:
		f.closeTask(e.Step)
	case events.TaskCancelled:
		f.closeTask(e.Step)
	case events.TimerStarted:
		f.openTimer(row.Timer{Step: e.Step, Due: e.Due})
	case events.TimerFired:
		f.closeTimer(e.Step)
	case events.TimerCancelled:
		f.closeTimer(e.Step)
	case events.StepBackedOff:
		f.openTimer(row.Timer{Step: e.Step, Due: e.Until, Label: e.Label, LastFailure: &e.Failure})
	case events.StepRecorded:
		f.closeTimer(e.Step)
	case events.StepRetryDue:
		f.closeTimer(e.Step)
	case events.ViewSet:
		f.viewSet(e)
	case events.SignalReceived:
		f.signalReceived(e)
	case events.CancelRequested:
		run.CancelRequested = f.at
	case events.RunContinued:
		run.Continued++
		run.Signals = nil
		f.read(e.Reads)
	case events.RunCompleted:
		f.ended(e, nil)
		run.Result, run.Unread = e.Result, e.Unread
	case events.RunFailed:
		f.ended(e, &e.Failure)
		run.Unread = e.Unread
	case events.RunCancelled:
		f.ended(e, &e.Failure)
		run.Unread = e.Unread
	case events.RunTerminated:
		f.ended(e, &events.Failure{Code: events.CodeTerminated, Message: e.Reason})
	case events.RunTimedOut:
		f.ended(e, &events.Failure{Code: events.CodeRunTimeout, Message: "the run did not end within its run timeout"})
	case events.RunQuarantined:
		run.Quarantine = e.Reason
		if e.Reason == "" {
			run.Quarantine = "no reason was recorded"
		}
	case events.RunReleased:
		run.Quarantine = ""
	case events.HeartbeatRecorded, events.RunPurged, events.EpochStarted:
		// Nothing that readers of rows see. Purged rows are deleted as a whole.
	}
}

func (f folding) activationScheduled(e events.ActivationScheduled) {
	a := &row.Activation{Activation: e.Activation, Attempt: e.Attempt, Since: f.at, NotBefore: e.NotBefore}
	if old := f.run.Activation; old != nil && e.Attempt > 1 {
		a.LastFailure = old.LastFailure
	}
	f.run.Activation = a
}

// activationEnded keeps the failure for the next attempt to show.
func (f folding) activationEnded(failure events.Failure) {
	a := row.Activation{}
	if old := f.run.Activation; old != nil {
		a = *old
	}
	a.LastFailure = &failure
	f.run.Activation = &a
}

func (f folding) progressMade(e events.ProgressMade) {
	f.run.Activation = nil
	f.read(e.Reads)
	var waits []row.SignalWait
	for _, group := range e.Wait.Any {
		for _, signal := range group.Signals {
			wait := row.SignalWait{Name: signal.Name, Index: signal.Index}
			if len(waits) < MaxListed && !slices.Contains(waits, wait) {
				waits = append(waits, wait)
			}
		}
	}
	f.run.Signals = waits
}

func (f folding) viewSet(e events.ViewSet) {
	view := row.View{Name: e.Name, Value: e.Value, Version: f.number, Updated: f.at}
	i := slices.IndexFunc(f.run.Views, func(v row.View) bool { return v.Name == e.Name })
	if i < 0 {
		f.run.Views = append(f.run.Views, view)
		return
	}
	f.run.Views[i] = view
}

// signalReceived counts a signal. Index is the count of its name, so that counting needs no memory of more names than
// are listed.
func (f folding) signalReceived(e events.SignalReceived) {
	f.run.Unread++
	i := slices.IndexFunc(f.run.Inbox, func(n row.Inbox) bool { return n.Name == e.Name })
	switch {
	case i >= 0:
		f.run.Inbox[i].Received = e.Index
	case len(f.run.Inbox) < MaxListed:
		f.run.Inbox = append(f.run.Inbox, row.Inbox{Name: e.Name, Received: e.Index})
	}
}

func (f folding) read(reads []events.SignalRead) {
	for _, read := range reads {
		i := slices.IndexFunc(f.run.Inbox, func(n row.Inbox) bool { return n.Name == read.Name })
		if i < 0 || read.Count <= f.run.Inbox[i].Read {
			continue
		}
		f.run.Unread -= min(f.run.Unread, read.Count-f.run.Inbox[i].Read)
		f.run.Inbox[i].Read = read.Count
	}
}

func (f folding) ended(e events.Event, failure *events.Failure) {
	run := f.run
	run.Status, run.Ended, run.Failure = events.StatusAfter(run.Status, e), f.at, failure
	run.Tasks, run.Timers, run.Signals, run.Activation, run.Inbox = nil, nil, nil, nil, nil
}
