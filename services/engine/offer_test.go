package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// offers returns what a record offers and to which session: "activation 2 to 7", "task 1 to 7".
func offers(records []*events.Record) (all []string) {
	for _, r := range records {
		for _, e := range r.Events {
			var what string
			var to events.SessionID
			var until events.Time
			switch e := e.(type) {
			case events.ActivationScheduled:
				what, to, until = fmt.Sprint("activation ", e.Activation), e.OfferTo, e.OfferUntil
			case events.TaskScheduled:
				what, to, until = fmt.Sprint("task ", e.Step), e.OfferTo, e.OfferUntil
			default:
				continue
			}
			if (to != 0) != (until == r.Time.Add(events.OfferFor)) {
				what += " with another end"
			}
			all = append(all, fmt.Sprint(what, " to ", to))
		}
	}
	return all
}

// A session that asks for what follows from a progress is offered it, until a progress does not ask any more.
func TestWhatFollowsIsOffered(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	turn := func(env events.Envelope) string {
		records, err := d.turn(d.stamped(env))
		d.must(err)
		return fmt.Sprint(offers(records))
	}
	schedule := func(step events.Step, o events.TaskOptions) events.Intent {
		return events.ScheduleTask{Step: step, Name: "Pay", Options: o}
	}
	report := func(activation uint64, upto events.EventNumber, ask bool, o events.TaskOptions) events.Envelope {
		step := events.Step(activation)
		return to(1, events.ReportProgress{
			Activation: activation, Attempt: 1, Upto: upto, At: d.now, Wait: events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{step}}}},
			Intents: []events.Intent{schedule(step, o)}, OfferActivation: ask, OfferTask: ask,
		})
	}
	equal(t, "the first activation", turn(start(1)), "[activation 1 to 0]")
	equal(t, "a task", turn(report(1, 1, true, events.TaskOptions{})), "[task 1 to 7]")
	equal(t, "its result", turn(to(1, events.CompleteTask{Step: 1, Attempt: 1})), "[activation 2 to 7]")
	equal(t, "a task that is bounded in its wait", turn(report(2, 5, true, events.TaskOptions{ScheduleToStart: time.Minute})),
		"[task 2 to 0]")
	equal(t, "a refused progress", turn(report(9, 5, false, events.TaskOptions{})), "[]")
	equal(t, "the next result", turn(to(1, events.CompleteTask{Step: 2, Attempt: 1})), "[activation 3 to 7]")
	equal(t, "a second attempt", turn(to(1, events.TimeoutActivation{Activation: 3, Attempt: 1})), "[activation 3 to 0]")
	equal(t, "not asked for", turn(to(1, events.ReportProgress{
		Activation: 3, Attempt: 2, Upto: 11, At: d.now, Wait: events.WaitSet{Now: true},
		Intents: []events.Intent{schedule(3, events.TaskOptions{})},
	})), "[task 3 to 0 activation 4 to 0]")
}
