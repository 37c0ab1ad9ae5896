package clickhouse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// writer is what the one who writes knows of the tables.
type writer struct {
	claimed          bool // the tables were found fit to be gone on with
	unsure           bool // a write broke off: positions have to be read again
	positions        map[events.Partition]progress
	stored           map[events.RunID]stored // rows as they are in the table, some of them
	steps            map[stepKey]stepRow     // likewise
	purged           int                     // runs whose history is to be deleted, the first since
	purge            bool                    // it is time
	purgedSince, now events.Time             // by the log
}

// progress is how far a partition is, how far a write was begun, and how far its events are counted.
type progress struct {
	readmodel.Position
	Hand, Counted events.Seq
}

// stored is the newest row of a run, deleted ones included.
type stored struct {
	rank    uint64
	deleted bool
	run     row.Run // what the key of the table is made of
}

// maxStored bounds the memory of the writer.
const maxStored = 20_000

// The rank of a row orders it among those of its run: first how often the run was deleted before, then its version.
const (
	versionBits = 48
	maxVersion  = 1<<versionBits - 1
)

func rankOf(lives uint64, version events.EventNumber) uint64 {
	return lives<<versionBits | min(uint64(version), maxVersion-1)
}

// claim reads how far the model is. A model that nothing was ever written to may hold what is left of a reset or of a
// building that broke off: it is emptied when the writer begins. When a write broke off, or somebody else has written,
// nothing that is remembered of the tables holds any more; but what a building has counted, which is written without
// positions, is known here only.
func (m *Model) claim(ctx context.Context) error {
	w := &m.writer
	at, err := m.readPositions(ctx)
	if err != nil {
		return err
	}
	switch {
	case !w.claimed && len(at) == 0:
		if err := m.empty(ctx); err != nil {
			return err
		}
	case w.claimed && !w.unsure && maps.Equal(at, w.positions):
		return nil
	case w.claimed && !maps.Equal(at, w.positions):
		w.steps = nil
	}
	begins := !w.claimed
	w.claimed, w.unsure, w.positions, w.stored = true, false, at, map[events.RunID]stored{}
	if begins {
		return m.countPurged(ctx)
	}
	return nil
}

// Apply writes a batch: first how far it will go, then what it has, then that it is there. See the package for what holds
// when that breaks off.
func (m *Model) Apply(ctx context.Context, b readmodel.Batch) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := m.apply(ctx, b); err != nil {
		m.writer.unsure = true
		if len(b.Positions) > 0 {
			m.writer.steps = nil // the rows in the table say what they have counted
		}
		return fmt.Errorf("write the read model: %w", m.failed(err))
	}
	m.publish(b.Positions)
	return nil
}

func (m *Model) apply(ctx context.Context, b readmodel.Batch) error {
	if err := m.claim(ctx); err != nil {
		return err
	}
	w := &m.writer
	token, dirty := w.token(b.Positions), w.dirty(b.Positions)
	if token != "" && len(b.Rows)+len(b.Deletes)+len(b.Events)+len(b.Outcomes) > 0 {
		if err := m.writePositions(ctx, w.inHand(b.Positions)); err != nil {
			return err
		}
	}
	if err := m.writeFacts(ctx, b, token); err != nil {
		return err
	}
	runs, err := m.runsToWrite(ctx, b, dirty)
	if err != nil {
		return err
	}
	var columns runColumns
	for i := range runs {
		if err := columns.add(&runs[i].run, runs[i].rank, runs[i].deleted); err != nil {
			return err
		}
	}
	if err := m.notePurged(ctx, runs, b.Positions); err != nil {
		return err
	}
	if err := m.insert(ctx, "workflows", token, columns.columns()); err != nil {
		return err
	}
	if len(b.Positions) > 0 {
		if err := m.writePositions(ctx, w.reached(b.Positions)); err != nil {
			return err
		}
	}
	w.keep(runs)
	return m.deletePurged(ctx)
}

// writeFacts writes what is made of events, and then that it is there. It goes before the rows of runs: those are what
// tells which events are new when the log is read again.
func (m *Model) writeFacts(ctx context.Context, b readmodel.Batch, token string) error {
	if len(b.Events)+len(b.Outcomes) == 0 {
		return nil
	}
	if err := m.writeHistory(ctx, b.Events, token); err != nil {
		return err
	}
	outcomes := m.writer.uncounted(b.Outcomes)
	if err := m.writeErrors(ctx, outcomes, token); err != nil {
		return err
	}
	if err := m.writeSteps(ctx, outcomes, b.Positions, token); err != nil {
		return err
	}
	return m.writePositions(ctx, m.writer.counted(b.Positions))
}

// token names a batch by the part of the log it has, so that sending the same again changes nothing. A batch without one, as
// when the model is built, has no name.
func (w *writer) token(at []readmodel.Position) string {
	var parts []string
	for _, p := range at {
		if from := w.positions[p.Partition].Next; p.Next > from {
			parts = append(parts, fmt.Sprintf("%d:%d-%d", p.Partition, from, p.Next))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// inHand is what is recorded before a batch is sent.
func (w *writer) inHand(at []readmodel.Position) []progress {
	var out []progress
	for _, p := range at {
		if known := w.positions[p.Partition]; p.Next > known.Hand {
			known.Partition, known.Hand = p.Partition, p.Next
			w.positions[p.Partition] = known
			out = append(out, known)
		}
	}
	return out
}

// counted is what is recorded when what is made of events is written.
func (w *writer) counted(at []readmodel.Position) []progress {
	var out []progress
	for _, p := range at {
		if known := w.positions[p.Partition]; p.Next > known.Counted {
			known.Counted = p.Next
			w.positions[p.Partition] = known
			out = append(out, known)
		}
	}
	return out
}

// uncounted are the outcomes of events that were not counted before.
func (w *writer) uncounted(outcomes []row.Outcome) []row.Outcome {
	out := make([]row.Outcome, 0, len(outcomes))
	for i := range outcomes {
		if o := &outcomes[i]; o.Seq == 0 || o.Seq >= w.positions[o.Partition].Counted {
			out = append(out, *o)
		}
	}
	return out
}

// reached is what is recorded after it.
func (w *writer) reached(at []readmodel.Position) []progress {
	var out []progress
	for _, p := range at {
		known := w.positions[p.Partition]
		if known.Position == p {
			continue
		}
		known.Position, known.Hand, known.Counted = p, max(known.Hand, p.Next), max(known.Counted, p.Next)
		w.positions[p.Partition] = known
		out = append(out, known)
	}
	return out
}

// dirty are the partitions of which something behind the recorded position may be in the tables.
func (w *writer) dirty(at []readmodel.Position) map[events.Partition]bool {
	out := map[events.Partition]bool{}
	for _, p := range at {
		known := w.positions[p.Partition]
		out[p.Partition] = known.Hand > known.Next
	}
	return out
}

// keep remembers rows of open runs, which later batches build upon.
func (w *writer) keep(runs []stored) {
	if len(w.stored)+len(runs) > maxStored {
		clear(w.stored)
	}
	for i := range runs {
		r := &runs[i]
		if r.deleted || !r.run.Status.Open() || len(w.stored) >= maxStored {
			delete(w.stored, r.run.RunID)
			continue
		}
		w.stored[r.run.RunID] = r.key()
	}
}

// key is the row without what only the table needs.
func (s *stored) key() stored {
	return stored{rank: s.rank, deleted: s.deleted, run: row.Run{
		Namespace: s.run.Namespace, WorkflowID: s.run.WorkflowID, RunID: s.run.RunID, Started: s.run.Started,
	}}
}

// runsToWrite returns the rows of a batch that are newer than those in the table, and of deletions rows that say so.
func (m *Model) runsToWrite(ctx context.Context, b readmodel.Batch, dirty map[events.Partition]bool) ([]stored, error) {
	known := map[events.RunID]stored{}
	var ask []events.RunID
	wanted := func(id events.RunID) {
		if have, ok := m.writer.stored[id]; ok {
			known[id] = have
			return
		}
		ask = append(ask, id)
	}
	for i := range b.Rows {
		if i >= b.Begun || dirty[b.Rows[i].Partition] {
			wanted(b.Rows[i].RunID)
		}
	}
	for _, id := range b.Deletes {
		wanted(id)
	}
	if err := m.lookUp(ctx, ask, known); err != nil {
		return nil, err
	}
	place := make(map[events.RunID]int, len(b.Rows))
	out := make([]stored, 0, len(b.Rows)+len(b.Deletes))
	for i := range b.Rows {
		r := stored{run: b.Rows[i], rank: rankOf(0, b.Rows[i].Version)}
		if old, ok := known[r.run.RunID]; ok {
			lives := old.rank >> versionBits
			if old.deleted {
				lives++
			}
			if r.rank = rankOf(lives, r.run.Version); r.rank <= old.rank {
				continue
			}
		}
		place[r.run.RunID] = len(out)
		out = append(out, r)
	}
	for _, id := range b.Deletes {
		old, ok := known[id]
		if i, written := place[id]; written {
			out[i] = deletion(out[i])
		} else if ok && !old.deleted {
			out = append(out, deletion(old))
		}
	}
	return out, nil
}

// deletion is the row that hides those of a run: it has the same key and the highest rank of its life.
func deletion(of stored) stored {
	of = of.key()
	of.rank, of.deleted = of.rank|maxVersion, true
	return of
}

// idsPerQuery bounds the length of a statement.
const idsPerQuery = 2000

// inPieces asks for runs, some at a time. Run ids that are made from times are looked for near those times first, which
// prunes the table; only what is not found there is looked for everywhere. ask gets a condition and says which runs it found.
func inPieces(ids []events.RunID, ask func(where string) (found map[events.RunID]bool, err error)) error {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b events.RunID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(ids, idsPerQuery) {
		if near, ok := nearStarts(chunk); ok {
			found, err := ask("run_id IN (" + list(chunk) + ") AND " + near)
			if err != nil {
				return err
			}
			chunk = slices.DeleteFunc(chunk, func(id events.RunID) bool { return found[id] })
		}
		if len(chunk) == 0 {
			continue
		}
		if _, err := ask("run_id IN (" + list(chunk) + ")"); err != nil {
			return err
		}
	}
	return nil
}

// nearStarts is a condition on the start of runs whose ids are UUIDs of version 7, in ascending order: an hour around the
// times in them, because they are made by other clocks.
func nearStarts(ids []events.RunID) (condition string, ok bool) {
	for _, id := range ids {
		if id[6]>>4 != 7 {
			return "", false
		}
	}
	at := func(id events.RunID) events.Time {
		return events.Time(binary.BigEndian.Uint64(id[:8])>>16) * 1000
	}
	const around = time.Hour
	return "started >= " + instant(at(ids[0]).Add(-around)) + " AND started < " + instant(at(ids[len(ids)-1]).Add(around)), true
}

// lookUp adds the newest rows of runs that the table has.
func (m *Model) lookUp(ctx context.Context, ids []events.RunID, into map[events.RunID]stored) error {
	return inPieces(ids, func(where string) (map[events.RunID]bool, error) {
		rows, err := m.conn.Query(ctx, `SELECT run_id, max(rank), argMax(deleted, rank), argMax(namespace, rank), argMax(workflow_id, rank), argMax(workflows.started, rank)
			FROM workflows WHERE `+where+` GROUP BY run_id`)
		if err != nil {
			return nil, fmt.Errorf("look up runs: %w", err)
		}
		found := map[events.RunID]bool{}
		for rows.Next() {
			var id uuid.UUID
			var s stored
			var deleted uint8
			var namespace, workflow string
			var started time.Time
			if err = rows.Scan(&id, &s.rank, &deleted, &namespace, &workflow, &started); err != nil {
				break
			}
			s.deleted = deleted != 0
			s.run = row.Run{Namespace: events.Namespace(namespace), WorkflowID: events.WorkflowID(workflow), RunID: events.RunID(id), Started: events.Time(started.UnixMicro())}
			into[s.run.RunID], found[s.run.RunID] = s, true
		}
		if err := errors.Join(err, finish(rows)); err != nil {
			return nil, fmt.Errorf("look up runs: %w", err)
		}
		return found, nil
	})
}

// list makes the inside of an IN.
func list(ids []events.RunID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\'')
		b.WriteString(uuid.UUID(id).String())
		b.WriteByte('\'')
	}
	return b.String()
}

// Rows returns the stored rows of the given runs.
func (m *Model) Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	ctx, end, err := m.query(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var out []row.Run
	err = inPieces(runs, func(where string) (map[events.RunID]bool, error) {
		rows, err := m.conn.Query(ctx, "SELECT "+whole+" FROM workflows FINAL WHERE "+where)
		if err != nil {
			return nil, err
		}
		found := map[events.RunID]bool{}
		for rows.Next() {
			var r row.Run
			if r, err = scanRun(rows); err != nil {
				break
			}
			found[r.RunID] = true
			out = append(out, r)
		}
		return found, errors.Join(err, finish(rows))
	})
	if err != nil {
		return nil, fmt.Errorf("rows of the read model: %w", m.failed(err))
	}
	return out, nil
}
