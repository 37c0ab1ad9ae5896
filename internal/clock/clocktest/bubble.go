package clocktest

import (
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
)

// Bubble returns a clock for code that runs in a [testing/synctest] bubble: wall clock and boot time are both the
// bubble's, so that they agree. Call it inside the bubble.
func Bubble() clock.Clock { return bubble{Clock: clock.Real(), start: time.Now()} }

type bubble struct {
	clock.Clock
	start time.Time
}

func (b bubble) Boot() time.Duration { return time.Since(b.start) }
