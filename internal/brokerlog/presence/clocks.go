package presence

import (
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxSkew is by how much the wall clocks of two processes of a cluster may differ. What an owner writes into its partitions is
// never taken back, so one with a wrong clock would let timers fire early or not at all for as long as it is wrong.
const MaxSkew = 10 * time.Second

// offAfter is how many announcements in a row have to differ: one may have waited for long before it was appended.
const offAfter = 2

// Clocks compares the wall clocks of processes by what they announce. An announcement cannot come from the future, nor from
// before one of this process that the log has in front of it.
type Clocks struct {
	self Process
	own  events.Time // the newest of this process that came back
	off  map[Process]int
}

// NewClocks returns the comparison of a process with the others.
func NewClocks(self Process) *Clocks { return &Clocks{self: self, off: map[Process]int{}} }

// Read takes the next announcement of the log. Differs is true once for each time that another process begins to differ; ahead
// is then by how much its clock is ahead of this one's, at least, and negative if it is behind.
func (c *Clocks) Read(a Announcement, now events.Time) (ahead time.Duration, differs bool) {
	if a.Process == c.self {
		c.own = max(c.own, a.At)
		return 0, false
	}
	switch {
	case a.At.Sub(now) > MaxSkew:
		ahead = a.At.Sub(now)
	case c.own.Sub(a.At) > MaxSkew:
		ahead = a.At.Sub(c.own)
	default:
		delete(c.off, a.Process)
		return 0, false
	}
	if len(c.off) < MaxMembers || c.off[a.Process] > 0 {
		c.off[a.Process]++
	}
	return ahead, c.off[a.Process] == offAfter
}
