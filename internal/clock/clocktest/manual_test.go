package clocktest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
)

var start = time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)

func received(t clock.Timer) (time.Time, bool) {
	select {
	case at := <-t.C():
		return at, true
	default:
		return time.Time{}, false
	}
}

func TestTimersFireAtTheirTime(t *testing.T) {
	t.Parallel()
	m := clocktest.NewManual(start)
	late, early, now := m.NewTimer(2*time.Second), m.NewTimer(time.Second), m.NewTimer(0)
	if at, ok := received(now); !ok || !at.Equal(start) {
		t.Errorf("a timer of 0 fired %v at %v", ok, at)
	}
	if d, ok := m.Next(); !ok || d != time.Second {
		t.Errorf("Next is %v %v", d, ok)
	}
	m.Advance(time.Second - 1)
	if _, ok := received(early); ok {
		t.Error("a timer fired early")
	}
	m.Advance(5 * time.Second)
	for timer, want := range map[clock.Timer]time.Time{early: start.Add(time.Second), late: start.Add(2 * time.Second)} {
		if at, ok := received(timer); !ok || !at.Equal(want) {
			t.Errorf("a timer fired %v at %v instead of %v", ok, at, want)
		}
	}
	if want := start.Add(6*time.Second - 1); !m.Now().Equal(want) || m.Boot() != 6*time.Second-1 {
		t.Errorf("the clock shows %v and %v", m.Now(), m.Boot())
	}
}

func TestStopAndResetTakeBackAValue(t *testing.T) {
	t.Parallel()
	m := clocktest.NewManual(start)
	timer := m.NewTimer(time.Second)
	m.Advance(time.Second)
	if !timer.Reset(time.Minute) {
		t.Error("Reset of a timer whose value nobody received reports false")
	}
	if _, ok := received(timer); ok {
		t.Error("a value of before Reset was received")
	}
	m.Advance(time.Minute)
	if _, ok := received(timer); !ok {
		t.Error("a reset timer did not fire")
	}
	if timer.Stop() {
		t.Error("Stop of a timer that has fired reports true")
	}
}

func TestJumpMovesTheWallClockAlone(t *testing.T) {
	t.Parallel()
	m := clocktest.NewManual(start)
	timer := m.NewTimer(time.Minute)
	m.Jump(-24 * time.Hour)
	if m.Boot() != 0 || !m.Now().Equal(start.Add(-24*time.Hour)) {
		t.Errorf("after a jump the clock shows %v and %v", m.Now(), m.Boot())
	}
	m.Advance(time.Minute)
	if _, ok := received(timer); !ok {
		t.Error("a timer noticed the jump")
	}
}

func TestAwaitTimers(t *testing.T) {
	t.Parallel()
	m := clocktest.NewManual(start)
	woken := make(chan time.Time)
	go func() { woken <- <-m.After(time.Second) }()
	m.AwaitTimers(1)
	m.Advance(time.Second)
	if at := <-woken; !at.Equal(start.Add(time.Second)) {
		t.Errorf("woken at %v", at)
	}
}

func TestBubbleClocksAgree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clocktest.Bubble()
		wall := c.Now()
		<-c.After(time.Hour)
		if c.Boot() != time.Hour || c.Now().Sub(wall) != time.Hour {
			t.Errorf("an hour later boot time is %v and the wall clock moved by %v", c.Boot(), c.Now().Sub(wall))
		}
	})
}
