package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A flush comes after so many records or so much time, whichever is first. The partition's commands wait for it, about 10 ms.
const (
	flushRecords = 2_500
	flushEvery   = 10 * time.Second
	// flushAnswers bounds the answers that wait for a flush.
	flushAnswers = 20_000
)

// stateVersion is the first byte of a checkpoint's state.
const stateVersion = 1

// flushDue reports whether rows are to be written.
func (p *partition) flushDue() bool {
	switch {
	case p.unflushed == 0:
		return false
	case len(p.quarantines) > 0:
		return true // the list of quarantined runs is asked for by people
	}
	return p.unflushed >= flushRecords || len(p.answers) >= flushAnswers || p.time.Sub(p.flushed) >= p.options.FlushEvery
}

// flush writes all rows that the store does not have, and with them the checkpoint that says so: recovery begins at the
// record after the newest one. Everything up to that record is durable before. The log is trimmed to the checkpoint before
// this one, which a later commit has made durable too.
func (p *partition) flush(ctx context.Context) error {
	p.forgetIdleSessions()
	c := runstore.Changes{PutEnded: p.ended}
	dirty := p.sortedRuns(func(e *entry) bool { return e.dirty && (!e.idle || !mutant.On(mutant.CheckpointForgetsIdleRuns)) })
	c.PutRuns = make([]runstore.RunRow, 0, len(dirty))
	rows := make([]byte, 0, rowBytes*len(dirty))
	for _, e := range dirty {
		from := len(rows)
		rows = e.appendTo(rows)
		c.PutRuns = append(c.PutRuns, runstore.RunRow{RunID: e.id, Row: rows[from:len(rows):len(rows)]})
		p.stored.wrote(e.id)
	}
	c.Checkpoint = &runstore.Checkpoint{Next: p.seq + 1, State: p.state()}
	if mutant.On(mutant.CheckpointAhead) {
		c.Checkpoint.Next++
	}
	c.PutNewest = make([]runstore.NewestRow, 0, len(p.newest))
	for key, newest := range p.newest {
		c.PutNewest = append(c.PutNewest, runstore.NewestRow{Namespace: key.namespace, WorkflowID: key.id, Newest: newest})
	}
	c.PutAnswers = make([]runstore.AnswerRow, 0, len(p.answers))
	for _, a := range p.sortedAnswers() {
		row := runstore.AnswerRow{RunID: a.run, Request: a.request}
		if a.kept == nil {
			c.DeleteAnswers = append(c.DeleteAnswers, row)
		} else {
			row.KeptAnswer = *a.kept
			c.PutAnswers = append(c.PutAnswers, row)
		}
	}
	for id, q := range p.quarantines {
		if q == nil {
			c.DeleteQuarantined = append(c.DeleteQuarantined, id)
		} else {
			c.PutQuarantined = append(c.PutQuarantined, *q)
		}
	}
	sortChanges(&c)
	if err := p.deps.Runs.Write(ctx, p.id, c); err != nil {
		return fmt.Errorf("writing rows of partition %d: %w", p.id, err)
	}
	for _, e := range dirty {
		e.dirty = false
	}
	clear(p.newest)
	clear(p.answers)
	clear(p.quarantines)
	p.ended = nil
	p.unflushed, p.flushed = 0, p.time
	p.evict()
	before := p.checkpoint
	p.checkpoint = p.seq + 1
	held, err := p.heldByAll()
	if err != nil || !held {
		return err
	}
	if err := p.deps.Log.Trim(p.id, before); err != nil {
		return fmt.Errorf("trimming partition %d: %w", p.id, err)
	}
	return nil
}

// heldByAll reports whether every reader that must hold the partition does.
func (p *partition) heldByAll() (bool, error) {
	for _, reader := range p.options.Readers {
		at, err := p.deps.Log.Holds(reader)
		if err != nil {
			return false, fmt.Errorf("the hold of %s: %w", reader, err)
		}
		if !slices.ContainsFunc(at, func(at journal.Position) bool { return at.Partition == p.id }) {
			return false, nil
		}
	}
	return true, nil
}

// answerChange is an answer that the run store does not have yet; kept is nil when it is to be deleted.
type answerChange struct {
	requestKey
	kept *runstore.KeptAnswer
}

// sortedAnswers returns the changes of answers in the order of their keys. They are sorted before they are rows, which are large.
func (p *partition) sortedAnswers() []answerChange {
	changes := make([]answerChange, 0, len(p.answers))
	for key, kept := range p.answers {
		changes = append(changes, answerChange{key, kept})
	}
	slices.SortFunc(changes, func(a, b answerChange) int {
		if a.run != b.run {
			return cmp.Compare(string(a.run[:]), string(b.run[:]))
		}
		return cmp.Compare(a.request, b.request)
	})
	return changes
}

// sortChanges orders the other rows, so that what is written does not depend on chance.
func sortChanges(c *runstore.Changes) {
	slices.SortFunc(c.PutNewest, func(a, b runstore.NewestRow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.WorkflowID, b.WorkflowID))
	})
	slices.SortFunc(c.PutQuarantined, func(a, b runstore.QuarantinedRun) int { return cmp.Compare(string(a.RunID[:]), string(b.RunID[:])) })
	slices.SortFunc(c.DeleteQuarantined, func(a, b events.RunID) int { return cmp.Compare(string(a[:]), string(b[:])) })
}

// state encodes what the checkpoint keeps beside the rows: the name of the log, its time, the sessions and up to where rows are
// stored.
func (p *partition) state() []byte {
	b := []byte{stateVersion}
	b = appendText(b, p.cluster)
	b = binary.AppendUvarint(b, uint64(p.deps.Log.Partitions()))
	b = binary.AppendVarint(b, int64(p.time))
	b = binary.AppendVarint(b, int64(p.swept))
	ids := make([]events.SessionID, 0, len(p.sessions))
	for id := range p.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
		s := p.sessions[id]
		b = binary.AppendUvarint(b, s.n)
		b = binary.AppendVarint(b, int64(s.last))
		gaps := s.gaps[max(0, len(s.gaps)-keptGaps):]
		b = binary.AppendUvarint(b, uint64(len(gaps)))
		for _, g := range gaps {
			b = binary.AppendUvarint(b, g.from)
			b = binary.AppendUvarint(b, g.to-g.from)
		}
	}
	return p.stored.appendTo(b)
}

func errPartitions(made uint64, now int) error {
	return fmt.Errorf("the log was made with %d partitions and is opened with %d; the number is fixed at its creation", made, now)
}

// restore takes over the state of a checkpoint; none is the state of an empty log.
func (p *partition) restore(state []byte) error {
	if len(state) == 0 {
		p.stored.known = true
		return nil
	}
	if state[0] != stateVersion {
		return fmt.Errorf("its state has version %d, this build reads %d: upgrade", state[0], stateVersion)
	}
	d := fields{b: state[1:]}
	p.cluster = d.text()
	if n := d.uint(); !d.short && n != uint64(p.deps.Log.Partitions()) {
		return errPartitions(n, p.deps.Log.Partitions())
	}
	p.time, p.swept = events.Time(d.int()), events.Time(d.int())
	p.flushed = p.time
	for range d.uint() {
		id := events.SessionID(d.uint())
		s := &session{n: d.uint(), last: events.Time(d.int())}
		for range min(d.uint(), keptGaps) {
			from := d.uint()
			s.gaps = append(s.gaps, gap{from, from + d.uint()})
		}
		if d.short {
			break
		}
		p.sessions[id] = s
	}
	if d.short {
		return errors.New("its state is damaged")
	}
	p.stored.restore(d.b)
	return nil
}
