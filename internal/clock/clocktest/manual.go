// Package clocktest has clocks for tests: one moved by hand, and one for synctest bubbles.
package clocktest

import (
	"slices"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
)

// Manual is a clock that stands still until it is moved. Its methods may be called from any goroutine.
type Manual struct {
	mu    sync.Mutex
	moved sync.Cond // an armed timer came or went
	wall  time.Time
	boot  time.Duration
	armed []*timer // by due time, then in the order of arming
}

// NewManual returns a clock that shows start; its Boot is 0.
func NewManual(start time.Time) *Manual {
	m := &Manual{wall: start}
	m.moved.L = &m.mu
	return m
}

// Now returns the wall clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

// Boot returns how far the clock was advanced, jumps of the wall clock left out.
func (m *Manual) Boot() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// NewTimer returns a timer that fires when the clock is advanced by d.
func (m *Manual) NewTimer(d time.Duration) clock.Timer {
	t := &timer{clock: m, c: make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arm(t, d)
	return t
}

// After returns the channel of a new timer.
func (m *Manual) After(d time.Duration) <-chan time.Time { return m.NewTimer(d).C() }

// Advance moves wall clock and boot time forward by d. Timers fire in the order in which they are due, each while the
// clock shows its time.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.boot + d
	for len(m.armed) > 0 && m.armed[0].due <= end {
		t := m.armed[0]
		m.step(max(t.due, m.boot))
		m.disarm(t)
		t.c <- m.wall
	}
	m.step(end)
}

func (m *Manual) step(to time.Duration) {
	m.wall = m.wall.Add(to - m.boot)
	m.boot = to
}

// Jump moves the wall clock alone, as an administrator or a time server would. Timers do not notice.
func (m *Manual) Jump(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(d)
}

// Next returns how long until the first armed timer fires; ok is false if none is armed.
func (m *Manual) Next() (d time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.armed) == 0 {
		return 0, false
	}
	return m.armed[0].due - m.boot, true
}

// AwaitTimers blocks until at least n timers are armed: the code under test has begun to wait.
func (m *Manual) AwaitTimers(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.armed) < n {
		m.moved.Wait()
	}
}

// arm arms t; it fires at once if d is not positive.
func (m *Manual) arm(t *timer, d time.Duration) {
	if d <= 0 {
		t.c <- m.wall
		return
	}
	t.due = m.boot + d
	at, _ := slices.BinarySearchFunc(m.armed, t, func(a, b *timer) int {
		if a.due <= b.due {
			return -1
		}
		return 1
	})
	m.armed = slices.Insert(m.armed, at, t)
	m.moved.Broadcast()
}

// disarm removes t and reports whether it was armed.
func (m *Manual) disarm(t *timer) bool {
	at := slices.Index(m.armed, t)
	if at < 0 {
		return false
	}
	m.armed = slices.Delete(m.armed, at, at+1)
	return true
}

type timer struct {
	clock *Manual
	c     chan time.Time
	due   time.Duration
}

func (t *timer) C() <-chan time.Time { return t.c }

func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.quiet()
}

func (t *timer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.quiet()
	t.clock.arm(t, d)
	return was
}

// quiet disarms t and takes back a value that nobody has received, like the timers of package time. Such a timer counts
// as armed.
func (t *timer) quiet() bool {
	armed := t.clock.disarm(t)
	select {
	case <-t.c:
		return true
	default:
		return armed
	}
}
