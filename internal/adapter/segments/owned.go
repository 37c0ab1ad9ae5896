package segments

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// At so many bytes what waits for the next manifest goes into segments already, which that manifest will name.
const (
	spillRows      = 8 << 20
	spillHistories = 1 << 20
)

// keptManifests is how many manifests stay.
const keptManifests = 2

// owned is a partition as its owner sees it: the version that the next manifest will show, and what is not in it yet.
type owned struct {
	store *Store
	id    events.Partition

	tidying sync.Mutex // one at a time merges and deletes

	mu      sync.Mutex
	begun   bool
	failed  error  // of a write: nothing is known of what is durable
	writer  string // random, of this ownership
	claim   uint64 // of this ownership; 0 where nobody claims
	made    uint64 // segments of this process: no name is used twice
	version version

	rows  []row      // of writes without a checkpoint, sorted
	bytes int        // of rows
	kept  events.Seq // records below are in histories or the version

	histories []row
	buffered  int     // bytes of histories
	forgotten *runSet // no manifest says so yet

	manifests []string // those of this ownership that stay, oldest first
	former    []string // manifests of other owners that were there when it began
	written   uint64   // manifests of this ownership
	obsolete  []obsolete
	due       []string // objects that can be deleted
}

// runSet is a set of runs with a lock of its own, so that readers need not wait for the owner.
type runSet struct {
	mu   sync.Mutex
	runs map[events.RunID]struct{}
}

func (s *runSet) has(run events.RunID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.runs[run]
	return ok
}

func (s *runSet) add(run events.RunID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[events.RunID]struct{}{}
	}
	s.runs[run] = struct{}{}
}

func (s *runSet) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = nil
}

// obsolete is a segment that is not named by the manifests of this ownership from the since-th on.
type obsolete struct {
	name  string
	since uint64
}

// begin makes the state that of the newest manifest. The lock is held.
//
// The segments that it lists and that are not in use are left by those who owned the partition before, as soon as a later
// commit shows that nobody owned it after.
func (o *owned) begin(ctx context.Context) error {
	o.begun = false
	var random [8]byte
	_, _ = rand.Read(random[:]) // it does not fail
	writer := hex.EncodeToString(random[:])
	if o.store.options.Claims {
		var err error
		if o.claim, err = o.store.claim(ctx, o.id, writer); err != nil {
			return err
		}
	}
	v, manifests, err := o.store.newest(ctx, o.id)
	if err != nil {
		return err
	}
	names, err := o.store.options.Objects.List(ctx, segmentPrefix(o.id))
	if err != nil {
		return fmt.Errorf("the segments of partition %d: %w", o.id, err)
	}
	o.begun, o.failed = true, nil
	o.writer, o.version = writer, *v
	o.rows, o.bytes, o.kept = nil, 0, max(v.next, 1)
	o.histories, o.buffered = nil, 0
	o.forgotten.clear()
	o.manifests, o.former, o.written = nil, nil, 0
	for _, m := range manifests {
		o.former = append(o.former, m.name)
	}
	o.obsolete, o.due = nil, nil
	inUse := map[string]bool{}
	v.segments(func(s *segment) { inUse[s.name] = true })
	for _, name := range names {
		switch {
		case inUse[name]:
		case mutant.On(mutant.LeftoversDeletedAtOnce):
			o.due = append(o.due, name)
		default:
			o.obsolete = append(o.obsolete, obsolete{name, 1})
		}
	}
	return nil
}

// ready begins an ownership if none has begun. The lock is held.
func (o *owned) ready(ctx context.Context) error {
	if o.failed != nil {
		return fmt.Errorf("partition %d: an earlier write failed and the checkpoint was not read since: %w", o.id, o.failed)
	}
	if o.begun {
		return nil
	}
	return o.begin(ctx)
}

// put makes a segment of this ownership.
func (o *owned) put(ctx context.Context, writer string, data []byte) (string, error) {
	o.made++
	name := segmentName(o.id, writer, o.made)
	if err := o.store.options.Objects.Put(ctx, name, data); err != nil {
		return "", fmt.Errorf("segment %s: %w", name, err)
	}
	o.store.cache.add(name, data)
	return name, nil
}

// layer makes a layer of sorted rows. The lock is held.
func (o *owned) layer(ctx context.Context, rows []row) (layer, error) {
	b := builder{limit: o.store.options.SegmentBytes}
	b.put = func(data []byte) (string, error) { return o.put(ctx, o.writer, data) }
	defer b.abandon()
	for i := range rows {
		if err := b.add([]byte(rows[i].key), rows[i].value, rows[i].deleted); err != nil {
			return nil, err
		}
	}
	if err := b.cut(); err != nil {
		return nil, err
	}
	return b.made, nil
}

// write applies rows, and makes everything durable if there is a checkpoint. The lock is held.
func (o *owned) write(ctx context.Context, rows []row, checkpoint *runstore.Checkpoint) (err error) {
	if o.version.name != "" && checkpoint != nil && checkpoint.Next <= o.version.next {
		return fmt.Errorf("a checkpoint at %d cannot follow the one at %d in partition %d", checkpoint.Next, o.version.next, o.id)
	}
	defer func() {
		if err != nil && !mutant.On(mutant.FailedWriteForgotten) {
			o.failed = err
		}
	}()
	if checkpoint != nil {
		if err := o.archiveBelow(ctx, checkpoint.Next); err != nil {
			return err
		}
	}
	o.rows = mergeRows(o.rows, rows)
	for i := range rows {
		o.bytes += len(rows[i].key) + len(rows[i].value)
	}
	if checkpoint != nil || o.bytes >= spillRows {
		if err := o.spillRows(ctx); err != nil {
			return err
		}
	}
	if checkpoint == nil {
		return nil
	}
	if !mutant.On(mutant.CheckpointWithoutHistories) {
		if err := o.spillHistories(ctx); err != nil {
			return err
		}
	}
	return o.publish(ctx, checkpoint)
}

func (o *owned) spillRows(ctx context.Context) error {
	l, err := o.layer(ctx, o.rows)
	if err != nil {
		return err
	}
	o.version.rows = prepend(l, o.version.rows)
	o.rows, o.bytes = nil, 0
	return nil
}

func (o *owned) spillHistories(ctx context.Context) error {
	l, err := o.layer(ctx, sortRows(o.histories))
	if err != nil {
		return err
	}
	o.version.histories = prepend(l, o.version.histories)
	o.histories, o.buffered = nil, 0
	return nil
}

// prepend returns a new table with a layer in front, unless that is empty.
func prepend(l layer, table []layer) []layer {
	if len(l) == 0 {
		return table
	}
	return append([]layer{l}, table...)
}

// publish makes the version durable: it is there as soon as its manifest is.
func (o *owned) publish(ctx context.Context, checkpoint *runstore.Checkpoint) error {
	v := o.version
	v.next, v.state = checkpoint.Next, slices.Clone(checkpoint.State)
	v.claim = o.claim
	v.name = manifestName(o.id, &v, o.writer)
	if err := o.store.options.Objects.Put(ctx, v.name, v.encode(o.id)); err != nil {
		return fmt.Errorf("manifest %s: %w", v.name, err)
	}
	if o.store.options.Claims {
		lower, err := o.store.keepsClaim(ctx, o.id, o.claim, o.writer)
		if err != nil {
			return err
		}
		o.due = append(o.due, lower...)
	}
	o.version = v
	o.forgotten.clear()
	o.written++
	o.manifests = append(o.manifests, v.name)
	o.release()
	o.store.reading[o.id].outdated()
	o.store.wake()
	return nil
}

// release finds what can be deleted. Between this manifest and the one before it the owner has committed a record, so whoever
// owns the partition later has read the one before it or a newer one, and never needs what neither of them names.
func (o *owned) release() {
	if len(o.manifests) >= keptManifests {
		o.due = append(o.due, o.former...)
		o.former = nil
	}
	if n := len(o.manifests) - keptManifests; n > 0 {
		o.due = append(o.due, o.manifests[:n]...)
		o.manifests = slices.Clone(o.manifests[n:])
	}
	o.obsolete = slices.DeleteFunc(o.obsolete, func(s obsolete) bool {
		over := s.since < o.written || mutant.On(mutant.ReplacedSegmentDeletedEarly)
		if over {
			o.due = append(o.due, s.name)
		}
		return over
	})
}

// sortRows sorts rows and keeps the last of each key.
func sortRows(rows []row) []row {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.key, b.key) })
	sorted := rows[:0]
	for i := range rows {
		if i+1 == len(rows) || rows[i+1].key != rows[i].key {
			sorted = append(sorted, rows[i])
		}
	}
	return sorted
}

// mergeRows returns sorted rows with changes, which replace those with the same keys.
func mergeRows(rows, changes []row) []row {
	changes = sortRows(changes)
	if len(rows) == 0 {
		return changes
	}
	merged := make([]row, 0, len(rows)+len(changes))
	for len(rows) > 0 && len(changes) > 0 {
		switch c := cmp.Compare(rows[0].key, changes[0].key); {
		case c < 0:
			merged, rows = append(merged, rows[0]), rows[1:]
		case c == 0:
			rows = rows[1:]
		default:
			merged, changes = append(merged, changes[0]), changes[1:]
		}
	}
	return append(append(merged, rows...), changes...)
}

// get returns the value of a row. The lock is held.
func (o *owned) get(ctx context.Context, key []byte) ([]byte, error) {
	if i, ok := slices.BinarySearchFunc(o.rows, string(key), func(r row, key string) int { return cmp.Compare(r.key, key) }); ok {
		return o.rows[i].value, nil
	}
	value, _, err := tables{ctx, o.store.cache}.get(o.version.rows, key)
	return value, o.explain(ctx, err)
}

// scan calls visit with the rows from lower on and below upper, until it returns false. The lock is held.
func (o *owned) scan(ctx context.Context, lower, upper []byte, visit func(key, value []byte) (bool, error)) error {
	at := func(key string) int {
		i, _ := slices.BinarySearchFunc(o.rows, key, func(r row, key string) int { return cmp.Compare(r.key, key) })
		return i
	}
	waiting, more := o.rows[at(string(lower)):at(string(upper))], true
	show := func(key, value []byte, deleted bool) (err error) {
		if !deleted {
			more, err = visit(key, value)
		}
		return err
	}
	err := tables{ctx, o.store.cache}.scan(o.version.rows, lower, upper, func(key, value []byte, deleted bool) (_ bool, err error) {
		for more && err == nil && len(waiting) > 0 && waiting[0].key < string(key) {
			err = show([]byte(waiting[0].key), waiting[0].value, waiting[0].deleted)
			waiting = waiting[1:]
		}
		if !more || err != nil || len(waiting) > 0 && waiting[0].key == string(key) {
			return more, err
		}
		err = show(key, value, deleted)
		return more, err
	})
	for ; more && err == nil && len(waiting) > 0; waiting = waiting[1:] {
		err = show([]byte(waiting[0].key), waiting[0].value, waiting[0].deleted)
	}
	return o.explain(ctx, err)
}

// explain tells a segment that a successor has deleted from one that is lost. The lock is held.
func (o *owned) explain(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, objectstore.ErrNotFound) {
		return err
	}
	newest, _, failed := o.store.newest(ctx, o.id)
	switch {
	case failed != nil:
		return errors.Join(err, failed)
	case newest.name != o.version.name:
		return fmt.Errorf("%w: another process has written partition %d: %w", journal.ErrLost, o.id, err)
	}
	return fmt.Errorf("%w: the manifest of partition %d names an object that is not there: %w", journal.ErrDamaged, o.id, err)
}

// tidy deletes what is due and merges layers until nothing is left to do.
func (o *owned) tidy(ctx context.Context) error {
	o.tidying.Lock()
	defer o.tidying.Unlock()
	if err := o.delete(ctx); err != nil {
		return err
	}
	for {
		merged, err := o.merge(ctx)
		if err != nil || !merged {
			return err
		}
	}
}

// delete deletes manifests, then segments, so that no manifest is there without its segments.
func (o *owned) delete(ctx context.Context) error {
	o.mu.Lock()
	due := map[string]struct{}{}
	for _, name := range o.due {
		due[name] = struct{}{}
	}
	o.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(due), func(a, b string) int {
		manifest := func(name string) int {
			if strings.HasPrefix(name, manifestPrefix(o.id)) {
				return 0
			}
			return 1
		}
		return cmp.Or(manifest(a)-manifest(b), cmp.Compare(a, b))
	})
	for _, name := range names {
		if err := o.store.options.Objects.Delete(ctx, name); err != nil {
			return err
		}
		o.store.cache.drop(name)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.due = slices.DeleteFunc(o.due, func(name string) bool { _, done := due[name]; return done })
	return nil
}
