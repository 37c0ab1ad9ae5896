package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/clock/clocktest"
)

func TestClockGuard(t *testing.T) {
	t.Parallel()
	c := clocktest.NewManual(begin)
	g := newClockGuard(c)
	ok := func(what string, want bool) {
		t.Helper()
		_, err := g.now()
		var jump *ClockError
		if (err == nil) != want || (err != nil && !errors.As(err, &jump)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok("at the beginning", true)
	c.Advance(365 * 24 * time.Hour)
	ok("after a year of sleep", true)
	for range 100 {
		c.Advance(time.Hour)
		c.Jump(9 * time.Second)
		ok("a small adjustment", true)
	}
	c.Jump(-11 * time.Second)
	ok("a jump back", false)
	c.Advance(time.Hour)
	ok("it does not go away", false)
	c.Jump(10 * time.Second)
	ok("both agree again", true)
	c.Jump(time.Hour)
	ok("a jump forward", false)
	g.accept()
	ok("accepted", true)
}
