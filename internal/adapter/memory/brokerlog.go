package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// BrokerOptions of a broker. The zero value is usable.
type BrokerOptions struct {
	// Partitions of every topic; 0 means 16.
	Partitions int
	// MaxPending is how many messages of one appender may be on their way before it blocks; 0 means 256.
	MaxPending int
	// Batch is how many messages share an entry of a position, as in a broker that batches; 0 means 1.
	Batch int
	// KeepAll forgets nothing but what [Broker.Forget] is told to.
	KeepAll bool
}

// Broker is a message broker with one plain log, shared by any number of processes. Each of them has a connection of its own
// and each appender has a goroutine. What it stores is as durable as the broker itself, except for what [Broker.LoseTail]
// takes. Its methods may be called from any goroutine.
type Broker struct {
	options BrokerOptions

	mu      sync.Mutex
	logs    map[*BrokerLog]struct{}
	parts   map[partitionKey]*brokerPartition
	holds   map[brokerHold]fold.Position
	faults  BrokerFaults
	late    []lateMessage
	segment uint64
}

type partitionKey struct {
	topic     brokerlog.Topic
	partition events.Partition
}

type brokerHold struct {
	partitionKey
	reader string
}

type brokerPartition struct {
	messages []fold.Message
	trimmed  fold.Position // the last message that was forgotten
	last     fold.Position // the last message, also when it was forgotten
	inLast   int           // the messages in the segment of last
	readers  map[*brokerReader]struct{}
}

// NewBroker makes a broker with an empty log.
func NewBroker(o BrokerOptions) *Broker {
	o.Partitions = cmp.Or(o.Partitions, 16)
	o.MaxPending = cmp.Or(o.MaxPending, 256)
	o.Batch = cmp.Or(o.Batch, 1)
	return &Broker{
		options: o, logs: map[*BrokerLog]struct{}{}, parts: map[partitionKey]*brokerPartition{}, holds: map[brokerHold]fold.Position{}, segment: 1,
	}
}

// Connect makes the connection of one more process.
func (b *Broker) Connect() *BrokerLog {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &BrokerLog{broker: b, changed: make(chan struct{}), appenders: map[*brokerAppender]struct{}{}, readers: map[*brokerReader]struct{}{}}
	b.logs[l] = struct{}{}
	return l
}

func (b *Broker) part(t brokerlog.Topic, p events.Partition) *brokerPartition {
	key := partitionKey{t, p}
	part := b.parts[key]
	if part == nil {
		part = &brokerPartition{readers: map[*brokerReader]struct{}{}}
		b.parts[key] = part
	}
	return part
}

// store appends a message and wakes the readers.
func (b *Broker) store(t brokerlog.Topic, p events.Partition, body []byte) {
	part := b.part(t, p)
	if part.last.Segment != b.segment {
		part.inLast = 0
	}
	at := fold.Position{Segment: b.segment, Entry: uint64(part.inLast / b.options.Batch), Index: uint32(part.inLast % b.options.Batch)}
	part.inLast++
	part.last = at
	part.messages = append(part.messages, fold.Message{At: at, Body: body})
	part.wake()
}

// trim forgets what lies before all holds.
func (b *Broker) trim(t brokerlog.Topic, p events.Partition) {
	behind, held := fold.Position{}, false
	for hold, at := range b.holds {
		if hold.partitionKey == (partitionKey{t, p}) && (!held || at.Compare(behind) < 0) {
			behind, held = at, true
		}
	}
	if held && !b.options.KeepAll {
		b.part(t, p).forget(behind)
	}
}

func (p *brokerPartition) wake() {
	for r := range p.readers {
		wake(r.ready)
	}
}

// behind returns the index of the first message behind a position.
func (p *brokerPartition) behind(at fold.Position) int {
	i, found := slices.BinarySearchFunc(p.messages, at, func(m fold.Message, at fold.Position) int { return m.At.Compare(at) })
	if found {
		i++
	}
	return i
}

// forget drops the messages up to a position.
func (p *brokerPartition) forget(through fold.Position) {
	n := p.behind(through)
	if n == 0 {
		return
	}
	p.trimmed = p.messages[n-1].At
	p.messages = slices.Clone(p.messages[n:])
	p.wake()
}

// BrokerLog is the connection of one process to a [Broker].
type BrokerLog struct {
	broker *Broker

	// The rest is guarded by broker.mu.
	cut, closed, killed bool
	changed             chan struct{} // closed and replaced when one of them changes
	appenders           map[*brokerAppender]struct{}
	readers             map[*brokerReader]struct{}
}

var _ brokerlog.Log = (*BrokerLog)(nil)

// BrokerFeatures are those of a [BrokerLog] whose broker does not keep all.
var BrokerFeatures = brokerlog.Features{Durable: true, KeepsAsked: true}

// Partitions returns the number of partitions of every topic.
func (l *BrokerLog) Partitions() int { return l.broker.options.Partitions }

// Features returns what the broker does differently.
func (l *BrokerLog) Features() brokerlog.Features {
	f := BrokerFeatures
	f.KeepsAsked = !l.broker.options.KeepAll
	return f
}

// connected locks the broker when the link is whole; waiting for that ends with ctx or the log.
func (l *BrokerLog) connected(ctx context.Context, t brokerlog.Topic, p events.Partition) error {
	if int(p) >= l.broker.options.Partitions {
		return fmt.Errorf("partition %d of %s: the log has %d partitions", p, t, l.broker.options.Partitions)
	}
	for {
		l.broker.mu.Lock()
		if l.closed {
			l.broker.mu.Unlock()
			return fmt.Errorf("partition %d of %s: %w", p, t, brokerlog.ErrClosed)
		}
		if !l.cut {
			return nil
		}
		changed := l.changed
		l.broker.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change tells all that wait for the state of the link.
func (l *BrokerLog) change() {
	close(l.changed)
	l.changed = make(chan struct{})
	for r := range l.readers {
		wake(r.ready)
	}
}

// End returns the position of the last message.
func (l *BrokerLog) End(ctx context.Context, t brokerlog.Topic, p events.Partition) (fold.Position, error) {
	if err := l.connected(ctx, t, p); err != nil {
		return fold.Position{}, err
	}
	defer l.broker.mu.Unlock()
	return l.broker.part(t, p).last, nil
}

// Keep moves a hold forward.
func (l *BrokerLog) Keep(ctx context.Context, t brokerlog.Topic, p events.Partition, reader string, behind fold.Position) error {
	if err := l.connected(ctx, t, p); err != nil {
		return err
	}
	defer l.broker.mu.Unlock()
	hold := brokerHold{partitionKey{t, p}, reader}
	if at, ok := l.broker.holds[hold]; ok && behind.Compare(at) <= 0 {
		return nil
	}
	if err := l.broker.part(t, p).has(behind); err != nil {
		return fmt.Errorf("hold of %s in partition %d of %s: %w", reader, p, t, err)
	}
	l.broker.holds[hold] = behind
	l.broker.trim(t, p)
	return nil
}

// has says why a position is none to go on from.
func (p *brokerPartition) has(at fold.Position) error {
	switch {
	case at.Compare(p.trimmed) < 0:
		return fmt.Errorf("%v, and the log begins behind %v: %w", at, p.trimmed, brokerlog.ErrTrimmed)
	case at.Compare(p.last) > 0:
		return fmt.Errorf("%v, and the log ends at %v: %w", at, p.last, brokerlog.ErrAhead)
	default:
		return nil
	}
}

// Drop ends holds. What only they kept is forgotten when another hold of the partition moves.
func (l *BrokerLog) Drop(ctx context.Context, reader string) error {
	if err := l.connected(ctx, "", 0); err != nil {
		return err
	}
	defer l.broker.mu.Unlock()
	for hold := range l.broker.holds {
		if hold.reader == reader {
			delete(l.broker.holds, hold)
		}
	}
	return nil
}

// Close ends everything that was made from the connection.
func (l *BrokerLog) Close() error {
	l.broker.mu.Lock()
	defer l.broker.mu.Unlock()
	l.end()
	return nil
}

func (l *BrokerLog) end() {
	if l.closed {
		return
	}
	l.closed = true
	delete(l.broker.logs, l)
	for a := range l.appenders {
		a.end()
	}
	for r := range l.readers {
		r.end()
	}
	l.change()
}
