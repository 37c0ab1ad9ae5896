// Package brokerlog is the port to a message broker that is only asked to be an ordered, durable, replayable log: no exclusive
// producers, transactions, deduplication, delayed delivery or shared subscriptions. Package fold makes a journal of it.
//
// A log has the same fixed number of partitions for each of its topics. One message is one entry; adapters may batch messages
// on their way as they like, as long as each keeps its own position.
package brokerlog

import (
	"context"
	"errors"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Topic is one of the fixed topics of a log. There is never one for a workflow type, a client or a queue.
type Topic string

// The topics.
const (
	// Events has a partition for each partition of the journal: frames of package fold.
	Events Topic = "events"
	// Commands has as many: commands of package fold.
	Commands Topic = "commands"
	// Inbox has what schedulers give to gateways, and what these report.
	Inbox Topic = "inbox"
	// Presence has what processes tell of themselves.
	Presence Topic = "presence"
)

// Topics returns all topics.
func Topics() []Topic { return []Topic{Events, Commands, Inbox, Presence} }

// MaxMessageBytes is the size of message that a broker has to take: the largest frame, and room for the broker's own fields.
const MaxMessageBytes = fold.MaxFrameBytes + 64<<10

// Features declare what an adapter does differently; a conformance suite prints what it skips for them.
type Features struct {
	// Durable: messages survive the broker's restart, in the configuration that the adapter was given.
	Durable bool
	// KeepsAsked: messages before every hold are forgotten soon. Otherwise the broker keeps them by rules of its own.
	KeepsAsked bool
}

// Errors of a log. They are wrapped with what happened and where.
var (
	// ErrTrimmed: the wanted position is no longer in the log.
	ErrTrimmed = errors.New("the position is trimmed from the log")
	// ErrAhead: the wanted position lies behind the end of the log: it has lost its tail, or is not the log it was.
	ErrAhead = errors.New("the position lies behind the end of the log")
	// ErrForbidden: a right is missing; the error names it.
	ErrForbidden = errors.New("the broker does not allow it")
	// ErrClosed: the log, appender or reader is closed.
	ErrClosed = errors.New("the log is closed")
)

// Log is a plain log. Its methods may be called from any goroutine.
type Log interface {
	// Partitions returns the number of partitions of every topic.
	Partitions() int
	// Features returns what the adapter does differently.
	Features() Features
	// Appender returns a new producer for one partition. Any number of them may append to it at once, in this process or in
	// others; no other one is told or stopped.
	Appender(ctx context.Context, t Topic, p events.Partition) (Appender, error)
	// Read reads a partition from behind a position on; the zero position lies before the first message. It fails with
	// ErrTrimmed when a message behind from may be gone, and with ErrAhead when from lies behind the last message. It must not
	// begin anywhere else instead: a reader that misses a message, even one that was never accepted, may accept what others
	// do not.
	Read(ctx context.Context, t Topic, p events.Partition, from fold.Position) (Reader, error)
	// End returns the position of the last message, zero when there never was one. It may be a little old.
	End(ctx context.Context, t Topic, p events.Partition) (fold.Position, error)
	// Keep promises the named reader that messages behind a position are kept. It is durable when it returns and lives until
	// it is moved or dropped, also while nobody is connected. It moves forward only: a position before an earlier one changes
	// nothing. What lies before all holds of a partition may be forgotten; without any hold, nothing may. It fails with
	// ErrTrimmed when a message behind the position may be gone already.
	Keep(ctx context.Context, t Topic, p events.Partition, reader string, behind fold.Position) error
	// Drop ends the holds of the named reader.
	Drop(ctx context.Context, reader string) error
	// Close ends everything that was made from the log.
	Close() error
}

// Appender appends to one partition. Its methods are called by one goroutine.
type Appender interface {
	// Append hands a message over and does not wait for its outcome; done is called once with it, in the order of the calls
	// unless there are failures, never from within Append, and must not block. done(nil) says that the message is durable in
	// the log, behind all messages of this appender that were acknowledged before; not that it is there once. Any error
	// leaves open whether it is there, or will be: later, more than once, and although those behind it are acknowledged.
	// Append itself never fails: what cannot be sent is told to done. It blocks while too much is on its way, as long as ctx
	// lasts; ctx means nothing for a message that was taken over. The body must not be changed until done is called.
	Append(ctx context.Context, body []byte, done func(error))
	// Close gives up what is on its way: its outcome is ErrClosed, told at once or soon, and it may arrive nevertheless.
	Close()
}

// Reader reads one partition. Its methods are called by one goroutine, except Close.
type Reader interface {
	// Next returns at least one and at most limit messages, each once and in the order of rising positions, waiting for them
	// if it must. Over a reconnect it goes on where it was. It fails with ctx's error, ErrClosed, or ErrTrimmed or ErrAhead
	// when it cannot go on without missing something.
	Next(ctx context.Context, limit int) ([]fold.Message, error)
	// Close ends the reading; a waiting Next fails with ErrClosed.
	Close()
}
