package worker

import (
	"sync"
	"time"
)

// minder looks after an activation from time to time: while the activation waits, for history or for steps, it is to be said
// that it goes on; code that has run for too long without waiting is given up. It costs a timer that rarely fires.
type minder struct {
	every    time.Duration // between signs of life
	watchdog time.Duration
	alive    func()              // says that the activation goes on
	blocked  func(live *liveRun) // gives the activation up, whose code may never come back

	mu     sync.Mutex
	timer  *time.Timer
	due    time.Time // when the timer fires; zero when it does not
	over   bool
	said   time.Time // when a sign of life was given
	live   *liveRun  // whose code runs; nil while none does
	since  time.Time // when it began to
	giving bool      // it was given up
}

// begin starts to look after an activation that began now, perhaps after another one that has ended.
func (m *minder) begin(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over, m.said = false, now
	next := min(m.every, m.watchdog)
	switch due := now.Add(next); {
	case m.timer == nil:
		m.due = due
		m.timer = time.AfterFunc(next, m.look) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	case m.due.IsZero() || m.due.After(due):
		m.due = due
		m.timer.Reset(next)
	}
}

// end stops it. The timer is left to fire once more: most often another activation has begun by then.
func (m *minder) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
}

// enter notes that the code of a run begins to run.
func (m *minder) enter(live *liveRun) {
	now := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live, m.since = live, now
}

// leave notes that the code waits or has ended; false means that it was given up meanwhile.
func (m *minder) leave() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = nil
	return !m.giving
}

func (m *minder) look() {
	now := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due = time.Time{}
	if m.over {
		return
	}
	switch ran := now.Sub(m.since); {
	case m.live != nil && ran >= m.watchdog:
		m.over, m.giving = true, true
		go m.blocked(m.live)
		return
	case m.live != nil:
		m.lookIn(now, min(m.watchdog-ran, m.every/2))
		return
	case now.Sub(m.said) >= m.every:
		m.said = now
		m.alive()
	}
	m.lookIn(now, min(m.every-now.Sub(m.said), m.watchdog))
}

// lookIn looks again after d. The caller holds the lock.
func (m *minder) lookIn(now time.Time, d time.Duration) {
	m.due = now.Add(d)
	m.timer.Reset(d)
}
