package engine

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// group is what a turn does to one run: it becomes one record, or several when one would be too large.
type group struct {
	key     groupKey
	entry   *entry // nil when the answers are about no run that is known
	first   events.EventNumber
	events  []events.Event
	answers []events.Answer
}

type groupKey struct {
	namespace events.Namespace
	workflow  events.WorkflowID
	run       events.RunID
}

// recordReserve is the room for a record's header, and answerBytes for each answer beside its texts.
const (
	recordReserve = 2 << 10
	answerBytes   = 128
	eventOverhead = 16
)

// maxRecordBody is how many bytes of events and answers one record may have.
const maxRecordBody = events.MaxRecordBytes - recordReserve

// groupOf returns the group of a run, at the end of the turn's records if it is new. What was done to the run in this
// turn is in the group already: it is asked for before the run changes.
func (p *partition) groupOf(e *entry) *group {
	g := p.group(groupKey{e.namespace, e.workflowID, e.id})
	if g.entry == nil {
		g.entry, g.first = e, e.next()
	}
	return g
}

// groupOfNone returns the group for answers about no run that is known.
func (p *partition) groupOfNone(env events.Envelope) *group {
	return p.group(groupKey{namespace: env.Namespace, workflow: env.WorkflowID})
}

func (p *partition) group(key groupKey) *group {
	g := p.byRun[key]
	if g == nil {
		g = &group{key: key, first: 1}
		p.byRun[key] = g
		p.groups = append(p.groups, g)
	}
	return g
}

func (g *group) answer(env events.Envelope, c events.Code, message string) events.Answer {
	return events.Answer{
		RequestID: env.RequestID, Session: env.Session, N: env.N, Code: c, Message: message, RunID: g.key.run,
	}
}

// split returns the records of a group without their sequence numbers. Events that do not fit into one record go on in
// the next; all are committed together.
func (p *partition) split(g *group) []*events.Record {
	var records []*events.Record
	var r *events.Record
	room, next := 0, g.first
	open := func() {
		r = &events.Record{Header: events.Header{
			Partition: p.id, Epoch: p.epoch, Owner: p.owner, Time: p.time, Schema: events.Schema,
			Namespace: g.key.namespace, WorkflowID: g.key.workflow, RunID: g.key.run, First: next,
		}}
		records, room = append(records, r), maxRecordBody
	}
	open()
	for _, e := range g.events {
		n := p.bytes(e)
		if n > room {
			open()
		}
		room -= n
		next++
		r.Events = append(r.Events, e)
	}
	for _, a := range g.answers {
		n := answerBytes + len(a.Message) + len(a.RequestID)
		if n > room {
			open()
		}
		room -= n
		r.Answers = append(r.Answers, a)
	}
	if len(r.Events) == 0 && len(r.Answers) == 0 {
		return records[:len(records)-1]
	}
	return records
}

// bytes returns what an event takes in a record.
func (p *partition) bytes(e events.Event) int {
	p.size = events.AppendEvent(p.size[:0], e)
	return len(p.size) + eventOverhead
}

// tooLarge says which of the events fits into no record; "" means all do.
func (p *partition) tooLarge(evs []events.Event) string {
	for _, e := range evs {
		if n := p.bytes(e); n > maxRecordBody {
			return fmt.Sprintf("%T has %d bytes; a record takes %d: keep large values elsewhere and pass a reference", e, n, maxRecordBody)
		}
	}
	return ""
}
