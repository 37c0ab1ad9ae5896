package engine

import (
	"fmt"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

// maxClockJump is how far the wall clock may move against the time since boot between two looks at both.
const maxClockJump = 10 * time.Second

// clockGuard compares the wall clock with the time since boot, which no adjustment moves. A wall clock that jumps while
// the engine runs would be written into the log for ever, so the engine stops until both agree again or an operator says
// that the new time is right.
type clockGuard struct {
	clock clock.Clock

	mu      sync.Mutex
	wall    time.Time
	boot    time.Duration
	problem string
}

func newClockGuard(c clock.Clock) *clockGuard {
	return &clockGuard{clock: c, wall: c.Now(), boot: c.Boot()}
}

// now returns the time to write into records, or why there is none. Looking often keeps the slow adjustment of a clock
// from adding up to a jump.
func (g *clockGuard) now() (events.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wall, boot := g.clock.Now().Round(0), g.clock.Boot()
	expected := g.wall.Round(0).Add(boot - g.boot)
	if jump := wall.Sub(expected); jump.Abs() > maxClockJump {
		g.problem = fmt.Sprintf(
			"the wall clock shows %s and should show %s: it jumped by %v while the engine ran. Correct the clock, or restart the server, which takes it as it is",
			wall.UTC().Format(time.RFC3339), expected.UTC().Format(time.RFC3339), jump.Round(time.Millisecond))
		return 0, &ClockError{Jump: jump, message: g.problem}
	}
	g.wall, g.boot, g.problem = wall, boot, ""
	return events.TimeOf(wall), nil
}

// accept takes the wall clock as it is.
func (g *clockGuard) accept() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wall, g.boot, g.problem = g.clock.Now(), g.clock.Boot(), ""
}

// ClockError says that the wall clock jumped while the engine ran.
type ClockError struct {
	// Jump is how far the wall clock is ahead of where it should be.
	Jump    time.Duration
	message string
}

// Error says what both clocks show and what to do.
func (e *ClockError) Error() string { return e.message }
