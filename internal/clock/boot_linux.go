package clock

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// began has the reading of Go's monotonic clock that others are measured from.
var began = time.Now()

// offsets say how the clocks stood to the monotonic one when CLOCK_BOOTTIME was read.
type offsets struct {
	wall time.Duration // since 1970
	boot time.Duration
}

var lastRead atomic.Pointer[offsets]

// wallDrift is how far the wall clock may move against the monotonic one before CLOCK_BOOTTIME is read again.
const wallDrift = time.Millisecond

// boot is CLOCK_BOOTTIME, which unlike Go's monotonic clock goes on while the machine is suspended. Reading it is a system
// call, and reading the other two is not: while they stay together nothing was suspended.
func boot() time.Duration {
	for {
		now := time.Now()
		mono := now.Sub(began)
		wall := time.Duration(now.UnixNano()) - mono
		last := lastRead.Load()
		if last != nil && (wall-last.wall).Abs() < wallDrift {
			return mono + last.boot
		}
		next := &offsets{wall: wall, boot: readBoot() - time.Since(began)}
		if last != nil {
			// What the reading of two clocks one after the other makes too small must not let the time fall.
			next.boot = max(next.boot, last.boot)
		}
		if lastRead.CompareAndSwap(last, next) { // else somebody has seen a time that next does not know
			return mono + next.boot
		}
	}
}

func readBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock: CLOCK_BOOTTIME cannot be read: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
