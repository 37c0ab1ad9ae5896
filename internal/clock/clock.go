// Package clock is the only source of time of the suite's shells. Pure packages take times as values.
package clock

import "time"

// Clock tells the time and wakes. Its methods may be called from any goroutine.
type Clock interface {
	// Now returns the wall clock. It may jump in both directions.
	Now() time.Time
	// Boot returns the time since an arbitrary fixed moment. It never falls, does not follow adjustments of the wall clock,
	// and counts the time that the machine sleeps.
	Boot() time.Duration
	// NewTimer returns a timer that fires once after d; at once if d is not positive.
	NewTimer(d time.Duration) Timer
	// After returns the channel of a new timer, for a wait that is never given up early.
	After(d time.Duration) <-chan time.Time
}

// Timer is a wake-up call. Its methods are called by one goroutine.
type Timer interface {
	// C returns the channel that receives one value when the timer fires.
	C() <-chan time.Time
	// Stop disarms the timer and reports whether it was armed. No value is received afterwards.
	Stop() bool
	// Reset arms the timer anew and reports whether it was armed. No value of the time before is received afterwards.
	Reset(d time.Duration) bool
}

// Real returns the machine's clock.
func Real() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) Boot() time.Duration                    { return boot() }
func (realClock) NewTimer(d time.Duration) Timer         { return realTimer{time.NewTimer(d)} }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time        { return t.t.C }
func (t realTimer) Stop() bool                 { return t.t.Stop() }
func (t realTimer) Reset(d time.Duration) bool { return t.t.Reset(d) }
