package sim

import (
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

// epoch is the wall clock's time when a world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// virtualClock shows the world's time to the services. Nobody waits on it: what would be waited for is a turn.
type virtualClock struct{ w *world }

func (c virtualClock) Now() time.Time      { return c.w.wallTime().Std() }
func (c virtualClock) Boot() time.Duration { return time.Duration(c.w.now) * time.Microsecond }

func (c virtualClock) NewTimer(time.Duration) clock.Timer {
	panic("sim: a service waits on its own; drive it by its steps")
}

func (c virtualClock) After(time.Duration) <-chan time.Time {
	panic("sim: a service waits on its own; drive it by its steps")
}

// wallTime returns what the server's wall clock shows.
func (w *world) wallTime() events.Time {
	at := w.now + w.offset
	if w.frozen != 0 {
		at = w.frozen
	}
	return events.TimeOf(epoch) + events.Time(at)
}

// rightTime is what a clock shows that is never wrong: that of a worker's machine.
func (w *world) rightTime() events.Time { return events.TimeOf(epoch) + events.Time(w.now) }
