package worker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// minded returns a minder that counts what it says, begun now.
func minded() (m *minder, alive, blocked *atomic.Int32) {
	alive, blocked = new(atomic.Int32), new(atomic.Int32)
	m = &minder{every: 3 * time.Second, watchdog: 5 * time.Second}
	m.alive = func() { alive.Add(1) }
	m.blocked = func(*liveRun) { blocked.Add(1) }
	m.begin(time.Now())
	return m, alive, blocked
}

func sleepFor(d time.Duration) {
	time.Sleep(d) // virtual time
	synctest.Wait()
}

func TestAnActivationThatWaitsGivesSignsOfLifeUntilItIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, alive, blocked := minded()
		sleepFor(31 * time.Second)
		m.end()
		sleepFor(time.Minute)
		if alive.Load() != 10 || blocked.Load() != 0 {
			t.Errorf("%d signs of life in 31 s, given up %d times; want 10 and never", alive.Load(), blocked.Load())
		}
	})
}

func TestCodeIsGivenUpWhenItRunsForTooLongAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _, blocked := minded()
		for range 10 {
			m.enter(&liveRun{})
			sleepFor(4900 * time.Millisecond)
			if !m.leave() {
				t.Fatal("code that waited in time was given up")
			}
		}
		sleepFor(700 * time.Millisecond)
		m.enter(&liveRun{})
		sleepFor(4999 * time.Millisecond)
		if blocked.Load() != 0 {
			t.Error("given up too early")
		}
		sleepFor(2 * time.Millisecond)
		if blocked.Load() != 1 {
			t.Error("not given up after the time of the watchdog")
		}
		sleepFor(time.Minute)
		if m.leave() || blocked.Load() != 1 {
			t.Errorf("code that came back late was not told, or was given up %d times", blocked.Load())
		}
		m.end()
	})
}

// However long the code runs before it waits, the server hears of the activation within three times the interval.
func TestSignsOfLifeGoOnBetweenLongCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, alive, _ := minded()
		for range 4 {
			m.enter(&liveRun{})
			sleepFor(4 * time.Second)
			m.leave()
			had := alive.Load()
			sleepFor(3 * time.Second)
			if alive.Load() == had {
				t.Error("no sign of life for 7 s")
			}
		}
		m.end()
	})
}
