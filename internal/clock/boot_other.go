//go:build !linux

package clock

import "time"

var start = time.Now()

// boot is Go's monotonic clock, which stands still on some systems while the machine is suspended. A long sleep then
// looks like a jump of the wall clock.
func boot() time.Duration { return time.Since(start) }
