package brokerjournal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// maxWaiting is at how many commands that wait for their owner no more are read from the log.
const maxWaiting = 4_096

// gatherMost is how long commands gather at most before a step.
const gatherMost = 5 * time.Millisecond

// errReleased ends an ownership on its owner's own wish.
var errReleased = errors.New("it was released")

// owner is an ownership. What is not said to be of its caller's goroutine is guarded by the partition's lock.
type owner struct {
	partition *partition
	writer    *fold.Writer
	appender  brokerlog.Appender // of the caller's goroutine
	last      events.Seq         // when the ownership began

	ctx    context.Context // ends with the ownership
	cancel context.CancelFunc
	err    error             // why it has ended
	queue  []events.Envelope // the first taken ones are with the caller
	taken  int
	// committing is set while a step is on its way, moving when the ownership is to end after it, announced when the other
	// processes were told of it.
	committing, moving, announced bool

	handled int           // commands of the last step, and
	took    time.Duration // how long that was on its way; both of the caller's goroutine

	ready chan struct{} // has a value when a command may wait
	room  chan struct{} // has a value when the queue may be below maxWaiting
}

var _ journal.Owner = (*owner)(nil)

// acquire opens a new epoch and returns when it was read back.
func (p *partition) acquire(ctx context.Context) (journal.Owner, error) {
	if err := p.await(ctx); err != nil {
		return nil, err
	}
	if err := p.catchUp(ctx); err != nil {
		return nil, err
	}
	o := &owner{partition: p, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancel(p.journal.ctx)
	opening, err := o.begin()
	if err != nil {
		o.cancel()
		return nil, asJournal(p.id, err)
	}
	if o.appender, err = p.journal.options.Log.Appender(o.ctx, brokerlog.Events, p.id); err != nil {
		o.fail(err)
		return nil, p.journal.over(fmt.Errorf("%w: %w", journal.ErrLost, asJournal(p.id, err)))
	}
	o.append(opening)
	if err := o.await(ctx, o.writer.Active); err != nil {
		o.Release()
		return nil, err
	}
	if err := p.refresh(ctx); err != nil { // the owner before may have trimmed
		o.Release()
		return nil, err
	}
	p.mu.Lock()
	o.last = o.writer.Confirmed()
	in := p.state.In()
	if o.err == nil {
		o.announced = true
		p.journal.options.Members.Begin(p.id)
	}
	p.mu.Unlock()
	p.journal.all.Go(func() { o.readCommands(in) })
	p.journal.all.Go(func() {
		p.journal.options.Members.Lost(o.ctx, p.id)
		o.move()
	})
	return o, nil
}

// await waits until the partition is this process's.
func (p *partition) await(ctx context.Context) error {
	ctx, cancel := p.journal.until(ctx)
	defer cancel()
	if err := p.journal.options.Members.Await(ctx, p.id); err != nil {
		return p.journal.over(err)
	}
	return nil
}

// begin takes the partition from whoever has it in this process.
func (o *owner) begin() (opening []byte, err error) {
	p := o.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	if p.owner != nil {
		p.owner.lose(fold.ErrSuperseded)
	}
	o.writer = fold.NewWriter(p.state, newOwnerID())
	if opening, err = o.writer.Open(p.journal.identity()); err == nil {
		p.owner = o
	}
	return opening, err
}

// newOwnerID draws an id that no other ownership has.
func newOwnerID() events.OwnerID {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it does not fail
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return events.OwnerID(id)
		}
	}
}

// append hands a message to the events log. It is of the caller's goroutine.
func (o *owner) append(frame []byte) {
	o.appender.Append(o.ctx, frame, func(err error) {
		if err != nil {
			o.fail(err)
		}
	})
}

// await returns when a condition on the writer holds. It gives the ownership up when that takes too long or ctx ends.
func (o *owner) await(ctx context.Context, holds func() bool) error {
	p := o.partition
	timer := p.journal.options.Clock.NewTimer(p.journal.options.GiveUpAfter)
	defer timer.Stop()
	for {
		p.mu.Lock()
		moved, is, err := p.moved, holds(), o.err
		p.mu.Unlock()
		switch {
		case err != nil:
			return o.lost(err)
		case is:
			return nil
		}
		select {
		case <-moved:
		case <-timer.C():
			o.fail(fmt.Errorf("an append has not come back for %v: the broker is slow or away", p.journal.options.GiveUpAfter))
		case <-ctx.Done():
			o.fail(ctx.Err())
		}
	}
}

// fail ends the ownership because nobody knows what becomes of its appends.
func (o *owner) fail(cause error) {
	o.partition.mu.Lock()
	defer o.partition.mu.Unlock()
	o.writer.Fail(cause)
	o.lose(cause)
	o.partition.wake()
}

// lose ends the ownership. The lock is held.
func (o *owner) lose(cause error) {
	if o.err != nil {
		return
	}
	o.writer.Fail(cause)
	o.err = cause
	if o.partition.owner == o {
		o.partition.owner = nil
	}
	o.queue, o.taken = nil, 0
	o.cancel()
	if o.announced {
		o.partition.journal.options.Members.End(o.partition.id)
	}
	if !errors.Is(cause, errReleased) && !errors.Is(cause, journal.ErrMoved) && !errors.Is(cause, journal.ErrClosed) {
		o.partition.journal.options.Logger.Warn("a partition was given up", slog.Int("partition", int(o.partition.id)),
			slog.Uint64("epoch", o.writer.Epoch()), slog.String("error", cause.Error()))
	}
}

// lost is the error of an ownership that has ended.
func (o *owner) lost(cause error) error {
	if errors.Is(cause, journal.ErrClosed) {
		return journal.ErrClosed
	}
	return fmt.Errorf("epoch %d of partition %d: %w: %w", o.writer.Epoch(), o.partition.id, journal.ErrLost, asJournal(o.partition.id, cause))
}

// Epoch returns the epoch.
func (o *owner) Epoch() uint64 { return o.writer.Epoch() }

// ID returns the random id of this ownership.
func (o *owner) ID() events.OwnerID { return o.writer.ID() }

// Last returns the last record of the epochs before.
func (o *owner) Last() events.Seq { return o.last }

// Wait waits for a command. When the last step handled several, it waits until as many have come again, for as long as that step was
// on its way at most: where much is under way, fewer and larger messages make everybody quicker.
func (o *owner) Wait(ctx context.Context) error {
	var gathering clock.Timer
	var over <-chan time.Time
	defer func() {
		if gathering != nil {
			gathering.Stop()
		}
	}()
	for wanted := o.handled; ; {
		o.partition.mu.Lock()
		err, waiting := o.err, len(o.queue)-o.taken
		o.partition.mu.Unlock()
		switch {
		case err != nil:
			return o.lost(err)
		case waiting >= max(wanted, 1):
			return nil
		case waiting > 0 && over == nil:
			gathering = o.partition.journal.options.Clock.NewTimer(min(o.took, gatherMost))
			over = gathering.C()
		}
		select {
		case <-o.ready:
		case <-over:
			return nil
		case <-o.ctx.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Take returns waiting commands.
func (o *owner) Take(limit int) []events.Envelope {
	o.partition.mu.Lock()
	defer o.partition.mu.Unlock()
	n := min(limit, len(o.queue)-o.taken)
	if n <= 0 {
		return nil
	}
	taken := slices.Clone(o.queue[o.taken : o.taken+n])
	o.taken += n
	return taken
}

// Commit appends a step and returns when it was read back. A step that is too large for one message becomes several, of
// which only the last one handles commands: should the others alone arrive, its commands come again, and whoever handles
// them knows from the records that they were handled.
func (o *owner) Commit(ctx context.Context, step journal.Step) error {
	frames, last, err := o.frames(ctx, step)
	if err != nil {
		return err
	}
	if len(frames) == 0 {
		return nil
	}
	began := o.partition.journal.options.Clock.Boot()
	for _, frame := range frames {
		o.append(frame)
	}
	err = o.await(ctx, func() bool { return o.writer.Confirmed() >= last })
	o.handled, o.took = step.Consumed, o.partition.journal.options.Clock.Boot()-began
	o.partition.mu.Lock()
	defer o.partition.mu.Unlock()
	o.committing = false
	if o.moving {
		o.leave()
	}
	return err
}

// move ends the ownership for another process, after the step that is on its way.
func (o *owner) move() {
	o.partition.mu.Lock()
	defer o.partition.mu.Unlock()
	if o.moving = true; !o.committing {
		o.leave()
	}
}

// leave ends the ownership for another process. The lock is held.
func (o *owner) leave() {
	o.lose(journal.ErrMoved)
	o.partition.wake()
}

// frames makes the messages of a step.
func (o *owner) frames(ctx context.Context, step journal.Step) (frames [][]byte, last events.Seq, err error) {
	p := o.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.err != nil {
		return nil, 0, o.lost(o.err)
	}
	if err = ctx.Err(); err == nil {
		err = journal.CheckStep(step, p.id, o.writer.Epoch(), o.writer.Next()-1, o.taken)
	}
	for rest := step; err == nil; {
		part := rest
		var frame []byte
		for frame, err = o.writer.Append(fold.Step{Records: part.Records, Consumed: part.Consumed}); errors.Is(err, fold.ErrTooLarge) && len(part.Records) > 1; {
			part = journal.Step{Records: part.Records[:len(part.Records)/2]}
			frame, err = o.writer.Append(fold.Step{Records: part.Records})
		}
		if frame != nil {
			frames = append(frames, frame)
		}
		if rest.Records = rest.Records[len(part.Records):]; len(rest.Records) == 0 {
			break
		}
	}
	if err != nil {
		o.lose(err)
		p.wake()
		return nil, 0, o.lost(err)
	}
	o.consume(step.Consumed)
	o.committing = len(frames) > 0
	return frames, o.writer.Next() - 1, nil
}

// consume forgets handled commands. The lock is held.
func (o *owner) consume(n int) {
	clear(o.queue[:n])
	o.queue, o.taken = o.queue[n:], o.taken-n
	if n > 0 && len(o.queue) < maxWaiting {
		signal(o.room)
	}
}

// Release gives the partition up.
func (o *owner) Release() {
	o.partition.mu.Lock()
	o.lose(errReleased)
	o.partition.wake()
	o.partition.mu.Unlock()
	if o.appender != nil {
		o.appender.Close()
		o.appender = nil
	}
}

// readCommands reads the commands log until the ownership ends, which it does when that fails.
func (o *owner) readCommands(in fold.Position) {
	if err := o.takeFrom(in); err != nil && o.ctx.Err() == nil {
		o.fail(fmt.Errorf("reading commands: %w", asJournal(o.partition.id, err)))
	}
}

func (o *owner) takeFrom(in fold.Position) error {
	r, err := o.partition.journal.options.Log.Read(o.ctx, brokerlog.Commands, o.partition.id, in)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		messages, err := r.Next(o.ctx, readLimit)
		if err != nil {
			return err
		}
		full, err := o.queueUp(messages)
		if err != nil {
			return err
		}
		for full {
			select {
			case <-o.room:
			case <-o.ctx.Done():
				return nil
			}
			o.partition.mu.Lock()
			full = len(o.queue) >= maxWaiting
			o.partition.mu.Unlock()
		}
	}
}

// queueUp queues the commands of messages that are to be handled, and reports whether enough wait.
func (o *owner) queueUp(messages []fold.Message) (full bool, err error) {
	p := o.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	defer signal(o.ready)
	for _, m := range messages {
		if o.err != nil {
			return false, nil
		}
		c, what, err := o.writer.Take(m)
		if err != nil {
			return false, fmt.Errorf("%w: %w", journal.ErrDamaged, err)
		}
		switch what {
		case fold.Handle:
			command, err := events.DecodeEnvelope(c.Body)
			if err != nil {
				return false, fmt.Errorf("%w: the command at position %s: %w", journal.ErrDamaged, m.At, err)
			}
			o.queue = append(o.queue, command)
		case fold.Missing:
			p.journal.options.Logger.Error("a command of another partition is lost; nothing more is taken from it", slog.Int("partition", int(p.id)),
				slog.Int("source", int(c.Source)), slog.Uint64("number", c.N))
		case fold.Repeated, fold.Early:
		}
	}
	return len(o.queue) >= maxWaiting, nil
}

// signal puts a value into a channel that may have one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
