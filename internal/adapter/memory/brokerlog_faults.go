package memory

import (
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// AppendFault is what becomes of an append.
type AppendFault uint8

// The fates of an append.
const (
	// AppendStored stores the message and says so.
	AppendStored AppendFault = iota
	// AppendFailed stores nothing and says that it failed.
	AppendFailed
	// AppendStoredFailed stores the message and says that it failed.
	AppendStoredFailed
	// AppendStoredUntold stores the message and says nothing before the appender ends.
	AppendStoredUntold
	// AppendLate says that it failed; the message may arrive later, with [Broker.Arrive].
	AppendLate
	// AppendTwice stores the message twice and says that it is there.
	AppendTwice
)

// BrokerFaults are asked before things happen. They are called with the broker locked and must not call it.
type BrokerFaults struct {
	// Append decides what becomes of a message; nil stores it.
	Append func(t brokerlog.Topic, p events.Partition, body []byte) AppendFault
}

// lateMessage is one that its appender has given up, or died over.
type lateMessage struct {
	partitionKey
	body []byte
}

// SetFaults replaces the faults.
func (b *Broker) SetFaults(f BrokerFaults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
}

// Arrive stores the oldest messages of those that are late, at most limit, and returns how many they were.
func (b *Broker) Arrive(limit int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(limit, len(b.late))
	for _, m := range b.late[:n] {
		b.store(m.topic, m.partition, m.body)
	}
	b.late = append([]lateMessage(nil), b.late[n:]...)
	return n
}

// LoseTail takes the last n messages from a partition, as a broker does that had not synced them. Their positions are used
// again, unless the broker is restarted. Readers that had passed them fail with [brokerlog.ErrAhead].
func (b *Broker) LoseTail(t brokerlog.Topic, p events.Partition, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	part := b.part(t, p)
	n = min(n, len(part.messages))
	part.messages = part.messages[: len(part.messages)-n : len(part.messages)-n]
	part.last = part.trimmed
	if len(part.messages) > 0 {
		part.last = part.messages[len(part.messages)-1].At
	}
	part.inLast = int(part.last.Entry)*b.options.Batch + int(part.last.Index) + 1
	for r := range part.readers {
		r.ahead = r.ahead || r.at.Compare(part.last) > 0
	}
	part.wake()
}

// Forget takes all messages up to a position, whoever holds them.
func (b *Broker) Forget(t brokerlog.Topic, p events.Partition, through fold.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part(t, p).forget(through)
}

// Restart lets positions go on in a new segment, as after the end of a broker's process.
func (b *Broker) Restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.segment++
}

// Cut cuts the link of this process, whose calls stall until [BrokerLog.Heal].
func (l *BrokerLog) Cut() { l.setCut(true) }

// Heal makes the link whole; what waited goes on.
func (l *BrokerLog) Heal() { l.setCut(false) }

func (l *BrokerLog) setCut(cut bool) {
	l.broker.mu.Lock()
	defer l.broker.mu.Unlock()
	l.cut = cut
	l.change()
}

// Kill ends this process: no outcome is told any more, and what was on its way is late.
func (l *BrokerLog) Kill() {
	l.broker.mu.Lock()
	defer l.broker.mu.Unlock()
	l.killed = true
	l.end()
}
