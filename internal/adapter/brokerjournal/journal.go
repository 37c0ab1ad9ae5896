// Package brokerjournal makes a journal of any plain log: a shell around package fold, which has all the rules.
//
//	Send ──▶ sender ──▶ commands log ──▶ owner ──▶ engine ──▶ Commit ──▶ events log ──▶ partition (fold) ──▶ readers
//	                                       ▲                                               │ read back
//	                                       └───────────────────────────────────────────────┘
//
// Each process folds every partition to its end and keeps what came last in memory: its readers take from there, and it can
// take a partition over at once. What lies further back is read from the broker again, from a checkpoint of the fold on.
// Checkpoints, holds and the beginning of each partition are objects that all processes share:
//
//	log/<partition>/fold/<seq>       a checkpoint of the fold behind that record
//	log/<partition>/first            the first readable record
//	hold/<reader>/<partition>/<next> a hold
//
// Nothing is shown that was not read back as accepted.
package brokerjournal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Defaults of the options.
const (
	DefaultClientLimit     = 10_000
	DefaultGiveUpAfter     = 2 * time.Second
	DefaultSendTimeout     = 10 * time.Second
	DefaultCheckpointEvery = 10 * time.Second
	DefaultRecentBytes     = 4 << 20
)

// Options are what a journal stands on, and its settings. Zero settings mean the defaults.
type Options struct {
	Log     brokerlog.Log
	Objects objectstore.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	// Members share the partitions among processes; nil means that this process may open all of them.
	Members Members
	// Cluster names the log; it is written into every epoch and compared. Default "default".
	Cluster string
	// ClientLimit is how many client commands of this process may be on their way into one partition's log.
	ClientLimit int
	// GiveUpAfter is how long an owner waits for an append of its own to come back before it gives the partition up.
	GiveUpAfter time.Duration
	// SendTimeout is how long a command may be on its way before its outcome counts as unknown.
	SendTimeout time.Duration
	// CheckpointEvery is how often an owner stores the fold of a partition that has moved.
	CheckpointEvery time.Duration
	// RecentBytes is how much of the newest records of each partition stays in memory.
	RecentBytes int
}

// Members say which partitions are this process's to own. Begin and End do not block.
type Members interface {
	// Await returns when this process should own a partition and no other says that it does.
	Await(ctx context.Context, p events.Partition) error
	// Lost returns when another process should own the partition, or ctx has ended.
	Lost(ctx context.Context, p events.Partition)
	// Begin tells the others that this process owns the partition, End that it does no more.
	Begin(p events.Partition)
	End(p events.Partition)
}

type everything struct{}

func (everything) Await(context.Context, events.Partition) error { return nil }
func (everything) Lost(ctx context.Context, _ events.Partition)  { <-ctx.Done() }
func (everything) Begin(events.Partition)                        {}
func (everything) End(events.Partition)                          {}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Log == nil || o.Objects == nil || o.Clock == nil || o.Logger == nil:
		return o, errors.New("brokerjournal: Log, Objects, Clock and Logger are needed")
	case o.ClientLimit < 0 || o.GiveUpAfter < 0 || o.SendTimeout < 0 || o.CheckpointEvery < 0 || o.RecentBytes < 0:
		return o, errors.New("brokerjournal: limits and durations cannot be negative; 0 means the default")
	}
	if o.Members == nil {
		o.Members = everything{}
	}
	o.Cluster = cmp.Or(o.Cluster, "default")
	o.ClientLimit = cmp.Or(o.ClientLimit, DefaultClientLimit)
	o.GiveUpAfter = cmp.Or(o.GiveUpAfter, DefaultGiveUpAfter)
	o.SendTimeout = cmp.Or(o.SendTimeout, DefaultSendTimeout)
	o.CheckpointEvery = cmp.Or(o.CheckpointEvery, DefaultCheckpointEvery)
	o.RecentBytes = cmp.Or(o.RecentBytes, DefaultRecentBytes)
	return o, nil
}

// Features of a journal over a broker.
var Features = journal.Features{CommandsLogged: true, Durable: true}

// Journal is the journal of one process. The log belongs to its opener.
type Journal struct {
	options    Options
	kept       kept
	partitions []*partition
	senders    []*sender

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	all    sync.WaitGroup
}

var _ journal.Journal = (*Journal)(nil)

// Open folds all partitions up to where their logs end now, and returns. It fails when a log contradicts itself or has lost
// what this cluster knows of it, with an error that wraps [journal.ErrDamaged], and when ctx ends.
func Open(ctx context.Context, o Options) (*Journal, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	j := &Journal{options: o, kept: kept{objects: o.Objects}}
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for id := range events.Partition(o.Log.Partitions()) {
		p, err := j.newPartition(ctx, id)
		if err != nil {
			return nil, errors.Join(err, j.Close())
		}
		s := newSender(j, id)
		j.partitions, j.senders = append(j.partitions, p), append(j.senders, s)
		j.all.Go(p.run)
		j.all.Go(s.run)
	}
	for _, p := range j.partitions {
		if err := p.catchUp(ctx); err != nil {
			return nil, errors.Join(err, j.Close())
		}
		if err := p.foreign(); err != nil {
			return nil, errors.Join(err, j.Close())
		}
	}
	j.all.Go(j.checkpoint)
	return j, nil
}

// Close ends everything: owners lose their partitions and readers end.
func (j *Journal) Close() error {
	j.cancel()
	for _, p := range j.partitions {
		p.end(journal.ErrClosed)
	}
	j.all.Wait()
	return nil
}

// Partitions returns the number of partitions of the log.
func (j *Journal) Partitions() int { return j.options.Log.Partitions() }

// Features returns what brokers do differently.
func (j *Journal) Features() journal.Features { return Features }

// Bounds returns what this process has read back. Another process may have moved the beginning since it was looked at last.
func (j *Journal) Bounds(id events.Partition) (first, last events.Seq) {
	p := j.partitions[id]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first, p.state.Seq()
}

// Epoch returns the newest epoch of a partition that this process has read back, and who opened it.
func (j *Journal) Epoch(id events.Partition) (uint64, events.OwnerID) {
	p := j.partitions[id]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Epoch()
}

// Halted returns why nothing of a partition is read any more, such as a loss or a contradiction in its log; nil while it is read.
func (j *Journal) Halted(id events.Partition) error {
	p := j.partitions[id]
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(p.err, journal.ErrClosed) {
		return nil
	}
	return p.err
}

// Send hands a command to the commands log. done(nil) says that it is durable there.
func (j *Journal) Send(command events.Envelope, done func(error)) error {
	return j.senders[events.PartitionOf(command.Namespace, command.WorkflowID, len(j.senders))].send(command, done)
}

// Acquire waits until the partition is this process's, and opens a new epoch when its log is read to the end. It fails with
// [journal.ErrLost] when another process was first.
func (j *Journal) Acquire(ctx context.Context, id events.Partition) (journal.Owner, error) {
	if j.ctx.Err() != nil {
		return nil, journal.ErrClosed
	}
	return j.partitions[id].acquire(ctx)
}

// identity is what the log has to have been made as.
func (j *Journal) identity() fold.Identity {
	return fold.Identity{Cluster: j.options.Cluster, Partitions: uint16(j.options.Log.Partitions())}
}

// foreign says that the partition's log was made as another one.
func (p *partition) foreign() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Foreign(p.journal.identity())
}

// until returns a context that ends with ctx and with the journal.
func (j *Journal) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(j.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// over returns the error of a call that a context has ended: the journal's if it is closed.
func (j *Journal) over(err error) error {
	if j.ctx.Err() != nil {
		return journal.ErrClosed
	}
	return err
}

// asJournal maps errors of the log to those of the journal.
func asJournal(id events.Partition, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, brokerlog.ErrTrimmed):
		return fmt.Errorf("partition %d: %w: %w", id, journal.ErrTrimmed, err)
	case errors.Is(err, brokerlog.ErrAhead):
		return fmt.Errorf("partition %d: %w: its log has lost messages that this cluster had read, or is another log: restore the topic, or make the cluster anew: %w",
			id, journal.ErrDamaged, err)
	case errors.Is(err, brokerlog.ErrClosed):
		return fmt.Errorf("partition %d: %w: %w", id, journal.ErrClosed, err)
	}
	if _, halted := errors.AsType[*fold.Halt](err); halted || errors.Is(err, fold.ErrForeign) {
		return fmt.Errorf("%w: %w", journal.ErrDamaged, err)
	}
	return fmt.Errorf("partition %d: %w", id, err)
}
