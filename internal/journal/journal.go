// Package journal is the port of the engine's log: commands in, records out, per partition.
//
// A partition has one owner at a time, which alone appends records. Readers see records only after they are durable, in
// order, and never a different record at a sequence number they have seen.
//
//	sequence     1 … First-1 | First … Last        | Last+1 …
//	             trimmed     | durable, readable   | not written
package journal

import (
	"context"
	"errors"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Features declare what an adapter does differently; the conformance suite asks for them.
type Features struct {
	// CommandsLogged: done of Send means that the command is durable, not its record (brokers). Otherwise done means that
	// the record with its answer is durable.
	CommandsLogged bool
	// Durable: records survive Close and reopening (false for memory without a shared backing).
	Durable bool
}

// Errors of a journal. They are wrapped with what happened.
var (
	// ErrFull refuses a client command because too many wait in its partition. Nothing was kept; trying later is safe.
	ErrFull = errors.New("too many commands wait in the partition")
	// ErrDiskFull refuses a client command because the disk is near full. Nothing was kept.
	ErrDiskFull = errors.New("the disk is near full")
	// ErrLost says that the outcome is unknown or that ownership is over: forget everything in memory and recover.
	ErrLost = errors.New("ownership of the partition is lost")
	// ErrMoved says why ownership is lost: the partition is now another process's, in good order.
	ErrMoved = errors.New("another process has the partition now")
	// ErrDamaged says that what is stored cannot be read any more: trying again does not help. It names the place.
	ErrDamaged = errors.New("the store is damaged")
	// ErrTrimmed says that the wanted position is no longer in the log; the archive has what is kept of it.
	ErrTrimmed = errors.New("the position is trimmed from the log")
	// ErrClosed says that the journal is closed.
	ErrClosed = errors.New("the journal is closed")
)

// Journal is the whole port. Its methods may be called from any goroutine.
type Journal interface {
	Sender
	Acquirer
	Follower
	// Partitions returns the number of partitions, fixed when the log was made.
	Partitions() int
	// Features returns what the adapter does differently.
	Features() Features
}

// Sender takes commands.
type Sender interface {
	// Send hands a command to the partition of its workflow id. It does not block. A non-nil error means that nothing was
	// kept and done is not called: ErrFull and ErrDiskFull for commands of clients only, ErrClosed for all. Otherwise done
	// is called exactly once, never from within Send, and in order per partition; it must not block and must not call the
	// journal except Send. done(nil) means what Features say; an error wraps ErrLost: the outcome is unknown and the same
	// stamped command may be sent again. done may be nil.
	Send(command events.Envelope, done func(error)) error
}

// Acquirer gives out the ownership of partitions.
type Acquirer interface {
	// Acquire makes the caller the owner of a partition, in a new and higher epoch. It waits until it can be. A former
	// owner's Commit fails from then on.
	Acquire(ctx context.Context, p events.Partition) (Owner, error)
}

// Owner is the ownership of one partition. Its methods are called by one goroutine.
type Owner interface {
	// Epoch returns the epoch of this ownership and ID its owner id; both are written into every record.
	Epoch() uint64
	ID() events.OwnerID
	// Last returns the sequence number of the last durable record when the ownership began.
	Last() events.Seq
	// Wait blocks until a command waits or ctx ends; it returns ctx's error or ErrClosed or ErrLost then.
	Wait(ctx context.Context) error
	// Take returns up to limit waiting commands in order without blocking; nil when none waits. The slice is valid until
	// the next Take or Commit. The commands stay the owner's: those not covered by a later Commit are answered with ErrLost
	// (or redelivered, where commands are logged) when the ownership ends.
	Take(limit int) []events.Envelope
	// Commit makes a step durable as a whole, and only then shows its records to readers. When it returns nil, the records
	// are durable and the consumed commands are done. Any error is or wraps ErrLost or ErrClosed: the step may or may not
	// be durable and the ownership is over. Records are immutable from the call on.
	Commit(ctx context.Context, step Step) error
	// Release ends the ownership. Commands taken and not consumed are done with ErrLost. Calling it twice is harmless.
	Release()
}

// Step is what one turn of the engine wants durable: records with consecutive sequence numbers, the first one above the
// last, and how many taken commands they handle (the oldest ones). A step without records may consume commands.
type Step struct {
	Records  []*events.Record
	Consumed int
}

// Position is the next sequence number to read in a partition; 0 and 1 both mean the oldest that was ever written.
type Position struct {
	Partition events.Partition
	Next      events.Seq
}

// Follower reads the log, from the past into the present.
type Follower interface {
	// Follow reads the given partitions from the given positions on. It fails with ErrTrimmed when a position lies before
	// First of its partition. A reader that is slow never holds up the owner; it reads from the store what no longer is in
	// memory.
	Follow(ctx context.Context, from []Position) (Reader, error)
	// Bounds returns the first readable and the last durable sequence number of a partition; last is first-1 when empty.
	Bounds(p events.Partition) (first, last events.Seq)
	// Hold promises the named reader that the log is kept from the given positions on, however far Trim is called. A hold
	// lives until it is moved; it is durable at the next Commit. Holds of partitions that are not named stay; an empty list
	// ends all holds of that reader. It changes nothing and fails with ErrTrimmed when a position lies before First.
	Hold(reader string, at []Position) error
	// Holds returns the positions of the named reader's hold by rising partition; nil if it has none.
	Holds(reader string) ([]Position, error)
	// Trim allows the log to forget records below seq, as far as holds permit and never beyond what is written; a lower seq
	// than before changes nothing. Records that the archive keeps stay there.
	Trim(p events.Partition, below events.Seq) error
}

// Reader is one reading of the log. Its methods are called by one goroutine, except Close.
type Reader interface {
	// Next returns at least one and at most limit records, in order per partition, waiting for them if it must. It fails
	// with ctx's error, ErrClosed, or ErrTrimmed when it has fallen behind First.
	Next(ctx context.Context, limit int) ([]*events.Record, error)
	// TryNext is Next that returns nil instead of waiting.
	TryNext(limit int) ([]*events.Record, error)
	// Ready returns a channel that has a value whenever TryNext may have records; a value may be spurious.
	Ready() <-chan struct{}
	// Close ends the reading; a waiting Next fails with ErrClosed.
	Close()
}
