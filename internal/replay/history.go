package replay

import (
	"fmt"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// numbered is an event with its number in the run's history.
type numbered struct {
	number events.EventNumber
	event  events.Event
}

// phase is one activation whose progress was accepted, as recorded.
type phase struct {
	at       events.Time
	upto     events.EventNumber
	progress events.EventNumber // of ProgressMade; 0 in a live phase
	now      bool               // the code asked to go on at once
	intents  []numbered         // the events of its intents
}

// history is what a run's code has to be given.
type history struct {
	from     events.EventNumber
	input    events.Payload
	reads    []events.SignalRead
	lastStep events.Step
	inputs   []numbered // what the world did: results, timers, signals, the cancel request
	phases   []phase
	intents  []numbered // room for those of all phases
}

// HistoryError says that the events given for an activation are not whole or do not fit each other.
type HistoryError struct{ Reason string }

// Error returns the reason.
func (e *HistoryError) Error() string {
	return "the history given to the workflow is damaged: " + e.Reason
}

func broken(format string, args ...any) error {
	return &HistoryError{Reason: fmt.Sprintf(format, args...)}
}

// each calls yield with the events of records in order, up to and including number upto.
func each(records []*events.Record, upto events.EventNumber, yield func(numbered) error) error {
	for _, rec := range records {
		for i, e := range rec.Events {
			n := rec.First + events.EventNumber(i)
			if n > upto {
				return nil
			}
			if err := yield(numbered{n, e}); err != nil {
				return err
			}
		}
	}
	return nil
}

// parse reads the events of a run from the event numbered from on. Signals before it are kept; other events before it
// are not needed.
func parse(records []*events.Record, from, upto events.EventNumber) (history, error) {
	h := history{from: from}
	h.reserve(records, upto)
	next := from
	open := false // the events of the last progress' intents may go on
	err := each(records, upto, func(n numbered) error {
		if n.number < from {
			if _, ok := n.event.(events.SignalReceived); ok && !mutant.On(mutant.ContinueLosesSignals) {
				h.inputs = append(h.inputs, n)
			}
			return nil
		}
		if n.number != next {
			return broken("event %d follows event %d", n.number, next-1)
		}
		next++
		if n.number == from {
			return h.open(n)
		}
		if made, ok := n.event.(events.ProgressMade); ok {
			h.phases = append(h.phases, phase{at: made.At, upto: made.Upto, progress: n.number, now: made.Wait.Now})
			open = true
			return nil
		}
		if open = open && ofIntent(n.event); open {
			h.intents = append(h.intents, n)
			last := &h.phases[len(h.phases)-1]
			last.intents = h.intents[len(h.intents)-len(last.intents)-1:]
			return nil
		}
		h.take(n)
		return nil
	})
	if err != nil {
		return history{}, err
	}
	if next != upto+1 && upto != allEvents {
		return history{}, broken("it ends with event %d, but the activation is up to event %d", next-1, upto)
	}
	return h, nil
}

// reserve makes room for about what the records hold.
func (h *history) reserve(records []*events.Record, upto events.EventNumber) {
	phases, intents, inputs := 0, 0, 0
	for _, rec := range records {
		if rec.First > upto {
			break
		}
		later := rec.First+events.EventNumber(len(rec.Events)) > h.from
		for _, e := range rec.Events {
			if isInput(e) {
				inputs++
			} else if later && ofIntent(e) {
				intents++
			} else if _, made := e.(events.ProgressMade); later && made {
				phases++
			}
		}
	}
	h.phases, h.intents, h.inputs = make([]phase, 0, phases), make([]numbered, 0, intents), make([]numbered, 0, inputs)
}

// allEvents stands for the end of a history.
const allEvents = ^events.EventNumber(0)

// open takes the event that the code begins with.
func (h *history) open(n numbered) error {
	switch e := n.event.(type) {
	case events.RunStarted:
		h.input = e.Input
	case events.RunContinued:
		h.input, h.reads, h.lastStep = e.Input, e.Reads, e.LastStep
		if e.CancelRequested { // the code is told again
			h.inputs = append(h.inputs, numbered{n.number, events.CancelRequested{}})
		}
	default:
		return broken("event %d should begin the code and is %T", n.number, n.event)
	}
	return nil
}

// take keeps what the code will be given.
func (h *history) take(n numbered) {
	if isInput(n.event) {
		h.inputs = append(h.inputs, n)
	}
}

// isInput reports whether e is something that the world did.
func isInput(e events.Event) bool {
	switch e.(type) {
	case events.TaskCompleted, events.TaskFailed, events.TimerFired, events.StepRetryDue, events.SignalReceived, events.CancelRequested:
		return true
	default:
		return false
	}
}

// endedIn returns the number of the input that ended a step in the history that is replayed; 0 if there is none.
func (r *Run) endedIn(s events.Step) events.EventNumber {
	if r.endOf == nil {
		r.endOf = make(map[events.Step]events.EventNumber, len(r.given))
		for _, n := range r.given {
			switch e := n.event.(type) {
			case events.TaskCompleted:
				r.endOf[e.Step] = n.number
			case events.TaskFailed:
				r.endOf[e.Step] = n.number
			case events.TimerFired:
				r.endOf[e.Step] = n.number
			case events.StepRetryDue:
				r.endOf[e.Step] = n.number
			default:
			}
		}
	}
	return r.endOf[s]
}

// ofIntent reports whether e is written for an intent of workflow code.
func ofIntent(e events.Event) bool {
	switch e.(type) {
	case events.TaskScheduled, events.TaskCancelled, events.TimerStarted, events.TimerCancelled, events.StepRecorded,
		events.StepBackedOff, events.ViewSet, events.RunCompleted, events.RunFailed, events.RunCancelled, events.RunContinued:
		return true
	default:
		return false
	}
}

// delta reads the events that are new to a live run, after making sure that it is the run that made the activation's
// base.
func (r *Run) delta(a Activation) (history, error) {
	h := history{from: r.generation}
	next, fits := r.upto+1, false
	if a.BaseActivation != 0 && len(a.Records) == 0 {
		next, fits = a.Upto+1, a.BaseActivation == r.activation && a.BaseAttempt == r.attempt
	}
	err := each(a.Records, a.Upto, func(n numbered) error {
		if n.number < next {
			return nil
		}
		if n.number != next {
			return ErrNotLive
		}
		next++
		if made, ok := n.event.(events.ProgressMade); ok {
			fits = n.number == a.Base && made.Activation == r.activation && made.Attempt == r.attempt
			return nil
		}
		h.take(n)
		return nil
	})
	if err != nil || !fits || next != a.Upto+1 || a.Attempt > 1 || a.ReplayFrom != r.generation {
		return history{}, ErrNotLive
	}
	return h, nil
}

// Check replays a whole history, from its first event to its last, and returns the first thing that does not fit: a
// [*Mismatch], a [*Panic], a [*Misuse] or a [*HistoryError]. It makes the run of each part between continuations with
// newRun and closes it.
func Check(records []*events.Record, newRun func() *Run) error {
	from := events.EventNumber(0)
	starts := []events.EventNumber{}
	err := each(records, allEvents, func(n numbered) error {
		if from == 0 {
			from = n.number
			if n.number != 1 {
				return broken("it begins with event %d instead of event 1", n.number)
			}
			starts = append(starts, n.number)
		} else if _, ok := n.event.(events.RunContinued); ok {
			starts = append(starts, n.number)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, start := range starts {
		upto := allEvents
		if i+1 < len(starts) {
			upto = starts[i+1]
		}
		if err := checkPart(records, start, upto, newRun()); err != nil {
			return err
		}
	}
	return nil
}

func checkPart(records []*events.Record, from, upto events.EventNumber, r *Run) error {
	defer r.Close()
	h, err := parse(records, from, upto)
	if err != nil {
		return err
	}
	_, err = r.replay(h)
	return err
}
