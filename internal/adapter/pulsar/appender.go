package pulsar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	// never is a time in which the client does not send a batch by itself: it would look for one with a timer for each producer,
	// a thousand times a second to be as quick, also when nothing is to be done.
	never = 1000 * time.Hour
	// gatherMost is how long messages gather at most: for others like them, and while those before them are on their way.
	gatherMost = 5 * time.Millisecond
)

// maxPendingBytes bounds what one appender has on its way; a single message may be larger.
const maxPendingBytes = 16 << 20

// appender bounds what is on its way itself, so that the client's calls never block, and tells outcomes on a goroutine of its
// own, because the client calls back from within some of them.
type appender struct {
	log      *Log
	topic    brokerlog.Topic
	p        events.Partition
	producer pulsar.Producer
	unsent   chan struct{} // has a value when the client may have a message that it keeps for a batch; nil: it keeps none
	room     chan struct{} // has a value when something has left
	over     chan struct{} // closed by Close

	mu       sync.Mutex
	pending  []*pendingAppend // in the order of the calls; those in front may be decided
	count    int
	bytes    int
	closed   bool
	kept     int           // by the client for a batch, since the last flush
	failures int           // decided since the line was last searched for them
	decided  chan struct{} // has a value when something is decided
}

type pendingAppend struct {
	done    func(error)
	size    int
	decided bool
	err     error
}

// Appender makes a producer.
func (l *Log) Appender(ctx context.Context, t brokerlog.Topic, p events.Partition) (brokerlog.Appender, error) {
	if err := l.usable(t, p); err != nil {
		return nil, err
	}
	// What is appended to the inbox is put together before, and what is appended to presence is alone.
	batching := t == brokerlog.Commands || t == brokerlog.Events
	producer, err := l.producer(ctx, t, p, batching)
	if err != nil {
		return nil, err
	}
	a := newAppender(l, t, p, producer, batching)
	if a == nil {
		producer.Close()
		return nil, fmt.Errorf("appender for %s: %w", l.topicName(t, p), brokerlog.ErrClosed)
	}
	return a, nil
}

// newAppender begins to work with a producer; it returns nil when the log is closed.
func newAppender(l *Log, t brokerlog.Topic, p events.Partition, producer pulsar.Producer, batching bool) *appender {
	a := &appender{log: l, topic: t, p: p, producer: producer, room: make(chan struct{}, 1), over: make(chan struct{}), decided: make(chan struct{}, 1)}
	if batching {
		a.unsent = make(chan struct{}, 1)
	}
	if !l.own(a) {
		return nil
	}
	l.spawn(a.tell)
	if batching {
		l.spawn(a.flush)
	}
	return a
}

// producer makes one of the client's, which knows no context.
func (l *Log) producer(ctx context.Context, t brokerlog.Topic, p events.Partition, batching bool) (pulsar.Producer, error) {
	options := pulsar.ProducerOptions{
		Topic:       l.topicName(t, p),
		SendTimeout: -1, // one that is given up while those behind it go on would make a hole
		// More than this package lets through.
		MaxPendingMessages:      2*l.options.MaxPending + 16,
		DisableBatching:         !batching,
		BatchingMaxPublishDelay: never, // flush does
		BatchingMaxMessages:     1000,
		BackOffPolicyFunc:       newReconnect,
	}
	var producer pulsar.Producer
	err := l.retry(ctx, "producer for "+options.Topic, func(ctx context.Context) (err error) {
		producer, err = waitFor(ctx, l, func() (pulsar.Producer, error) { return l.client.CreateProducer(options) }, pulsar.Producer.Close)
		return err
	})
	return producer, err
}

// waitFor waits for a call that knows no context; what it returns when nobody waits any more is discarded.
func waitFor[T any](ctx context.Context, l *Log, call func() (T, error), discard func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers, gone := make(chan answer), make(chan struct{})
	defer close(gone)
	l.spawn(func() {
		value, err := call()
		select {
		case answers <- answer{value, err}:
		case <-gone:
			if err == nil {
				discard(value)
			}
		}
	})
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Append hands a message to the client.
func (a *appender) Append(ctx context.Context, body []byte, done func(error)) {
	item := &pendingAppend{done: done, size: len(body)}
	if err := a.admit(ctx, item); errors.Is(err, brokerlog.ErrClosed) {
		go done(err)
		return
	} else if err != nil {
		a.decide(item, err)
		return
	}
	if len(body) > brokerlog.MaxMessageBytes {
		a.decide(item, fmt.Errorf("a message of %d bytes for %s; the limit is %d", len(body), a.log.topicName(a.topic, a.p), brokerlog.MaxMessageBytes))
		return
	}
	a.producer.SendAsync(context.WithoutCancel(ctx), &pulsar.ProducerMessage{Payload: body}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		if err != nil {
			err = fmt.Errorf("append to %s: %w", a.log.topicName(a.topic, a.p), translate(err))
		}
		a.decide(item, err)
	})
	if a.unsent != nil {
		a.mu.Lock()
		a.kept++
		a.mu.Unlock()
		wake(a.unsent)
	}
}

// flush has the client send what it keeps: together with what comes until those before have arrived, and when these were
// several, until as many have come again, for as long as they took at most. So a message that is alone waits for nobody, and the
// busier the broker is, the fewer and larger batches it gets.
func (a *appender) flush() {
	ctx, cancel := a.log.bound(context.Background())
	defer cancel()
	timer := a.log.options.Clock.NewTimer(gatherMost)
	defer timer.Stop()
	sent, took := 1, time.Duration(0)
	for {
		select {
		case <-a.unsent:
		case <-a.over:
			return
		}
		sent = a.gather(sent, timer, min(took, gatherMost))
		began := a.log.options.Clock.Boot()
		arrived := make(chan struct{})
		a.log.spawn(func() {
			defer close(arrived)
			_ = a.producer.FlushWithCtx(ctx) // each message has its outcome
		})
		timer.Reset(gatherMost)
		select {
		case <-arrived:
		case <-timer.C():
		case <-a.over:
			return
		}
		took = a.log.options.Clock.Boot() - began
	}
}

// gather waits until the client keeps so many messages, but not for longer than told, and returns how many it keeps.
func (a *appender) gather(wanted int, timer clock.Timer, most time.Duration) int {
	timer.Reset(most)
	for {
		a.mu.Lock()
		kept := a.kept
		if kept >= wanted || wanted < 2 || most == 0 {
			a.kept = 0
			a.mu.Unlock()
			return kept
		}
		a.mu.Unlock()
		select {
		case <-a.unsent:
		case <-timer.C():
			most = 0
		case <-a.over:
			return kept
		}
	}
}

// admit waits for room. The item is in the line afterwards, also when the answer is an error, unless the appender is closed.
func (a *appender) admit(ctx context.Context, item *pendingAppend) error {
	for {
		a.mu.Lock()
		free := a.count == 0 || a.count < a.log.options.MaxPending && a.bytes+item.size <= maxPendingBytes
		if a.closed {
			a.mu.Unlock()
			return fmt.Errorf("append to %s: %w", a.log.topicName(a.topic, a.p), brokerlog.ErrClosed)
		}
		if free || ctx.Err() != nil {
			a.count++
			a.bytes += item.size
			a.pending = append(a.pending, item)
			a.mu.Unlock()
			if !free {
				return fmt.Errorf("append to %s, while %d messages are on their way: %w", a.log.topicName(a.topic, a.p), a.log.options.MaxPending, ctx.Err())
			}
			return nil
		}
		a.mu.Unlock()
		select {
		case <-a.room:
		case <-ctx.Done():
		case <-a.over:
		}
	}
}

// decide notes an outcome; the first one of a message counts.
func (a *appender) decide(item *pendingAppend, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if item.decided {
		return
	}
	item.decided, item.err = true, err
	if err != nil {
		a.failures++
	}
	a.count--
	a.bytes -= item.size
	wake(a.room)
	wake(a.decided)
}

func wake(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

// tell calls done in the order of the calls; a failure does not wait for those before it. It ends with the appender.
func (a *appender) tell() {
	for {
		told, over := a.take()
		for _, item := range told {
			item.done(item.err)
		}
		if over {
			return
		}
		if len(told) == 0 {
			<-a.decided
		}
	}
}

// take returns what can be told, and whether nothing will come any more.
func (a *appender) take() (told []*pendingAppend, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) > 0 && a.pending[0].decided {
		told = append(told, a.pending[0])
		a.pending = a.pending[1:]
	}
	if len(told) == 0 && a.failures > 0 {
		a.failures = 0
		a.pending = slices.DeleteFunc(a.pending, func(item *pendingAppend) bool {
			if item.decided && item.err != nil {
				told = append(told, item)
				return true
			}
			return false
		})
	}
	return told, a.closed && len(a.pending) == 0
}

// Close gives up what is on its way and lets the client close the producer, which may take as long as a lost connection.
func (a *appender) Close() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed = true
	close(a.over)
	given := append([]*pendingAppend(nil), a.pending...)
	a.mu.Unlock()
	for _, item := range given {
		a.decide(item, fmt.Errorf("append to %s, given up: %w", a.log.topicName(a.topic, a.p), brokerlog.ErrClosed))
	}
	wake(a.decided)
	a.log.disown(a)
	a.log.spawn(a.producer.Close)
}
