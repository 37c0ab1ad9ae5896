// Package dueindex is the port of what the scheduler must remember across restarts: open tasks and activations, and
// timers, by partition and time. Rows are a fold of the event log up to a position; the scheduler folds the rest itself.
package dueindex

import (
	"context"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Kind tells what an item is.
type Kind uint8

// The kinds of items.
const (
	KindTask Kind = iota + 1
	KindActivation
	KindTimer
)

// Key identifies an item: a task by step, an activation by its run alone (one is open per run), a timer by its id. Keys are
// ordered by run, then kind of timer, step and attempt.
type Key struct {
	Kind  Kind
	RunID events.RunID
	Timer events.TimerID // Kind and Attempt are 0 for tasks; all zero for activations
}

// Item is one open thing. Due orders items: when a timer fires, when a task or activation may start (0: at once).
type Item struct {
	Key Key
	Due events.Time
	// Body is opaque to the index, at most 4 KiB.
	Body []byte
}

// Index is the port. Its methods may be called from any goroutine, for one partition by one scheduler only.
type Index interface {
	// Save deletes and then puts items and moves the partition's position, which never falls, all or nothing. It is ordered after the commits of
	// the journal that precede it and is not synced by itself: after a crash an older state comes back with its older
	// position. Deleting what is not there is harmless, and of several puts of one key the last counts.
	Save(ctx context.Context, p events.Partition, next events.Seq, puts []Item, deletes []Key) error
	// Position returns the next sequence number to fold; 0 when nothing was ever saved.
	Position(ctx context.Context, p events.Partition) (events.Seq, error)
	// Due returns up to limit items of a kind with after < (Due, Key) and Due <= until, ordered by Due, then Key. The
	// zero after means from the beginning.
	Due(ctx context.Context, p events.Partition, kind Kind, after Item, until events.Time, limit int) ([]Item, error)
	// Get returns one item; ok is false if it is not there.
	Get(ctx context.Context, p events.Partition, key Key) (item Item, ok bool, err error)
	// OfRuns returns up to limit keys of runs, whatever their kind, run by run. The runs must be in ascending order, each once.
	// Fewer than limit are all; otherwise the run of the last key and those behind it may have more.
	OfRuns(ctx context.Context, p events.Partition, runs []events.RunID, limit int) ([]Key, error)
}
