package worker

import (
	"fmt"
	"sync"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// heartbeatGap is the least time between two heartbeats of an attempt on the wire, so that a tight loop may call Heartbeat
// freely, from any goroutine. The last one of a burst is said when the time has passed, or when the attempt fails.
const heartbeatGap = 100 * time.Millisecond

// pulse passes the heartbeats of one attempt on.
type pulse struct {
	worker *Worker
	ref    *apiv1.AttemptRef

	mu      sync.Mutex
	over    bool
	timer   *time.Timer // runs while the gap after a heartbeat has not passed
	waiting bool        // a heartbeat came meanwhile
	details events.Payload
}

// beat takes a heartbeat. It fails when the details are larger than the server takes.
func (p *pulse) beat(details events.Payload) error {
	if limit := p.worker.maxPayload.Load(); limit > 0 && int64(len(details.Data)) > limit {
		return &events.Error{Code: events.PayloadTooLarge, Message: fmt.Sprintf(
			"the details of a heartbeat have %d bytes; the limit is %d", len(details.Data), limit)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	if !details.IsZero() {
		p.details = details
	}
	p.waiting = true
	if p.timer == nil {
		p.say()
	}
	return nil
}

// say says what waits and begins a gap. The caller holds the lock.
func (p *pulse) say() {
	beat := &apiv1.TaskHeartbeat{Task: p.ref}
	if !p.details.IsZero() {
		beat.Details = wire.ToPayload(p.details)
	}
	p.worker.outbox.beat(beat)
	p.waiting, p.details = false, events.Payload{}
	p.timer = time.AfterFunc(heartbeatGap, p.gapEnds) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
}

func (p *pulse) gapEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.waiting && !p.over {
		p.say()
	}
}

// end says the last details of an attempt that failed, and drops those of others; nothing is said afterwards.
func (p *pulse) end(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed && p.waiting {
		p.say()
	}
	if p.over = true; p.timer != nil {
		p.timer.Stop()
	}
	if !failed {
		p.worker.outbox.hush(keyOf(p.ref))
	}
}
