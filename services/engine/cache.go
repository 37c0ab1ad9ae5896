package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// entry is a run in memory. Idle runs are kept until they are flushed, then forgotten; runs with open work stay as far as
// the bound of the cache allows.
type entry struct {
	namespace  events.Namespace
	workflowID events.WorkflowID
	id         events.RunID

	// run is nil while it is broken.
	run *machine.Run
	// idle says that nothing has looked at the run since it became idle.
	idle bool
	// group is what the present turn does to the run; nil when that is nothing.
	group *group
	// broken is set while the run is quarantined.
	broken *broken
	// seq is the newest record of the run that the entry includes.
	seq events.Seq
	// requests counts the answers kept for repeated requests to the run.
	requests uint64
	// dirty says that the stored row is older.
	dirty bool
	// home is the gateway session that wants the run's next activations, because a worker of it keeps the run in memory; 0
	// when none does, or when the entry was read from the store: then the schedulers choose, as they always may.
	home events.SessionID
	// before are runs of its workflow id that preceded it, newest first, as far as that was asked for; first says that there
	// is none before the last of them.
	before []earlier
	first  bool
}

// broken is what is known of a quarantined run.
type broken struct {
	reason string
	since  events.Time
	next   events.EventNumber
	// recorded says that the log has RunQuarantined.
	recorded bool
	parked   []events.Envelope
	dropped  uint64
}

// next returns the number that the run's next event will have.
func (e *entry) next() events.EventNumber {
	if e.broken != nil {
		return e.broken.next
	}
	return e.run.Next()
}

// Versions and kinds of a row in the run store.
const (
	rowVersion    = 1
	rowRun        = 0
	rowBroken     = 1
	rowPrefixSize = 2
	rowBytes      = 256 // more than most rows have
)

var errRow = errors.New("the row of a run is damaged")

// appendTo appends the row of the entry: what it includes, then the run or, while it is quarantined, what is known of it.
func (e *entry) appendTo(b []byte) []byte {
	kind := byte(rowRun)
	if e.broken != nil {
		kind = rowBroken
	}
	b = append(b, rowVersion, kind)
	b = binary.AppendUvarint(b, uint64(e.seq))
	b = binary.AppendUvarint(b, e.requests)
	if e.broken == nil {
		return e.run.AppendTo(b)
	}
	b = appendText(b, string(e.namespace))
	b = appendText(b, string(e.workflowID))
	b = appendText(b, e.broken.reason)
	b = binary.AppendVarint(b, int64(e.broken.since))
	return binary.AppendUvarint(b, uint64(e.broken.next))
}

// CheckRow reports why a run's row in the run store is damaged, without looking at anything else.
func CheckRow(row []byte) error {
	if len(row) > rowPrefixSize && row[1] == rowRun {
		d := fields{b: row[rowPrefixSize:]}
		d.uint()
		d.uint()
		run, err := machine.Decode(d.b)
		if machine.Outdated(d.b) {
			return nil // it is built again when it is needed
		}
		if err != nil {
			return err
		}
		_, err = decodeEntry(run.ID(), row)
		return err
	}
	_, err := decodeEntry(events.RunID{}, row)
	return err
}

// decodeEntry reads a row. The entry of a damaged row has what could be read: seq and requests, or nothing.
func decodeEntry(id events.RunID, row []byte) (*entry, error) {
	e := &entry{id: id}
	if len(row) < rowPrefixSize || row[0] != rowVersion || row[1] > rowBroken {
		return e, fmt.Errorf("%w: it does not begin like one of this version", errRow)
	}
	d := fields{b: row[rowPrefixSize:]}
	e.seq, e.requests = events.Seq(d.uint()), d.uint()
	if row[1] == rowBroken {
		e.namespace, e.workflowID = events.Namespace(d.text()), events.WorkflowID(d.text())
		e.broken = &broken{reason: d.text(), since: events.Time(d.int()), recorded: true}
		e.broken.next = events.EventNumber(d.uint())
		if d.short {
			return &entry{id: id}, fmt.Errorf("%w: it ends too early", errRow)
		}
		return e, nil
	}
	if d.short {
		return &entry{id: id}, fmt.Errorf("%w: it ends too early", errRow)
	}
	run, err := machine.Decode(d.b)
	if err != nil {
		return e, err
	}
	if run.ID() != id {
		return e, fmt.Errorf("%w: it is that of run %s", errRow, run.ID())
	}
	e.run, e.namespace, e.workflowID = run, run.Namespace(), run.WorkflowID()
	return e, nil
}

// settle lets an idle run leave memory as soon as the run store has it.
func (e *entry) settle() { e.idle = e.run != nil && e.run.Idle() }

// load returns the entry of a run with its state decoded, nil if the run is not known. A run whose row is damaged is built
// again from its history; one that cannot be is returned as broken.
func (p *partition) load(ctx context.Context, id events.RunID) (*entry, error) {
	if e := p.runs[id]; e != nil {
		e.idle = false
		return e, nil
	}
	if p.stored.lacks(id) {
		return nil, nil
	}
	row, err := p.deps.Runs.Run(ctx, p.id, id)
	if err != nil || row == nil {
		return nil, err
	}
	e, err := decodeEntry(id, row)
	if err != nil {
		if err := p.repair(ctx, e, err); err != nil {
			return nil, err
		}
	}
	p.runs[id] = e
	return e, nil
}

// evict forgets entries that the run store has, until the cache is within its bound: idle ones first, then those that have
// changed least lately. An entry has its home with it, so which ones are forgotten is seen in later records and must not
// depend on chance.
func (p *partition) evict() {
	for id, e := range p.runs {
		if !e.dirty && (e.idle || e.broken != nil && len(e.broken.parked) == 0) {
			delete(p.runs, id)
		}
	}
	over := len(p.runs) - p.options.CachedRuns
	if over <= 0 {
		return
	}
	var clean []*entry
	for _, e := range p.runs {
		if !e.dirty && e.broken == nil {
			clean = append(clean, e)
		}
	}
	slices.SortFunc(clean, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.seq, b.seq), bytes.Compare(a.id[:], b.id[:])) })
	for _, e := range clean[:min(over, len(clean))] {
		delete(p.runs, e.id)
	}
}

// fields reads values off b; short is set when b ends too early.
type fields struct {
	b     []byte
	short bool
}

func (d *fields) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	return v * uint64(d.advance(n))
}

func (d *fields) int() int64 {
	v, n := binary.Varint(d.b)
	return v * int64(d.advance(n))
}

// advance takes n bytes off and returns 1, or notes that there are none and returns 0.
func (d *fields) advance(n int) int {
	if n <= 0 || d.short {
		d.short, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return 1
}

func (d *fields) text() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.short, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
