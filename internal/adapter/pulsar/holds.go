package pulsar

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A hold is a subscription without consumers. It stands before the entry that it is behind, so that this entry stays: a reader
// that begins there finds it, and so knows that nothing is gone. Ledgers are forgotten whole, when they are closed and all
// subscriptions have passed them.

// Keep moves a hold forward.
func (l *Log) Keep(ctx context.Context, t brokerlog.Topic, p events.Partition, reader string, behind fold.Position) error {
	if err := l.usable(t, p); err != nil {
		return err
	}
	return l.retry(ctx, fmt.Sprintf("hold of %s in %s behind %v", reader, l.topicName(t, p), behind), func(ctx context.Context) error {
		return l.keep(ctx, t, p, holdPrefix+reader, behind)
	})
}

func (l *Log) keep(ctx context.Context, t brokerlog.Topic, p events.Partition, hold string, behind fold.Position) error {
	state, err := l.internals(ctx, t, p)
	if err != nil {
		return err
	}
	cursor, there := state.Cursors[hold]
	if there {
		passed, err := passes(cursor.MarkDelete, behind)
		if err != nil || passed {
			return err
		}
	}
	if err := l.whole(ctx, t, p, state, behind); err != nil {
		return err
	}
	if err := l.move(ctx, t, p, hold, behind, there); err != nil {
		return err
	}
	if state, err = l.internals(ctx, t, p); err != nil {
		return err
	}
	if !there { // what it is to hold may have gone meanwhile
		if err := l.whole(ctx, t, p, state, behind); err != nil {
			_, _ = l.admin.do(ctx, http.MethodDelete, subscriptionPath(l.partitionPath(t, p), hold), nil, nil) // it holds nothing
			return err
		}
	}
	return l.moveBase(ctx, t, p, state)
}

// passes reports whether a cursor is at or behind where a hold would be.
func passes(markDelete string, behind fold.Position) (bool, error) {
	ledger, entry, err := parsePosition(markDelete)
	if err != nil || behind.IsZero() {
		return true, err
	}
	wantLedger, wantEntry := place(behind)
	return ledger > wantLedger || ledger == wantLedger && entry >= wantEntry-1, nil
}

// whole says why what is behind a position may not be whole.
func (l *Log) whole(ctx context.Context, t brokerlog.Topic, p events.Partition, state *internals, behind fold.Position) error {
	if !behind.IsZero() {
		return state.has(behind)
	}
	if len(state.Ledgers) == 0 {
		return fmt.Errorf("the log has no ledger: %w", brokerlog.ErrTrimmed)
	}
	for _, ledger := range state.Ledgers {
		if n, _ := state.entries(ledger.ID); n == 0 {
			continue
		}
		marked, _, err := l.isBeginning(ctx, t, p, ledger.ID, 0)
		if err == nil && !marked {
			err = fmt.Errorf("the log begins with ledger %d: %w", ledger.ID, brokerlog.ErrTrimmed)
		}
		return err
	}
	return nil
}

// move creates a subscription, or moves it. The entry behind which it is stays before it.
func (l *Log) move(ctx context.Context, t brokerlog.Topic, p events.Partition, subscription string, behind fold.Position, there bool) error {
	id := messageID{Ledger: -1, Entry: -1, Partition: -1}
	if !behind.IsZero() {
		id.Ledger, id.Entry = place(behind)
		id.Partition = int(p)
	}
	path := subscriptionPath(l.partitionPath(t, p), subscription)
	if !there {
		_, err := l.admin.do(ctx, http.MethodPut, path, id, nil)
		if !is(err, http.StatusConflict) {
			return err
		}
	}
	_, err := l.admin.do(ctx, http.MethodPost, path+"/resetcursor", id, nil)
	return err
}

// moveBase lets the base subscription follow the slowest hold.
func (l *Log) moveBase(ctx context.Context, t brokerlog.Topic, p events.Partition, state *internals) error {
	var slowest fold.Position // of the last entry that nobody holds
	held := false
	for name, cursor := range state.Cursors {
		if !strings.HasPrefix(name, holdPrefix) {
			continue
		}
		ledger, entry, err := parsePosition(cursor.MarkDelete)
		if err != nil {
			return err
		}
		if at := position(ledger, entry+1, 0); !held || at.Compare(slowest) < 0 {
			slowest, held = at, true
		}
	}
	base, there := state.Cursors[baseSubscription]
	if !held || !there {
		return nil
	}
	if passed, err := passes(base.MarkDelete, slowest); err != nil || passed {
		return err
	}
	return l.move(ctx, t, p, baseSubscription, slowest, true)
}

// Drop ends the holds of a reader. What only they kept is forgotten when another hold of the partition moves.
func (l *Log) Drop(ctx context.Context, reader string) error {
	if err := l.usable("any topic", 0); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(topologyParallel)
	for _, t := range brokerlog.Topics() {
		for p := range events.Partition(l.options.Partitions) {
			group.Go(func() error {
				return l.retry(ctx, fmt.Sprintf("drop of the hold of %s in %s", reader, l.topicName(t, p)), func(ctx context.Context) error {
					_, err := l.admin.do(ctx, http.MethodDelete, subscriptionPath(l.partitionPath(t, p), holdPrefix+reader), nil, nil)
					return unless(err, http.StatusNotFound)
				})
			})
		}
	}
	return group.Wait()
}
