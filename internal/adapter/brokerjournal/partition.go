package brokerjournal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// readLimit is how many messages are asked for at a time.
const readLimit = 256

// How long to wait before a reading that failed is tried again.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// entry is an accepted frame. Its records are decoded when the first reader wants them.
type entry struct {
	partition   events.Partition
	first, last events.Seq
	frame       []byte
	decode      sync.Once
	records     []*events.Record
	err         error
}

func entryOf(f *fold.Frame) *entry {
	return &entry{partition: f.Partition, first: f.First, last: f.Last(), frame: f.Records}
}

// from returns the records of the entry from one on.
func (e *entry) from(next events.Seq) ([]*events.Record, error) {
	e.decode.Do(func() { e.records, e.err = events.DecodeFrame(e.frame) })
	if e.err != nil {
		return nil, fmt.Errorf("records %d…%d of partition %d: %w: %w", e.first, e.last, e.partition, journal.ErrDamaged, e.err)
	}
	return e.records[max(next, e.first)-e.first:], nil
}

// partition folds one partition of the events log.
type partition struct {
	journal *Journal
	id      events.Partition

	mu      sync.Mutex
	state   *fold.State // the writer's while there is one
	owner   *owner      // of this process; nil
	moved   chan struct{}
	first   events.Seq
	recent  []*entry // the newest ones, oldest first
	bytes   int      // of recent
	opened  bool     // the log was found where the state left it
	err     error    // why nothing is read any more
	readers map[*reader]struct{}
	stored  events.Seq // the newest checkpoint that this process knows
}

// newPartition begins on the newest checkpoint.
func (j *Journal) newPartition(ctx context.Context, id events.Partition) (*partition, error) {
	state, err := j.kept.newest(ctx, id, ^events.Seq(0))
	if err != nil {
		return nil, err
	}
	first, err := j.kept.first(ctx, id)
	if err != nil {
		return nil, err
	}
	return &partition{
		journal: j, id: id, state: state, first: first, stored: state.Seq(), moved: make(chan struct{}), readers: map[*reader]struct{}{},
	}, nil
}

// run reads until the journal closes or the log cannot be read any more.
func (p *partition) run() {
	j := p.journal
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		began := j.options.Clock.Boot()
		err := p.follow(j.ctx)
		if j.ctx.Err() != nil {
			return
		}
		if errors.Is(err, brokerlog.ErrTrimmed) {
			err = p.restart(j.ctx, err)
		}
		_, halted := errors.AsType[*fold.Halt](err)
		if halted || errors.Is(err, brokerlog.ErrAhead) || errors.Is(err, brokerlog.ErrTrimmed) || errors.Is(err, brokerlog.ErrClosed) {
			err = asJournal(p.id, err)
			j.options.Logger.Error("the log of a partition cannot be read any more", slog.Int("partition", int(p.id)), slog.String("error", err.Error()))
			p.end(err)
			return
		}
		j.options.Logger.Warn("reading the log of a partition failed; it is tried again", slog.Int("partition", int(p.id)), slog.String("error", err.Error()))
		if j.options.Clock.Boot()-began > time.Minute {
			pause = retryFirst
		}
		select {
		case <-j.ctx.Done():
			return
		case <-j.options.Clock.After(pause):
		}
	}
}

// follow reads from behind the state on until that fails.
func (p *partition) follow(ctx context.Context) error {
	p.mu.Lock()
	at := p.state.At()
	p.mu.Unlock()
	r, err := p.journal.options.Log.Read(ctx, brokerlog.Events, p.id, at)
	if err != nil {
		return err
	}
	defer r.Close()
	p.mu.Lock()
	p.opened = true
	p.wake()
	p.mu.Unlock()
	for {
		messages, err := r.Next(ctx, readLimit)
		if err != nil {
			return err
		}
		if err := p.read(messages); err != nil {
			return err
		}
	}
}

// restart goes on from the newest checkpoint, for a process that slept while the others trimmed the log. It returns an error in
// any case: trimmed if there is no newer checkpoint.
func (p *partition) restart(ctx context.Context, trimmed error) error {
	state, err := p.journal.kept.newest(ctx, p.id, ^events.Seq(0))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if state.At().Compare(p.state.At()) <= 0 {
		return trimmed
	}
	if p.owner != nil {
		p.owner.lose(fold.ErrSuperseded)
	}
	p.state, p.recent, p.bytes = state, nil, 0
	p.wake()
	p.wakeReaders()
	return fmt.Errorf("what follows is trimmed; it goes on behind record %d", state.Seq())
}

// read folds messages and lets those know who wait for them.
func (p *partition) read(messages []fold.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	accepted := false
	for _, m := range messages {
		var verdict fold.Verdict
		var f fold.Frame
		if o := p.owner; o != nil {
			verdict, f = o.writer.Read(m)
			if err := o.writer.Err(); err != nil {
				o.lose(err)
			}
		} else {
			verdict, f = p.state.Read(m)
		}
		switch verdict {
		case fold.Accepted:
			accepted = true
			e := entryOf(&f)
			p.recent, p.bytes = append(p.recent, e), p.bytes+len(e.frame)
		case fold.Late, fold.Foreign:
			p.journal.options.Logger.Warn("a message of the events log is void", slog.Int("partition", int(p.id)), slog.String("verdict", verdict.String()),
				slog.String("position", m.At.String()), slog.Uint64("epoch", f.Epoch), slog.Uint64("owner_id", uint64(f.Owner)))
		case fold.Opened, fold.Duplicate, fold.Stale, fold.Halted:
		}
	}
	for p.bytes > p.journal.options.RecentBytes && len(p.recent) > 1 {
		p.bytes -= len(p.recent[0].frame)
		p.recent[0] = nil
		p.recent = p.recent[1:]
	}
	p.wake()
	if accepted {
		p.wakeReaders()
	}
	if h := p.state.Halt(); h != nil {
		return h
	}
	return nil
}

// wake lets everybody look again who waits for moved. The lock is held.
func (p *partition) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// wakeReaders lets all readers look again. The lock is held.
func (p *partition) wakeReaders() {
	for r := range p.readers {
		r.wake()
	}
}

// end ends the reading for good.
func (p *partition) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	if p.owner != nil {
		p.owner.lose(err)
	}
	p.wake()
	p.wakeReaders()
}

// catchUp returns when the partition is folded up to where its log ends now.
func (p *partition) catchUp(ctx context.Context) error {
	ctx, cancel := p.journal.until(ctx)
	defer cancel()
	end, err := p.journal.options.Log.End(ctx, brokerlog.Events, p.id)
	if err != nil {
		return p.journal.over(asJournal(p.id, err))
	}
	return p.wait(ctx, func() bool { return p.opened && p.state.At().Compare(end) >= 0 })
}

// wait returns when a condition holds, which is looked at under the lock.
func (p *partition) wait(ctx context.Context, holds func() bool) error {
	for {
		p.mu.Lock()
		moved, is, err := p.moved, holds(), p.err
		p.mu.Unlock()
		switch {
		case err != nil:
			return err
		case is:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return p.journal.over(ctx.Err())
		}
	}
}

// at returns the newest records from next on that are in memory; known is false when they begin later.
func (p *partition) at(next events.Seq) (e *entry, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return nil, false, p.err
	case next < p.first:
		return nil, false, fmt.Errorf("reading partition %d from %d, which begins at %d: %w", p.id, next, p.first, journal.ErrTrimmed)
	case next > p.state.Seq():
		return nil, true, nil
	case len(p.recent) == 0 || next < p.recent[0].first:
		return nil, false, nil
	}
	i := sort.Search(len(p.recent), func(i int) bool { return p.recent[i].last >= next })
	return p.recent[i], true, nil
}

// watch lets a reader know of new records until it is told to stop.
func (p *partition) watch(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers[r] = struct{}{}
}

func (p *partition) unwatch(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.readers, r)
}

// checkpoint stores the folds of the partitions that this process owns, again and again.
func (j *Journal) checkpoint() {
	timer := j.options.Clock.NewTimer(j.options.CheckpointEvery)
	defer timer.Stop()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-timer.C():
		}
		for _, p := range j.partitions {
			if err := p.store(); err != nil && j.ctx.Err() == nil {
				j.options.Logger.Warn("a checkpoint of the log could not be stored; it is tried again", slog.Int("partition", int(p.id)), slog.String("error", err.Error()))
			}
		}
		timer.Reset(j.options.CheckpointEvery)
	}
}

// store stores the fold if it has moved since and the partition is this process's.
func (p *partition) store() error {
	p.mu.Lock()
	if p.owner == nil || p.state.Seq() <= p.stored || p.state.Halt() != nil {
		p.mu.Unlock()
		return nil
	}
	state := p.state.Clone()
	p.mu.Unlock()
	if err := p.journal.kept.store(p.journal.ctx, state); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored = max(p.stored, state.Seq())
	return nil
}

// newestOf returns the greatest of ascending numbers that is not above most; false if there is none.
func newestOf(seqs []events.Seq, most events.Seq) (int, bool) {
	i, found := slices.BinarySearch(seqs, most)
	if !found {
		i--
	}
	return i, i >= 0
}
