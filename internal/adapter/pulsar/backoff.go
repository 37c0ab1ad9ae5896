package pulsar

import (
	"time"

	"github.com/apache/pulsar-client-go/pulsar/backoff"
)

// reconnect is how long the client waits between tries to get a connection again. Its own policy goes up to a minute, which a
// broker that restarts slowly would cost everybody.
type reconnect struct{ last time.Duration }

const (
	firstReconnect = 50 * time.Millisecond
	lastReconnect  = time.Second
)

func newReconnect() backoff.Policy { return &reconnect{} }

// Next returns twice the time of before, within its bounds.
func (r *reconnect) Next() time.Duration {
	r.last = min(max(2*r.last, firstReconnect), lastReconnect)
	return r.last
}

// IsMaxBackoffReached reports whether waiting gets no longer.
func (r *reconnect) IsMaxBackoffReached() bool { return r.last >= lastReconnect }

// Reset begins anew.
func (r *reconnect) Reset() { r.last = 0 }
