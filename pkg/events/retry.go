package events

import (
	"math"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// Defaults of a retry policy.
const (
	DefaultRetryInitial = time.Second
	DefaultRetryFactor  = 2.0
	DefaultRetryMax     = 100 * time.Second
)

// RetryPolicy says when a failed attempt is tried again. The zero value means the defaults: after 1 s, doubling up to
// 100 s, without end.
type RetryPolicy struct {
	// Initial is the delay before the second attempt; 0 means 1 s.
	Initial time.Duration
	// Factor multiplies the delay from attempt to attempt; 0 means 2, values below 1 are refused.
	Factor float64
	// Max bounds the delay; 0 means 100 s, or Initial if that is longer.
	Max time.Duration
	// MaxAttempts bounds the attempts, the first included; 0 means no bound.
	MaxAttempts uint32
	// NonRetryable lists failure codes that end the retries.
	NonRetryable []string
}

// Allows reports whether another attempt may follow attempt number n that ended with f.
func (p RetryPolicy) Allows(n Attempt, f *Failure) bool {
	if p.MaxAttempts > 0 && uint32(n) >= p.MaxAttempts {
		return false
	}
	return f == nil || (!f.NonRetryable && !slices.Contains(p.NonRetryable, f.Code))
}

// Delay returns the time between the end of attempt n of the given task and its next attempt, with a jitter of up to a
// tenth downwards that depends on the task and the attempt alone, so that replay and every reader agree on it.
func (p RetryPolicy) Delay(id TaskID, n Attempt) time.Duration {
	initial, factor, limit := p.Initial, p.Factor, p.Max
	if initial <= 0 {
		initial = DefaultRetryInitial
	}
	if factor < 1 {
		factor = DefaultRetryFactor
	}
	if limit <= 0 {
		limit = max(DefaultRetryMax, initial)
	}
	delay := float64(initial) * math.Pow(factor, float64(max(n, 1)-1))
	if math.IsNaN(delay) || delay > float64(limit) && !mutant.On(mutant.RetryUnbounded) {
		delay = float64(limit)
	}
	h := uint64(n)
	for _, b := range id.Run {
		h = h<<8 ^ avalanche(h^uint64(b))
	}
	h = avalanche(h ^ uint64(id.Step))
	return time.Duration(delay * (1 - float64(h%1000)/10000)).Truncate(time.Microsecond)
}
