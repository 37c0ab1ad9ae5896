package bench

import (
	"slices"
	"time"
)

// now is the machine's clock, which is what a benchmark measures with.
func now() time.Time { return time.Now() } //nolint:forbidigo // measured is real time

// since is the time that went by since t.
func since(t time.Time) time.Duration { return time.Since(t) } //nolint:forbidigo // measured is real time

// percentiles returns p50, p95 and p99 in milliseconds, zeros when there is nothing. It sorts the samples.
func percentiles(samples []time.Duration) (p50, p95, p99 float64) {
	if len(samples) == 0 {
		return 0, 0, 0
	}
	slices.Sort(samples)
	at := func(percent int) float64 {
		return milliseconds(samples[min(len(samples)*percent/100, len(samples)-1)])
	}
	return at(50), at(95), at(99)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
