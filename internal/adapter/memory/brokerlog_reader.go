package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

type brokerReader struct {
	log *BrokerLog
	partitionKey
	part  *brokerPartition
	ready chan struct{}

	// Guarded by the broker's lock.
	at    fold.Position
	ahead bool // the log has lost what was read
	ended bool
}

// Read begins to read behind a position.
func (l *BrokerLog) Read(ctx context.Context, t brokerlog.Topic, p events.Partition, from fold.Position) (brokerlog.Reader, error) {
	if err := l.connected(ctx, t, p); err != nil {
		return nil, err
	}
	defer l.broker.mu.Unlock()
	part := l.broker.part(t, p)
	if err := part.has(from); err != nil {
		return nil, fmt.Errorf("reading partition %d of %s: %w", p, t, err)
	}
	r := &brokerReader{log: l, partitionKey: partitionKey{t, p}, part: part, ready: make(chan struct{}, 1), at: from}
	part.readers[r] = struct{}{}
	l.readers[r] = struct{}{}
	return r, nil
}

// Next waits for messages.
func (r *brokerReader) Next(ctx context.Context, limit int) ([]fold.Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if messages, err := r.take(limit); messages != nil || err != nil {
			return messages, err
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
		}
	}
}

func (r *brokerReader) take(limit int) ([]fold.Message, error) {
	r.log.broker.mu.Lock()
	defer r.log.broker.mu.Unlock()
	switch {
	case r.ended:
		return nil, fmt.Errorf("reading partition %d of %s: %w", r.partition, r.topic, brokerlog.ErrClosed)
	case r.log.cut:
		return nil, nil
	case r.ahead:
		return nil, fmt.Errorf("reading partition %d of %s behind %v, and the log was cut off at %v: %w", r.partition, r.topic, r.at, r.part.last, brokerlog.ErrAhead)
	}
	if err := r.part.has(r.at); err != nil {
		return nil, fmt.Errorf("reading partition %d of %s: %w", r.partition, r.topic, err)
	}
	from := r.part.behind(r.at)
	to := min(len(r.part.messages), from+limit)
	if from >= to {
		return nil, nil
	}
	r.at = r.part.messages[to-1].At
	return slices.Clone(r.part.messages[from:to]), nil
}

// Close ends the reading.
func (r *brokerReader) Close() {
	r.log.broker.mu.Lock()
	defer r.log.broker.mu.Unlock()
	r.end()
}

func (r *brokerReader) end() {
	r.ended = true
	delete(r.part.readers, r)
	delete(r.log.readers, r)
	wake(r.ready)
}
