package pulsar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	// receiveFrames and receiveCommands are how many messages the broker sends ahead of a reader. Frames may have megabytes.
	receiveFrames   = 64
	receiveCommands = 1000
	// readAhead is how many messages wait between the client and Next.
	readAhead = 64
	// quietTime is after how much silence a reader asks the broker whether there is really nothing: the client has been seen to
	// receive nothing any more after a reconnect.
	quietTime = 10 * time.Second
)

// reader reads over any number of the client's readers, one after the other.
type reader struct {
	log    *Log
	topic  brokerlog.Topic
	p      events.Partition
	ready  chan fold.Message
	ctx    context.Context
	cancel context.CancelFunc

	// Of the goroutine that fetches.
	client pulsar.Reader
	last   seen

	once   sync.Once
	failed chan struct{} // closed when err is set
	err    error
}

// seen is the last message that came from the broker, the beginning included.
type seen struct {
	ledger, entry int64
	index, size   int32 // in a batch of size; 0 and 0 for a message that is alone
}

func (s seen) position() fold.Position { return position(s.ledger, s.entry, s.index) }

// Read begins behind a position. It looks at the message there, so it waits for the broker.
func (l *Log) Read(ctx context.Context, t brokerlog.Topic, p events.Partition, from fold.Position) (brokerlog.Reader, error) {
	if err := l.usable(t, p); err != nil {
		return nil, err
	}
	r := &reader{log: l, topic: t, p: p, ready: make(chan fold.Message, readAhead), failed: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(l.ctx)
	err := l.retry(ctx, fmt.Sprintf("reading %s behind %v", l.topicName(t, p), from), func(ctx context.Context) error { return r.begin(ctx, from) })
	if err == nil && !l.own(r) {
		r.client.Close()
		err = fmt.Errorf("reading %s: %w", l.topicName(t, p), brokerlog.ErrClosed)
	}
	if err != nil {
		r.cancel()
		return nil, err
	}
	l.spawn(r.run)
	return r, nil
}

// begin makes a reader of the client's that has just passed the message at from, or the beginning.
func (r *reader) begin(ctx context.Context, from fold.Position) error {
	start := pulsar.EarliestMessageID()
	if !from.IsZero() {
		if err := r.log.has(ctx, r.topic, r.p, from); err != nil {
			return err
		}
		ledger, entry := place(from)
		start = pulsar.NewMessageID(ledger, entry, -1, int32(r.p))
	}
	options := pulsar.ReaderOptions{
		Topic: r.log.topicName(r.topic, r.p), StartMessageID: start, StartMessageIDInclusive: true, ReceiverQueueSize: receiveFrames,
		BackoffPolicyFunc: newReconnect,
	}
	if r.topic == brokerlog.Commands {
		options.ReceiverQueueSize = receiveCommands
	}
	client, err := waitFor(ctx, r.log, func() (pulsar.Reader, error) { return r.log.client.CreateReader(options) }, pulsar.Reader.Close)
	if err != nil {
		return err
	}
	if r.last, err = first(ctx, client, from); err != nil {
		client.Close()
		return err
	}
	r.client = client
	return nil
}

// first passes what is before from in its batch, and wants to meet the message at from itself.
func first(ctx context.Context, client pulsar.Reader, from fold.Position) (seen, error) {
	for {
		m, err := client.Next(ctx)
		if err != nil {
			return seen{}, err
		}
		at := seenOf(m)
		switch {
		case from.IsZero() && m.Properties()[beginning] != "", at.position() == from:
			return at, nil
		case from.IsZero():
			return seen{}, fmt.Errorf("the log begins with %v instead of its beginning: %w", at.position(), brokerlog.ErrTrimmed)
		case at.position().Compare(from) > 0:
			return seen{}, fmt.Errorf("the first message is at %v: %w", at.position(), brokerlog.ErrTrimmed)
		}
	}
}

func seenOf(m pulsar.Message) seen {
	id := m.ID()
	return seen{id.LedgerID(), id.EntryID(), max(id.BatchIdx(), 0), id.BatchSize()}
}

// has says why a position is none to go on from.
func (l *Log) has(ctx context.Context, t brokerlog.Topic, p events.Partition, at fold.Position) error {
	state, err := l.internals(ctx, t, p)
	if err != nil {
		return err
	}
	return state.has(at)
}

func (i *internals) has(at fold.Position) error {
	ledger, entry := place(at)
	n, there := i.entries(ledger)
	switch {
	case there && entry < n:
		return nil
	case !there && len(i.Ledgers) > 0 && ledger < i.Ledgers[0].ID:
		return fmt.Errorf("ledger %d is gone, the log begins with %d: %w", ledger, i.Ledgers[0].ID, brokerlog.ErrTrimmed)
	case there:
		return fmt.Errorf("ledger %d has %d entries: %w", ledger, n, brokerlog.ErrAhead)
	default:
		return fmt.Errorf("ledger %d is not there: %w", ledger, brokerlog.ErrAhead)
	}
}

// run fetches until something lasting happens.
func (r *reader) run() {
	defer func() { r.client.Close() }()
	repaired := seen{ledger: -1}
	for {
		err := r.fetch()
		if err == nil {
			continue
		}
		if r.ctx.Err() != nil {
			r.fail(brokerlog.ErrClosed)
			return
		}
		if errors.Is(err, errGap) && repaired == r.last || errors.Is(err, brokerlog.ErrTrimmed) || errors.Is(err, brokerlog.ErrAhead) {
			if !errors.Is(err, brokerlog.ErrAhead) {
				err = errors.Join(err, brokerlog.ErrTrimmed)
			}
			r.fail(err)
			return
		}
		// The client has lost its way, or its reader. A new one goes on behind what came last.
		repaired = r.last
		r.client.Close()
		last := r.last
		if err := r.log.retry(r.ctx, "reading again", func(ctx context.Context) error { return r.begin(ctx, last.position()) }); err != nil {
			r.fail(err)
			return
		}
	}
}

func (r *reader) fail(err error) {
	r.once.Do(func() {
		r.err = fmt.Errorf("reading %s behind %v: %w", r.log.topicName(r.topic, r.p), r.last.position(), err)
		close(r.failed)
	})
}

// errGap: what came does not follow what came before.
var errGap = errors.New("messages are missing")

// fetch gets one message on its way to Next.
func (r *reader) fetch() error {
	m, err := r.wait()
	if err != nil {
		return err
	}
	at := seenOf(m)
	if at.position().Compare(r.last.position()) <= 0 { // again, after a reconnect
		return nil
	}
	if err := r.follows(at); err != nil {
		return err
	}
	r.last = at
	if m.Properties()[beginning] != "" {
		return nil
	}
	select {
	case r.ready <- fold.Message{At: at.position(), Body: m.Payload()}:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// wait waits for the client's next message, and looks every now and then whether it should have come.
func (r *reader) wait() (pulsar.Message, error) {
	for behind := false; ; {
		ctx, cancel := context.WithTimeout(r.ctx, quietTime)
		m, err := r.client.Next(ctx)
		quiet := ctx.Err() != nil
		cancel()
		if err == nil || r.ctx.Err() != nil || !quiet {
			return m, err
		}
		state, err := r.log.internals(r.ctx, r.topic, r.p)
		if err != nil {
			continue // the broker is away
		}
		if err := state.has(r.last.position()); err != nil {
			return nil, err
		}
		ledger, entry, err := parsePosition(state.LastConfirmed)
		missing := err == nil && entry >= 0 && position(ledger, entry, 0).Compare(position(r.last.ledger, r.last.entry, 0)) > 0
		if missing && behind {
			return nil, fmt.Errorf("the broker has %s and the client gives nothing: %w", state.LastConfirmed, errGap)
		}
		behind = missing
	}
}

// follows checks that nothing is between the last message and this one.
func (r *reader) follows(at seen) error {
	next, sure := r.last.next(at)
	switch {
	case next && sure:
		return nil
	case !next:
		return fmt.Errorf("%v came behind %v: %w", at.position(), r.last.position(), errGap)
	}
	var state *internals
	err := r.log.retry(r.ctx, "looking for ledgers", func(ctx context.Context) (err error) {
		state, err = r.log.internals(ctx, r.topic, r.p)
		return err
	})
	if is(err, http.StatusNotFound) {
		return fmt.Errorf("the topic is gone: %w", brokerlog.ErrAhead)
	}
	if err != nil {
		return err
	}
	return state.between(r.last, at)
}

// next reports whether a message may be the next one. It is not sure when it is the first of another ledger.
func (s seen) next(at seen) (next, sure bool) {
	whole := s.index+1 >= s.size
	switch {
	case at.ledger == s.ledger && at.entry == s.entry:
		return at.index == s.index+1, true
	case at.ledger == s.ledger:
		return whole && at.index == 0 && at.entry == s.entry+1, true
	default:
		return whole && at.index == 0 && at.entry == 0 && at.ledger > s.ledger, false
	}
}

// between looks whether a ledger was read to its end, and there is none before the next one.
func (i *internals) between(last, at seen) error {
	n, there := i.entries(last.ledger)
	switch {
	case !there:
		return fmt.Errorf("ledger %d was forgotten while it was read: %w", last.ledger, brokerlog.ErrTrimmed)
	case n < last.entry+1:
		return fmt.Errorf("ledger %d has %d entries, and entry %d was read: %w", last.ledger, n, last.entry, brokerlog.ErrAhead)
	case n > last.entry+1:
		return fmt.Errorf("ledger %d has %d entries, and %d was the last that came: %w", last.ledger, n, last.entry, errGap)
	}
	for _, l := range i.Ledgers {
		if l.ID > last.ledger && l.ID < at.ledger && l.Entries > 0 {
			return fmt.Errorf("ledger %d did not come: %w", l.ID, errGap)
		}
	}
	return nil
}

// Next waits for one message and takes along what else is there.
func (r *reader) Next(ctx context.Context, limit int) ([]fold.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.ctx.Err() != nil {
		return nil, fmt.Errorf("reading %s: %w", r.log.topicName(r.topic, r.p), brokerlog.ErrClosed)
	}
	var messages []fold.Message
	for len(messages) < limit {
		select {
		case m := <-r.ready:
			messages = append(messages, m)
			continue
		default:
		}
		if len(messages) > 0 {
			break
		}
		select {
		case m := <-r.ready:
			messages = append(messages, m)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.ctx.Done():
			return nil, fmt.Errorf("reading %s: %w", r.log.topicName(r.topic, r.p), brokerlog.ErrClosed)
		case <-r.failed:
			if len(r.ready) == 0 {
				return nil, r.err
			}
		}
	}
	return messages, nil
}

// Close ends the reading.
func (r *reader) Close() {
	r.cancel()
	r.log.disown(r)
}
