package machine

import (
	"fmt"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Apply changes the run by its next event. An error says that the event does not fit: it is not the next one, it is about
// something that is not open, or nothing may follow. The run is unchanged then, and its holder quarantines it. Apply does
// not keep references into e beyond its immutable parts.
func (r *Run) Apply(e events.Event, n events.EventNumber, at events.Time) error {
	if err := r.fits(e, n, at); err != nil {
		return err
	}
	if ofIntent(e) {
		if err := r.checkReporting(); err != nil {
			return fmt.Errorf("run %s, event %d (%T): %w", r.id, n, e, err)
		}
	}
	if err := r.apply(e, n, at); err != nil {
		return fmt.Errorf("run %s, event %d (%T): %w", r.id, n, e, err)
	}
	r.next, r.time = n+1, at
	return nil
}

// fits checks what holds for every event.
func (r *Run) fits(e events.Event, n events.EventNumber, at events.Time) error {
	_, begins := e.(events.RunStarted)
	_, purges := e.(events.RunPurged)
	_, releases := e.(events.RunReleased)
	var wrong string
	switch {
	case n != r.next:
		wrong = fmt.Sprintf("the next number is %d", r.next)
	case at < r.time:
		wrong = fmt.Sprintf("its time %d is before %d, that of the event before", at, r.time)
	case begins != (r.status == events.StatusUnknown):
		wrong = "RunStarted is the first event, and only that"
	case r.purged:
		wrong = "the run is purged"
	case r.quarantined && !releases:
		wrong = "the run is quarantined"
	case releases && !r.quarantined:
		wrong = "the run is not quarantined"
	case !begins && purges == r.status.Open():
		wrong = fmt.Sprintf("it cannot follow in a run that is %s", r.status)
	default:
		return nil
	}
	return fmt.Errorf("run %s, event %d (%T): %s", r.id, n, e, wrong)
}

// ofIntent reports whether e is the event of an intent.
func ofIntent(e events.Event) bool {
	switch e.(type) {
	case events.TaskScheduled, events.TaskCancelled, events.TimerStarted, events.TimerCancelled, events.StepRecorded,
		events.StepBackedOff, events.ViewSet, events.RunContinued, events.RunCompleted, events.RunFailed, events.RunCancelled:
		return true
	default:
		return false
	}
}

func (r *Run) apply(e events.Event, n events.EventNumber, at events.Time) error {
	switch e := e.(type) {
	case events.RunStarted:
		return r.applyStarted(e, n, at)
	case events.ActivationScheduled:
		return r.applyActivation(e, n, at)
	case events.ProgressMade:
		return r.applyProgress(e, n)
	case events.ProgressRefused:
		return r.applyProgressRefused(e)
	case events.ActivationFailed:
		return r.applyActivationFailed(e, at)
	case events.ActivationTimedOut:
		return r.applyActivationTimedOut(e, at)
	case events.TaskScheduled:
		return r.applyTaskScheduled(e, n, at)
	case events.TaskAttemptFailed:
		return r.applyTaskAttemptFailed(e, at)
	case events.TaskCompleted:
		return r.applyTaskEnd(e.Step, e.Attempt)
	case events.TaskFailed:
		return r.applyTaskEnd(e.Step, e.Attempt)
	case events.TaskCancelled:
		if mutant.On(mutant.ResultAcceptedAfterCancel) {
			return nil
		}
		return r.applyTaskEnd(e.Step, e.Attempt)
	case events.HeartbeatRecorded:
		return r.applyHeartbeat(e)
	case events.TimerStarted:
		return r.applyTimerStarted(e)
	case events.TimerFired:
		return r.applyTimerFired(e)
	case events.TimerCancelled:
		return r.applyTimerCancelled(e)
	case events.StepRecorded:
		return r.applyStepRecorded(e)
	case events.StepBackedOff:
		return r.applyStepBackedOff(e)
	case events.StepRetryDue:
		return r.applyStepRetryDue(e)
	case events.ViewSet:
		r.views.set(e)
		return nil
	case events.SignalReceived:
		return r.applySignal(e, n)
	case events.CancelRequested:
		return r.applyCancelRequested(n)
	case events.RunContinued:
		return r.applyContinued(n)
	case events.RunCompleted, events.RunFailed, events.RunCancelled, events.RunTerminated, events.RunTimedOut:
		r.end(events.StatusAfter(r.status, e), n, at)
		return nil
	case events.RunQuarantined:
		return r.applyQuarantined(e)
	case events.RunReleased:
		return r.applyReleased()
	case events.RunPurged:
		r.purged = true
		return nil
	case events.EpochStarted:
		return fmt.Errorf("it belongs to no run")
	}
	return fmt.Errorf("this build does not know the event; upgrade")
}
