package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/pkg/events"
)

// errAppend is what an appender is told of an append that failed, whether the message is there or not.
var errAppend = errors.New("the broker did not answer")

// brokerAppender hands its messages over on a goroutine of its own, which calls done.
type brokerAppender struct {
	log *BrokerLog
	partitionKey

	places chan struct{} // one value for each message on its way
	over   chan struct{} // closed when the appender ends

	// Guarded by the broker's lock.
	pending []pendingAppend
	untold  []func(error)
	ready   chan struct{}
	ended   bool
}

type pendingAppend struct {
	body []byte
	done func(error)
}

// Appender makes a producer.
func (l *BrokerLog) Appender(ctx context.Context, t brokerlog.Topic, p events.Partition) (brokerlog.Appender, error) {
	if err := l.connected(ctx, t, p); err != nil {
		return nil, err
	}
	defer l.broker.mu.Unlock()
	a := &brokerAppender{
		log: l, partitionKey: partitionKey{t, p}, places: make(chan struct{}, l.broker.options.MaxPending), over: make(chan struct{}),
		ready: make(chan struct{}, 1),
	}
	l.appenders[a] = struct{}{}
	go a.run()
	return a, nil
}

// Append puts a message on its way.
func (a *brokerAppender) Append(ctx context.Context, body []byte, done func(error)) {
	if len(body) > brokerlog.MaxMessageBytes {
		go done(fmt.Errorf("a message of %d bytes for %s; the limit is %d", len(body), a.topic, brokerlog.MaxMessageBytes))
		return
	}
	select {
	case a.places <- struct{}{}:
	case <-ctx.Done():
		go done(ctx.Err())
		return
	case <-a.over:
		go a.refuse(done)
		return
	}
	b := a.log.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.ended {
		go a.refuse(done)
		return
	}
	a.pending = append(a.pending, pendingAppend{bytes.Clone(body), done})
	wake(a.ready)
}

// refuse tells that the appender is closed, unless its process is dead.
func (a *brokerAppender) refuse(done func(error)) {
	a.log.broker.mu.Lock()
	killed := a.log.killed
	a.log.broker.mu.Unlock()
	if !killed {
		done(fmt.Errorf("appending to partition %d of %s: %w", a.partition, a.topic, brokerlog.ErrClosed))
	}
}

func (a *brokerAppender) run() {
	for {
		if tell := a.next(); tell != nil {
			tell()
			continue
		}
		a.log.broker.mu.Lock()
		changed := a.log.changed
		idle := !a.ended && (a.log.cut || len(a.pending) == 0)
		a.log.broker.mu.Unlock()
		if !idle {
			if a.finish() {
				return
			}
			continue
		}
		select {
		case <-a.ready:
		case <-changed:
		case <-a.over:
		}
	}
}

// next stores the next message and returns how to tell of it; nil when there is none.
func (a *brokerAppender) next() func() {
	b := a.log.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.ended || a.log.cut || len(a.pending) == 0 {
		return nil
	}
	m := a.pending[0]
	a.pending = a.pending[1:]
	fault := AppendStored
	if b.faults.Append != nil {
		fault = b.faults.Append(a.topic, a.partition, m.body)
	}
	var err error
	switch fault {
	case AppendStored:
		b.store(a.topic, a.partition, m.body)
	case AppendTwice:
		b.store(a.topic, a.partition, m.body)
		b.store(a.topic, a.partition, m.body)
	case AppendFailed:
		err = errAppend
	case AppendStoredFailed:
		b.store(a.topic, a.partition, m.body)
		err = errAppend
	case AppendStoredUntold:
		b.store(a.topic, a.partition, m.body)
		a.untold = append(a.untold, m.done)
		return func() {}
	case AppendLate:
		b.late = append(b.late, lateMessage{a.partitionKey, m.body})
		err = errAppend
	}
	return func() {
		<-a.places
		b.mu.Lock()
		killed := a.log.killed
		b.mu.Unlock()
		if !killed {
			m.done(err)
		}
	}
}

// finish tells of what was given up, once the appender has ended.
func (a *brokerAppender) finish() bool {
	b := a.log.broker
	b.mu.Lock()
	if !a.ended {
		b.mu.Unlock()
		return false
	}
	dones, killed := a.untold, a.log.killed
	for _, m := range a.pending {
		b.late = append(b.late, lateMessage{a.partitionKey, m.body})
		dones = append(dones, m.done)
	}
	a.pending, a.untold = nil, nil
	b.mu.Unlock()
	if !killed {
		for _, done := range dones {
			a.refuse(done)
		}
	}
	return true
}

// Close gives up what is on its way; it becomes late.
func (a *brokerAppender) Close() {
	a.log.broker.mu.Lock()
	defer a.log.broker.mu.Unlock()
	a.end()
}

func (a *brokerAppender) end() {
	if !a.ended {
		a.ended = true
		delete(a.log.appenders, a)
		close(a.over)
	}
}
