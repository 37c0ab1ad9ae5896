// Package archive is the port of histories: the accepted records of open and retained runs, by run and event number.
//
// Together with the log it is the one source of history. Where the log itself keeps records after trimming, the archive
// is an index of it and Append has nothing to do.
package archive

import (
	"context"
	"errors"

	"github.com/continuo-dev/continuo/pkg/events"
)

// ErrNotFound says that the archive has nothing of a run.
var ErrNotFound = errors.New("no history of that run")

// Archive is the port. Its methods may be called from any goroutine.
type Archive interface {
	// History returns records of a run in order: those with an event numbered from from to to (both included; to 0 means
	// the end), stopping after about limitBytes of encoded records, but never before one record. next is the number to go
	// on with, 0 when there is no more. Records without events are left out. It sees every record that the journal has
	// shown to a reader. An unknown or forgotten run gives ErrNotFound.
	History(ctx context.Context, p events.Partition, run events.RunID, from, to events.EventNumber, limitBytes int) (records []*events.Record, next events.EventNumber, err error)
	// Append archives records before the log is trimmed. Repeating it is harmless. Adapters that index the log do nothing.
	// It may be durable only with the owner's next checkpoint in the run store, below which alone the log is trimmed.
	Append(ctx context.Context, p events.Partition, records []*events.Record) error
	// Forget deletes everything of a run, which gets no more records. Repeating it is harmless. It is durable no later than the
	// owner's next checkpoint; other processes may see the run a little longer.
	Forget(ctx context.Context, p events.Partition, run events.RunID) error
}

// Finder is what an archive adds that finds a record by its place in the log sooner than by its number in a history.
type Finder interface {
	// Record returns the record of a run at a place in the log, nil when there is none of that run. It sees every record that the
	// journal has shown to a reader. What was forgotten may be found until the log is trimmed.
	Record(ctx context.Context, p events.Partition, run events.RunID, at events.Seq) (*events.Record, error)
}

// Lister is what an archive adds that can say which runs it has. Without it a read model that is built anew has only the
// runs that the untrimmed log still mentions.
type Lister interface {
	// Runs returns up to limit runs of a partition with an id above after, by rising id. The zero id is below all.
	Runs(ctx context.Context, p events.Partition, after events.RunID, limit int) ([]events.RunID, error)
}
