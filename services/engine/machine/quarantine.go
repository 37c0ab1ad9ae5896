package machine

import (
	"errors"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Quarantined returns why the run is quarantined; ok is false when it is not.
func (r *Run) Quarantined() (reason string, ok bool) { return r.reason, r.quarantined }

func (r *Run) decideRelease(env events.Envelope, c events.ReleaseRun) ([]events.Event, events.Answer) {
	if !r.quarantined {
		return nil, r.answer(env, events.NotQuarantined, "the run is not quarantined")
	}
	return []events.Event{events.RunReleased(c)}, r.answer(env, events.OK, "")
}

func (r *Run) applyQuarantined(e events.RunQuarantined) error {
	r.quarantined, r.reason = true, e.Reason
	return nil
}

func (r *Run) applyReleased() error {
	if !r.quarantined {
		return errors.New("the run is not quarantined")
	}
	r.quarantined, r.reason = false, ""
	return nil
}
