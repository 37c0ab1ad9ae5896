package engine

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// group is what a turn does to one run: it becomes one record, or several when one would be too large.
type group struct {
	workflow workflowKey
	run      events.RunID
	entry    *entry // nil when the answers are about no run that is known
	first    events.EventNumber
	events   []events.Event
	size     int // of the events in a record
	answers  []events.Answer
	kept     bool // an answer among them is kept with the run
	body     *body
}

// body is the first record of a group with what most records have, as one object.
type body struct {
	record  events.Record
	events  [3]events.Event
	answers [1]events.Answer
	list    [1]*events.Record // of a turn that has no other group
}

// take adds events whose size in a record is known. There is room left for the activation that mostly follows.
func (g *group) take(evs []events.Event, size int) {
	switch {
	case g.events != nil || len(evs) == 0:
	case len(evs) < len(g.body.events):
		g.events = g.body.events[:0]
	default:
		g.events = make([]events.Event, 0, len(evs)+1)
	}
	g.events = append(g.events, evs...)
	g.size += size
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
	if e.group == nil {
		e.group = p.group(workflowKey{e.namespace, e.workflowID}, e.id)
		e.group.entry, e.group.first = e, e.next()
	}
	return e.group
}

// groupOfNone returns the group for answers about no run that is known.
func (p *partition) groupOfNone(env events.Envelope) *group {
	key := workflowKey{env.Namespace, env.WorkflowID}
	g := p.ofNone[key]
	if g == nil {
		g = p.group(key, events.RunID{})
		p.ofNone[key] = g
	}
	return g
}

// group begins a group.
func (p *partition) group(of workflowKey, run events.RunID) *group {
	var g *group
	if last := len(p.spare) - 1; last >= 0 {
		g, p.spare = p.spare[last], p.spare[:last]
	} else {
		g = new(group)
	}
	g.workflow, g.run, g.first, g.body = of, run, 1, new(body)
	g.answers = g.body.answers[:0]
	p.groups = append(p.groups, g)
	return g
}

func (g *group) answer(env events.Envelope, c events.Code, message string) events.Answer {
	return events.Answer{
		RequestID: env.RequestID, Session: env.Session, N: env.N, Code: c, Message: message, RunID: g.run,
	}
}

// record makes a record of the group without its sequence number and without content.
func (p *partition) record(r *events.Record, g *group, first events.EventNumber) *events.Record {
	r.Header = events.Header{
		Partition: p.id, Epoch: p.epoch, Owner: p.owner, Time: p.time, Schema: events.Schema,
		Namespace: g.workflow.namespace, WorkflowID: g.workflow.id, RunID: g.run, First: first,
	}
	return r
}

// split appends the records of a group, without their sequence numbers. Events that do not fit into one record go on in
// the next; all are committed together.
func (p *partition) split(records []*events.Record, g *group) []*events.Record {
	size := g.size
	for i := range g.answers {
		size += answerSize(&g.answers[i])
	}
	switch {
	case len(g.events) == 0 && len(g.answers) == 0:
		return records
	case size <= maxRecordBody:
		r := p.record(&g.body.record, g, g.first)
		r.Events = g.events
		if len(g.answers) > 0 {
			r.Answers = g.answers
		}
		return append(records, r)
	}
	r := p.record(&g.body.record, g, g.first)
	records = append(records, r)
	room, next := maxRecordBody, g.first
	fit := func(n int) {
		if n > room {
			r, room = p.record(new(events.Record), g, next), maxRecordBody
			records = append(records, r)
		}
		room -= n
	}
	for _, e := range g.events {
		fit(p.bytes(e))
		next++
		r.Events = append(r.Events, e)
	}
	for i := range g.answers {
		fit(answerSize(&g.answers[i]))
		r.Answers = append(r.Answers, g.answers[i])
	}
	return records
}

func answerSize(a *events.Answer) int { return answerBytes + len(a.Message) + len(a.RequestID) }

// bytes returns what an event takes in a record.
func (p *partition) bytes(e events.Event) int {
	p.size = events.AppendEvent(p.size[:0], e)
	return len(p.size) + eventOverhead
}

// measure returns what events take in a record. If one of them fits into no record, tooLarge says which.
func (p *partition) measure(evs []events.Event) (size int, tooLarge string) {
	for _, e := range evs {
		n := p.bytes(e)
		if n > maxRecordBody && tooLarge == "" {
			tooLarge = fmt.Sprintf("%T has %d bytes; a record takes %d: keep large values elsewhere and pass a reference", e, n, maxRecordBody)
		}
		size += n
	}
	return size, tooLarge
}

// add adds events to a group.
func (p *partition) add(g *group, evs ...events.Event) {
	size, _ := p.measure(evs)
	g.take(evs, size)
}
