package brokerinbox

import (
	"context"

	"github.com/continuo-dev/continuo/internal/brokerlog"
)

// Settled reports whether all that was said has come back and everything in the log is read. Else read is closed when
// something was read.
func (i *Inbox) Settled(ctx context.Context) (settled bool, read <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waits = true
	for _, p := range i.parts {
		end, err := i.options.Log.End(ctx, brokerlog.Inbox, p.partition)
		if err != nil || p.at != end {
			return false, i.read
		}
	}
	return i.core.Idle(), i.read
}
