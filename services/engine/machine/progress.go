package machine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxIntents bounds the intents of one progress.
const MaxIntents = 10_000

// errContinuePending refuses to begin again while calls are open.
var errContinuePending = errors.New("the workflow continues while tasks are open; wait for them or cancel them first")

func (r *Run) decideProgress(env events.Envelope, p events.ReportProgress, at events.Time) ([]events.Event, events.Answer) {
	if !r.flight.is(p.Activation, p.Attempt) {
		return r.staleActivation(env, p.Activation, p.Attempt)
	}
	evs, ends, err := r.progress(p, env.Session, at)
	if err != nil {
		f := events.Failure{Code: codeOfRefusal(err), Message: "the worker's progress was refused: " + err.Error()}
		return []events.Event{events.ActivationFailed{
			Activation: p.Activation, Attempt: p.Attempt, Failure: f, Build: p.Build, Worker: p.Worker,
		}}, r.answer(env, events.InvalidArgument, f.Message)
	}
	_, continues := ends.(events.ContinueRun)
	if ends != nil && (r.inbox.unseen(p.Reads, p.Upto) && !mutant.On(mutant.LoseSignalAtCompletion) || (continues && r.cancel > p.Upto)) {
		return []events.Event{events.ProgressRefused{Activation: p.Activation, Attempt: p.Attempt, Worker: p.Worker}},
			r.answer(env, events.Stale, "the code has not seen all signals; the next activation carries them")
	}
	return evs, r.answer(env, events.OK, "")
}

// maxAhead is how far the time shown to the code may be ahead of the record's: time passes in the worker while a step runs, and
// stands still in the log after the wall clock was set back.
const maxAhead = time.Minute

// progress returns the events of a progress and the intent that ends or continues the run, nil if none does. An error
// says what is wrong with it.
func (r *Run) progress(p events.ReportProgress, from events.SessionID, at events.Time) (evs []events.Event, ends events.Intent, err error) {
	switch {
	case p.Upto != r.flight.upto:
		return nil, nil, fmt.Errorf("the code was given events up to %d, not %d", r.flight.upto, p.Upto)
	case p.At < r.code.shown || p.At > at.Add(maxAhead):
		return nil, nil, fmt.Errorf("the code was shown the time %d, outside of %d to %d", p.At, r.code.shown, at.Add(maxAhead))
	case len(p.Intents) > MaxIntents:
		return nil, nil, overLimit("it has %d intents; the limit is %d", len(p.Intents), MaxIntents)
	}
	if err := errors.Join(r.inbox.checkReads(p.Reads, p.Upto), r.inbox.checkWaits(p.Wait)); err != nil {
		return nil, nil, err
	}
	evs = make([]events.Event, 0, len(p.Intents)+1)
	made := events.ProgressMade{
		Activation: p.Activation, Attempt: p.Attempt, At: p.At, Upto: p.Upto, Reads: p.Reads, Wait: p.Wait, Build: p.Build,
		Worker: p.Worker,
	}
	d := intents{r: r, p: p, at: at, evs: append(evs, made), high: r.steps.high}
	if p.OfferTask {
		d.offerTo = from
	}
	for i, intent := range p.Intents {
		if ends != nil {
			return nil, nil, fmt.Errorf("intent %d (%T) follows %T, which must be last", i+1, intent, ends)
		}
		if ends, err = d.add(intent); err != nil {
			return nil, nil, fmt.Errorf("intent %d (%T): %w", i+1, intent, err)
		}
	}
	if ends != nil {
		made.Wait = events.WaitSet{}
		d.evs[0] = made
		if _, continues := ends.(events.ContinueRun); !continues {
			return d.evs, ends, nil
		}
	}
	return d.evs, ends, r.checkOpen(d.evs)
}

// intents turns intents into events, in order, over a run that it does not change.
type intents struct {
	r    *Run
	p    events.ReportProgress
	at   events.Time
	evs  []events.Event
	high events.Step
	// offerTo is the session that wants the tasks; 0 means none does.
	offerTo events.SessionID
	// touched is what this progress made of steps; nil until it matters.
	touched map[events.Step]stepUse
	counted int // the events that touched knows
}

type stepUse uint8

const (
	stepUntouched stepUse = iota
	stepTask
	stepTimer
	stepBackoff
	stepOver
)

// now returns what this progress made of a step so far.
func (d *intents) now(s events.Step) stepUse {
	if d.touched == nil {
		d.touched = make(map[events.Step]stepUse)
	}
	for ; d.counted < len(d.evs); d.counted++ {
		switch e := d.evs[d.counted].(type) {
		case events.TaskScheduled:
			d.touched[e.Step] = stepTask
		case events.TimerStarted:
			d.touched[e.Step] = stepTimer
		case events.StepBackedOff:
			d.touched[e.Step] = stepBackoff
		case events.StepRecorded:
			d.touched[e.Step] = stepOver
		case events.TaskCancelled:
			d.touched[e.Step] = stepOver
		case events.TimerCancelled:
			d.touched[e.Step] = stepOver
		default: // not about a step
		}
	}
	return d.touched[s]
}

// use checks that a step is free.
func (d *intents) use(s events.Step) error {
	switch {
	case s == 0:
		return errors.New("steps count from 1")
	case s > d.high:
		d.high = s
		return nil
	case s <= d.r.steps.high && !d.r.steps.unused(s), d.now(s) != stepUntouched:
		return fmt.Errorf("step %d: %w", s, errStepUsed)
	}
	return nil
}

// report checks that a step which ran in the worker may be reported.
func (d *intents) report(s events.Step) error {
	if due, ok := d.r.steps.backoffs[s]; ok {
		if due != 0 || d.now(s) != stepUntouched {
			return fmt.Errorf("step %d backs off and is not due", s)
		}
		return nil
	}
	return d.use(s)
}

// add appends the event of an intent. It returns the intent if it ends or continues the run.
func (d *intents) add(intent events.Intent) (ends events.Intent, err error) {
	var e events.Event
	switch i := intent.(type) {
	case events.ScheduleTask:
		if err = d.use(i.Step); err == nil {
			e, err = d.r.scheduleTask(i, d.offerTo, d.at)
		}
	case events.CancelTask:
		return nil, d.cancelTask(i.Step)
	case events.StartTimer:
		if i.Due <= 0 {
			return nil, fmt.Errorf("timer %d is due at %d; it needs a time after 1970", i.Step, i.Due)
		}
		e, err = events.TimerStarted(i), d.use(i.Step)
	case events.CancelTimer:
		return nil, d.cancelTimer(i.Step)
	case events.RecordStep:
		e, err = events.StepRecorded(i), d.report(i.Step)
	case events.BackOffStep:
		if i.Until <= 0 {
			return nil, fmt.Errorf("step %d backs off until %d; it needs a time after 1970", i.Step, i.Until)
		}
		e, err = events.StepBackedOff(i), d.report(i.Step)
	case events.SetView:
		e, err = events.ViewSet(i), i.Name.Validate()
	case events.CompleteRun:
		ends, e = i, events.RunCompleted{Result: i.Result, Unread: d.unread()}
	case events.FailRun:
		ends, e = i, events.RunFailed{Failure: i.Failure, Unread: d.unread()}
	case events.CancelRun:
		if d.r.cancel == 0 {
			return nil, errors.New("the run was not asked to cancel")
		}
		ends, e = i, events.RunCancelled{Failure: i.Failure, Unread: d.unread()}
	case events.ContinueRun:
		return i, d.continueRun(i)
	default:
		return nil, errors.New("the engine does not know the intent")
	}
	if err != nil {
		return nil, err
	}
	d.evs = append(d.evs, e)
	return ends, nil
}

func (d *intents) unread() uint64 { return uint64(d.r.inbox.unread - d.r.inbox.readNow(d.p.Reads)) }

// cancelTask gives up a task. One that ended meanwhile leaves no event: its end is in the history already.
func (d *intents) cancelTask(s events.Step) error {
	switch use := d.now(s); {
	case s == 0 || s > d.high:
		return fmt.Errorf("step %d is not a call of the run", s)
	case use == stepTask:
		d.evs = append(d.evs, events.TaskCancelled{Step: s, Attempt: 1})
	case use == stepUntouched:
		if t := d.r.tasks[s]; t != nil {
			d.evs = append(d.evs, events.TaskCancelled{Step: s, Attempt: t.attempt})
		}
	}
	return nil
}

// cancelTimer disarms a timer or the back-off of a step. One that is over leaves no event.
func (d *intents) cancelTimer(s events.Step) error {
	switch use := d.now(s); {
	case s == 0 || s > d.high:
		return fmt.Errorf("step %d is not a timer of the run", s)
	case use == stepTimer || use == stepBackoff:
		d.evs = append(d.evs, events.TimerCancelled{Step: s})
	case use == stepUntouched:
		if d.r.timers[s] != 0 || d.r.steps.backoffs[s] != 0 {
			d.evs = append(d.evs, events.TimerCancelled{Step: s})
		}
	}
	return nil
}

// continueRun disarms what is armed, for the run lives on, and begins the code again.
func (d *intents) continueRun(i events.ContinueRun) error {
	d.now(0) // counts all events so far
	armed := make(map[events.Step]bool)
	for _, s := range slices.Sorted(maps.Keys(d.r.tasks)) {
		if d.touched[s] == stepUntouched {
			return errContinuePending
		}
	}
	for _, s := range slices.Sorted(maps.Keys(d.r.timers)) {
		armed[s] = d.touched[s] == stepUntouched
	}
	for _, s := range slices.Sorted(maps.Keys(d.r.steps.backoffs)) {
		armed[s] = d.touched[s] == stepUntouched && d.r.steps.backoffs[s] != 0
	}
	for _, s := range slices.Sorted(maps.Keys(d.touched)) {
		switch d.touched[s] {
		case stepTask:
			return errContinuePending
		case stepTimer, stepBackoff:
			armed[s] = true
		case stepUntouched, stepOver:
		}
	}
	for _, s := range slices.Sorted(maps.Keys(armed)) {
		if armed[s] {
			d.evs = append(d.evs, events.TimerCancelled{Step: s})
		}
	}
	reads, oldest := d.r.inbox.continued(d.p.Reads)
	d.evs = append(d.evs, events.RunContinued{
		Input: i.Input, Reads: reads, OldestUnread: oldest, LastStep: d.high, CancelRequested: d.r.cancel != 0,
	})
	return nil
}

func (r *Run) applyProgress(e events.ProgressMade, n events.EventNumber) error {
	if err := r.checkFlight(e.Activation, e.Attempt); err != nil {
		return err
	}
	if e.Upto != r.flight.upto {
		return fmt.Errorf("the activation showed events up to %d, not %d", r.flight.upto, e.Upto)
	}
	if err := errors.Join(r.inbox.checkReads(e.Reads, e.Upto), r.inbox.checkWaits(e.Wait)); err != nil {
		return err
	}
	r.inbox.take(e.Reads, e.Wait)
	r.setWait(e.Wait)
	r.code.base, r.code.upto, r.code.shown, r.code.refusals = n, e.Upto, e.At, 0
	r.landed()
	return nil
}

func (r *Run) applyProgressRefused(e events.ProgressRefused) error {
	if err := r.checkFlight(e.Activation, e.Attempt); err != nil {
		return err
	}
	r.code.refusals++
	r.wait = waits{now: true}
	r.landed()
	return nil
}

func (r *Run) applyContinued(n events.EventNumber) error {
	if len(r.tasks) > 0 || len(r.timers) > 0 {
		return errors.New("tasks or timers are open")
	}
	r.steps = steps{high: r.steps.high}
	// The code begins again at the time of its next activation, which may lie before what a step let it see.
	r.code.replayFrom, r.code.base, r.code.shown = n, 0, 0
	r.wait = waits{now: true}
	return nil
}
