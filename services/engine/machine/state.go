package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Describe returns the state as text for people and tests: one line per open thing, in a stable order. Its form is not a
// contract.
func (r *Run) Describe() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch {
	case r.status == events.StatusUnknown:
		line("not begun")
		return b.String()
	case r.ended != 0:
		line("%s by event %d, next %d, purged %t", r.status, r.ended, r.next, r.purged)
		return b.String()
	}
	line("%s %s on %s, next %d, replay from %d, base %d, upto %d, high step %d", r.status, r.kind, r.queue, r.next,
		r.code.replayFrom, r.code.base, r.code.upto, r.steps.high)
	if r.quarantined {
		line("quarantined: %s", r.reason)
	}
	if r.due != 0 {
		line("times out at %d", r.due)
	}
	if r.cancel != 0 {
		line("cancel requested by event %d", r.cancel)
	}
	if r.code.refusals > 0 {
		line("refused to end %d times", r.code.refusals)
	}
	if f := &r.flight; f.open {
		line("activation %d attempt %d upto %d", f.number, f.attempt, f.upto)
	} else if f.retry {
		line("activation %d attempt %d to be tried again", f.number, f.attempt)
	}
	for _, s := range slices.Sorted(maps.Keys(r.tasks)) {
		t := r.tasks[s]
		line("task %d %s on %s attempt %d", s, t.name, t.queue, t.attempt)
	}
	for _, s := range slices.Sorted(maps.Keys(r.timers)) {
		line("timer %d due %d", s, r.timers[s])
	}
	for _, s := range slices.Sorted(maps.Keys(r.steps.backoffs)) {
		if due := r.steps.backoffs[s]; due != 0 {
			line("step %d backs off until %d", s, due)
		} else {
			line("step %d to be tried again", s)
		}
	}
	for _, h := range r.steps.holes {
		line("steps %d to %d unused", h.from, h.to)
	}
	for _, x := range r.inbox.boxes {
		line("signal %s: %d received, %d read, receives %t", x.name, x.received, x.read, x.receives)
	}
	if n := len(r.views.all); n > 0 {
		line("views: %d names, %d bytes", n, r.views.bytes)
	}
	if !r.flight.open {
		line("waits: now %t, %d groups, %d fulfilled", r.wait.now, len(r.wait.groups), r.wait.fulfilled)
	}
	return b.String()
}
