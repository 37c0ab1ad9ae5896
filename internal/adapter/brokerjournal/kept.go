package brokerjournal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// retention is the name under which the broker is asked to keep messages, for all readers of a cluster together.
const retention = "journal"

// maxFolds bounds the checkpoints of a partition whose log is not trimmed: then every other one between the oldest and the
// newest is deleted.
const maxFolds = 64

// keptTimeout bounds calls that have no context of their own.
const keptTimeout = 30 * time.Second

// kept are the objects of the journal.
type kept struct{ objects objectstore.Store }

func foldPrefix(id events.Partition) string { return fmt.Sprintf("log/%d/fold/", id) }

func foldName(id events.Partition, seq events.Seq) string {
	return fmt.Sprintf("%s%020d", foldPrefix(id), seq)
}

func firstName(id events.Partition) string { return fmt.Sprintf("log/%d/first", id) }

func holdPrefix(reader string) string { return "hold/" + reader + "/" }

func holdName(reader string, at journal.Position) string {
	return fmt.Sprintf("%s%d/%020d", holdPrefix(reader), at.Partition, max(at.Next, 1))
}

// folds returns the records behind which there are checkpoints, ascending.
func (k kept) folds(ctx context.Context, id events.Partition) ([]events.Seq, error) {
	names, err := k.objects.List(ctx, foldPrefix(id))
	if err != nil {
		return nil, err
	}
	var seqs []events.Seq
	for _, name := range names {
		seq, err := strconv.ParseUint(strings.TrimPrefix(name, foldPrefix(id)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("object %s is not of this journal: two programs must not share a store of objects: %w", name, err)
		}
		seqs = append(seqs, events.Seq(seq))
	}
	return seqs, nil
}

// newest returns the newest checkpoint that includes no record above most, the beginning of the log if there is none. One
// that is deleted meanwhile, or damaged, is passed over for an older one.
func (k kept) newest(ctx context.Context, id events.Partition, most events.Seq) (*fold.State, error) {
	seqs, err := k.folds(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("the checkpoints of partition %d: %w", id, err)
	}
	var damaged error
	for i, ok := newestOf(seqs, most); ok; i, ok = i-1, i > 0 {
		state, err := k.fold(ctx, id, seqs[i])
		if err == nil {
			return state, nil
		}
		var damage *fold.DamageError
		switch {
		case errors.As(err, &damage):
			damaged = err
		case !errors.Is(err, objectstore.ErrNotFound):
			return nil, err
		}
	}
	if damaged != nil {
		return nil, fmt.Errorf("partition %d has no checkpoint that can be read: %w: %w", id, journal.ErrDamaged, damaged)
	}
	return fold.NewState(id), nil
}

// fold returns a checkpoint.
func (k kept) fold(ctx context.Context, id events.Partition, seq events.Seq) (*fold.State, error) {
	name := foldName(id, seq)
	b, err := k.objects.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	state, _, err := fold.DecodeCheckpoint(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("checkpoint %s: %w", name, err)
	case state.Partition() != id || state.Seq() != seq:
		return nil, fmt.Errorf("checkpoint %s is of record %d of partition %d: %w", name, state.Seq(), state.Partition(), journal.ErrDamaged)
	}
	return state, nil
}

// store stores a checkpoint, and thins out those before it when there are many.
func (k kept) store(ctx context.Context, s *fold.State) error {
	id := s.Partition()
	if err := k.objects.Put(ctx, foldName(id, s.Seq()), fold.AppendCheckpoint(nil, s, nil)); err != nil {
		return err
	}
	seqs, err := k.folds(ctx, id)
	if err != nil || len(seqs) <= maxFolds {
		return err
	}
	for i := 1; i < len(seqs)-2; i += 2 {
		if err := k.objects.Delete(ctx, foldName(id, seqs[i])); err != nil {
			return err
		}
	}
	return nil
}

// first returns the first readable record of a partition.
func (k kept) first(ctx context.Context, id events.Partition) (events.Seq, error) {
	b, err := k.objects.Get(ctx, firstName(id))
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		return 1, nil
	case err != nil:
		return 0, fmt.Errorf("the beginning of partition %d: %w", id, err)
	case len(b) != 8:
		return 0, fmt.Errorf("object %s has %d bytes instead of 8: %w", firstName(id), len(b), journal.ErrDamaged)
	}
	return events.Seq(binary.BigEndian.Uint64(b)), nil
}

// hold is one hold of one reader.
type hold struct {
	reader string
	journal.Position
}

// holds returns the holds below a prefix. Where a crash left two of one reader and partition, the lower one counts.
func (k kept) holds(ctx context.Context, prefix string) ([]hold, error) {
	names, err := k.objects.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var all []hold
	for _, name := range names {
		h, err := holdOf(name)
		if err != nil {
			return nil, err
		}
		if n := len(all); n > 0 && all[n-1].reader == h.reader && all[n-1].Partition == h.Partition {
			continue // a higher one: names are sorted
		}
		all = append(all, h)
	}
	return all, nil
}

// holdOf reads the name of a hold.
func holdOf(name string) (hold, error) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return hold{}, fmt.Errorf("object %s is not of this journal: two programs must not share a store of objects", name)
	}
	p, err1 := strconv.ParseUint(parts[2], 10, 16)
	next, err2 := strconv.ParseUint(parts[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return hold{}, fmt.Errorf("object %s is not of this journal: two programs must not share a store of objects: %w", name, err)
	}
	return hold{parts[1], journal.Position{Partition: events.Partition(p), Next: events.Seq(next)}}, nil
}

func (j *Journal) keptContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(j.ctx, keptTimeout)
}

// Hold stores holds. They are durable when it returns.
func (j *Journal) Hold(reader string, at []journal.Position) error {
	ctx, cancel := j.keptContext()
	defer cancel()
	for _, position := range at {
		p := j.partitions[position.Partition]
		if err := p.refresh(ctx); err != nil {
			return j.over(err)
		}
		if first, _ := j.Bounds(position.Partition); max(position.Next, 1) < first {
			return fmt.Errorf("hold of %s at %d in partition %d, which begins at %d: %w", reader, position.Next, position.Partition, first, journal.ErrTrimmed)
		}
	}
	before, err := j.kept.objects.List(ctx, holdPrefix(reader))
	if err != nil {
		return j.over(err)
	}
	named := map[events.Partition]string{}
	for _, position := range at {
		name := holdName(reader, position)
		named[position.Partition] = name
		if !slices.Contains(before, name) {
			if err := j.kept.objects.Put(ctx, name, nil); err != nil {
				return j.over(err)
			}
		}
	}
	for _, name := range before {
		h, err := holdOf(name)
		if err != nil {
			return err
		}
		if now, is := named[h.Partition]; len(at) == 0 || is && now != name {
			if err := j.kept.objects.Delete(ctx, name); err != nil {
				return j.over(err)
			}
		}
	}
	return nil
}

// Holds returns the positions of a reader's hold.
func (j *Journal) Holds(reader string) ([]journal.Position, error) {
	ctx, cancel := j.keptContext()
	defer cancel()
	all, err := j.kept.holds(ctx, holdPrefix(reader))
	if err != nil {
		return nil, j.over(fmt.Errorf("the holds of %s: %w", reader, err))
	}
	var at []journal.Position
	for _, h := range all {
		at = append(at, h.Position)
	}
	slices.SortFunc(at, func(a, b journal.Position) int { return int(a.Partition) - int(b.Partition) })
	return at, nil
}

// Trim moves the beginning of a partition as far as holds permit, and lets the broker forget what lies before the last but
// one checkpoint ahead of it. It is for the owner of the partition.
func (j *Journal) Trim(id events.Partition, below events.Seq) error {
	ctx, cancel := j.keptContext()
	defer cancel()
	if err := j.trim(ctx, id, below); err != nil {
		return j.over(fmt.Errorf("trimming partition %d: %w", id, err))
	}
	return nil
}

func (j *Journal) trim(ctx context.Context, id events.Partition, below events.Seq) error {
	all, err := j.kept.holds(ctx, "hold/")
	if err != nil {
		return err
	}
	if err := j.partitions[id].refresh(ctx); err != nil { // a former owner must not move the beginning back
		return err
	}
	first, last := j.Bounds(id)
	below = min(below, last+1)
	for _, h := range all {
		if h.Partition == id {
			below = min(below, h.Next)
		}
	}
	if below <= first {
		return nil
	}
	if err := j.kept.objects.Put(ctx, firstName(id), binary.BigEndian.AppendUint64(nil, uint64(below))); err != nil {
		return err
	}
	p := j.partitions[id]
	p.mu.Lock()
	p.first = max(p.first, below)
	p.wakeReaders()
	p.mu.Unlock()
	return j.forget(ctx, id, below)
}

// forget moves what the broker has to keep to the last but one checkpoint that a reader from first on can begin with.
func (j *Journal) forget(ctx context.Context, id events.Partition, first events.Seq) error {
	seqs, err := j.kept.folds(ctx, id)
	if err != nil {
		return err
	}
	i, ok := newestOf(seqs, first-1)
	if !ok || i == 0 {
		return nil
	}
	state, err := j.kept.fold(ctx, id, seqs[i-1])
	if err != nil {
		return err
	}
	if err := j.options.Log.Keep(ctx, brokerlog.Events, id, retention, state.At()); err != nil {
		return err
	}
	if err := j.options.Log.Keep(ctx, brokerlog.Commands, id, retention, state.In()); err != nil {
		return err
	}
	for _, seq := range seqs[:i-1] {
		if err := j.kept.objects.Delete(ctx, foldName(id, seq)); err != nil {
			return err
		}
	}
	return nil
}
