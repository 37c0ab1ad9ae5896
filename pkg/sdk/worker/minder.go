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
	over   bool
	said   time.Time // when a sign of life was given
	live   *liveRun  // whose code runs; nil while none does
	since  time.Time // when it began to
	giving bool      // it was given up
}

// begin starts to look after an activation that began now.
func (m *minder) begin(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = now
	m.timer = time.AfterFunc(min(m.every, m.watchdog), m.look) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
}

// end stops it.
func (m *minder) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.timer.Stop()
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
	if m.over {
		return
	}
	next := min(m.every, m.watchdog)
	switch ran := now.Sub(m.since); {
	case m.live != nil && ran >= m.watchdog:
		m.over, m.giving = true, true
		go m.blocked(m.live)
		return
	case m.live != nil:
		next = min(m.watchdog-ran, m.every/2)
	case now.Sub(m.said) >= m.every:
		m.said = now
		m.alive()
	}
	m.timer.Reset(next)
}
