package presence_test

import (
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestClocksThatDifferAreFound(t *testing.T) {
	t.Parallel()
	begin := events.TimeOf(time.UnixMilli(1_700_000_000_000))
	const mine, other = presence.Process(1), presence.Process(2)
	for name, test := range map[string]struct {
		ahead time.Duration // of the other's clock
		found bool
	}{
		"same":           {0, false},
		"a little ahead": {9 * time.Second, false}, "a little behind": {-9 * time.Second, false},
		"ahead": {time.Hour, true}, "behind": {-time.Hour, true},
	} {
		c := presence.NewClocks(mine)
		told := 0
		for i := range 10 {
			now := begin.Add(time.Duration(i) * time.Second)
			c.Read(presence.Announcement{Process: mine, At: now}, now)
			by, differs := c.Read(presence.Announcement{Process: other, At: now.Add(test.ahead)}, now.Add(time.Millisecond))
			if differs {
				told++
				if (by - test.ahead).Abs() > time.Second {
					t.Errorf("%s: by %v instead of %v", name, by, test.ahead)
				}
			}
		}
		if want := map[bool]int{false: 0, true: 1}[test.found]; told != want {
			t.Errorf("%s: told %d times instead of %d", name, told, want)
		}
	}
}

// What waited for long before it came into the log, and what this process reads late, says nothing about clocks.
func TestDelaysAreNotTakenForClocks(t *testing.T) {
	t.Parallel()
	begin := events.TimeOf(time.UnixMilli(1_700_000_000_000))
	c := presence.NewClocks(1)
	say := func(p presence.Process, at, now time.Duration) {
		if by, differs := c.Read(presence.Announcement{Process: p, At: begin.Add(at)}, begin.Add(now)); differs {
			t.Errorf("%v at %v: differs by %v", p, at, by)
		}
	}
	say(1, time.Minute, time.Minute)
	say(2, 0, time.Minute) // its broker was away
	for i := range 10 {
		at := time.Minute + time.Duration(i)*time.Second
		say(2, at, 10*time.Minute+at) // this process was stopped meanwhile
	}
	say(3, 0, time.Minute)
	say(3, time.Minute, time.Minute)
	say(3, 0, time.Minute)
}
