package clock_test

import (
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
)

func TestRealClocksGoTogether(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	wall, boot := c.Now(), c.Boot()
	<-c.After(20 * time.Millisecond)
	passed, since := c.Boot()-boot, c.Now().Sub(wall)
	if passed < 20*time.Millisecond {
		t.Errorf("boot time passed by %v during a wait of 20ms", passed)
	}
	if d := (passed - since).Abs(); d > time.Second {
		t.Errorf("boot time passed by %v and the wall clock by %v", passed, since)
	}
}

func TestRealTimerStopsAndRestarts(t *testing.T) {
	t.Parallel()
	timer := clock.Real().NewTimer(time.Hour)
	if !timer.Stop() {
		t.Error("Stop of an armed timer reports false")
	}
	if timer.Stop() {
		t.Error("Stop of a stopped timer reports true")
	}
	if timer.Reset(time.Millisecond) {
		t.Error("Reset of a stopped timer reports true")
	}
	<-timer.C()
}
