package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

func (m *Model) writePositions(ctx context.Context, at []progress) error {
	var partition []uint16
	var next, hand, counted []uint64
	var times []time.Time
	for _, p := range at {
		partition, next, hand = append(partition, uint16(p.Partition)), append(next, uint64(p.Next)), append(hand, uint64(p.Hand))
		counted = append(counted, uint64(p.Counted))
		times = append(times, timeOf(p.Time))
	}
	return m.insert(ctx, "positions", "", []column{
		{"partition", unsigned16, partition},
		{"next", "SimpleAggregateFunction(max, UInt64)", next},
		{"hand", "SimpleAggregateFunction(max, UInt64)", hand},
		{"counted", "SimpleAggregateFunction(max, UInt64)", counted},
		{"time", "SimpleAggregateFunction(max, DateTime64(6, 'UTC'))", times},
	})
}

func (m *Model) readPositions(ctx context.Context) (map[events.Partition]progress, error) {
	rows, err := m.conn.Query(ctx, "SELECT partition, max(next), max(hand), max(counted), max(time) FROM positions GROUP BY partition")
	if err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	at := map[events.Partition]progress{}
	for rows.Next() {
		var partition uint16
		var next, hand, counted uint64
		var last time.Time
		if err := rows.Scan(&partition, &next, &hand, &counted, &last); err != nil {
			_ = rows.Close() // err says more
			return nil, fmt.Errorf("positions: %w", err)
		}
		id := events.Partition(partition)
		at[id] = progress{Position: readmodel.Position{Partition: id, Next: events.Seq(next), Time: events.Time(last.UnixMicro())}, Hand: events.Seq(hand), Counted: events.Seq(counted)}
	}
	return at, finish(rows)
}

// Positions returns how far the model is. It is the writer's: the first call settles what an interrupted reset or building
// has left.
func (m *Model) Positions(ctx context.Context) ([]readmodel.Position, error) {
	if err := m.use(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if m.isSuspect() {
		return nil, fmt.Errorf("%w: a question found damage", readmodel.ErrDamaged)
	}
	if err := m.claim(ctx); err != nil {
		return nil, m.failed(err)
	}
	return m.Watermark(ctx)
}

// Watermark returns how far the model is.
func (m *Model) Watermark(ctx context.Context) ([]readmodel.Position, error) {
	ctx, end, err := m.query(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	at, err := m.readPositions(ctx)
	if err != nil {
		return nil, m.failed(err)
	}
	var out []readmodel.Position
	for _, p := range at {
		if p.Next > 0 {
			out = append(out, p.Position)
		}
	}
	slices.SortFunc(out, func(a, b readmodel.Position) int { return cmp.Compare(a.Partition, b.Partition) })
	return out, nil
}

// publish makes positions known in this process and wakes who waits for them.
func (m *Model) publish(positions []readmodel.Position) {
	if len(positions) == 0 {
		return
	}
	m.state.Lock()
	defer m.state.Unlock()
	for _, p := range positions {
		m.at[p.Partition] = p
	}
	close(m.moved)
	m.moved = make(chan struct{})
}

// lookEvery is how often somebody who waits looks whether another process has written.
const lookEvery = 50 * time.Millisecond

// WaitFor returns when the partition is folded up to and including seq. While anybody waits the table is asked every 50 ms,
// by one of them.
func (m *Model) WaitFor(ctx context.Context, p events.Partition, seq events.Seq) error {
	timer := m.clock.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		m.state.Lock()
		done, moved := m.at[p].Next > seq, m.moved
		m.state.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		case <-timer.C():
			if err := m.look(ctx); err != nil {
				return err
			}
			timer.Reset(lookEvery)
		}
	}
}

// look asks for positions unless somebody does. One that cannot be asked is asked again.
func (m *Model) look(ctx context.Context) error {
	if !m.looking.TryLock() {
		return nil
	}
	defer m.looking.Unlock()
	at, err := m.Watermark(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		m.publish(at)
	}
	return nil
}
