package events

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of records, answers and envelopes.

// Numbers of fields that are read by other means than the listing.
const (
	fieldSchema    = 1
	fieldPartition = 2
	fieldSeq       = 5
	fieldEvents    = 13
	fieldAnswers   = 14
	fieldCommand   = 8 // of an envelope
)

// Unknown keeps what a decoder met and this build does not know, written by a newer version of the same schema, so that
// encoding writes it again and nothing is lost on the way. Whoever makes a message from parts of another leaves Unknown
// nil, or it would be written for the wrong parts.
type Unknown struct {
	// Fields are the unknown fields of the message itself, in wire format.
	Fields []byte
	// Parts are the events, answers or commands that hold unknown fields at any depth. Their bytes are written as they are,
	// whatever the decoded value says.
	Parts []UnknownPart
}

// UnknownPart is one event, answer or command in its original bytes.
type UnknownPart struct {
	Field int // the part's field number in the message
	Index int // its place among those of that field, from 0
	Bytes []byte
}

// part returns the original bytes of a part, nil if it is fully known.
func (u *Unknown) part(field, index int) []byte {
	if u == nil {
		return nil
	}
	for i := range u.Parts {
		if p := &u.Parts[i]; p.Field == field && p.Index == index {
			return p.Bytes
		}
	}
	return nil
}

func (h *Header) fields(c *coder) {
	number(c, fieldSchema, "schema", &h.Schema)
	number(c, fieldPartition, "partition", &h.Partition)
	number(c, 3, "epoch", &h.Epoch)
	fixed(c, 4, "owner", &h.Owner)
	number(c, fieldSeq, "seq", &h.Seq)
	number(c, 6, "confirmed", &h.Confirmed)
	number(c, 7, "caused_by", &h.CausedBy)
	c.instant(8, "time", &h.Time)
	text(c, 9, "namespace", &h.Namespace)
	if !c.partly || !c.passed(10) {
		text(c, 10, "workflow_id", &h.WorkflowID)
	}
	c.runID(11, "run_id", &h.RunID)
	number(c, 12, "first", &h.First)
}

func (r *Record) fields(c *coder) {
	r.Header.fields(c)
	r.eventList(c)
	if !c.partly || !c.passed(fieldAnswers) {
		r.answerList(c)
	}
}

func (r *Record) eventList(c *coder) {
	for l := c.list(fieldEvents, "events", len(r.Events)); c.more(&l); {
		if c.mode == decoding {
			if l.i == 0 {
				r.Events = slices.Grow(r.Events, c.ahead())
			}
			m, p := c.beginPart()
			r.Events = append(r.Events, c.decodeEvent(&m))
			c.endPart(p, &r.Unknown, fieldEvents, l.i)
			continue
		}
		if !c.appendPart(r.Unknown, fieldEvents, l.i) {
			m := c.item(&l)
			c.appendEvent(r.Events[l.i])
			c.setLength(&m)
		}
	}
}

func (r *Record) answerList(c *coder) {
	for l := c.list(fieldAnswers, "answers", len(r.Answers)); c.more(&l); {
		if c.mode == decoding {
			if l.i == 0 {
				r.Answers = make([]Answer, 0, c.ahead())
			}
			r.Answers = append(r.Answers, Answer{})
			m, p := c.beginPart()
			for c.in(&m) {
				r.Answers[l.i].fields(c)
			}
			c.endPart(p, &r.Unknown, fieldAnswers, l.i)
			continue
		}
		if !c.appendPart(r.Unknown, fieldAnswers, l.i) {
			for m := c.item(&l); c.in(&m); {
				r.Answers[l.i].fields(c)
			}
		}
	}
}

// part is an event, answer or command being decoded.
type part struct {
	from, to int
	unknown  bool // of the parts before
}

func (c *coder) beginPart() (message, part) {
	p := part{unknown: c.unknown}
	c.unknown = false
	m := c.enter()
	p.from, p.to = c.tagAt, c.end
	return m, p
}

// endPart keeps the part's bytes if it holds anything unknown.
func (c *coder) endPart(p part, u **Unknown, field, index int) {
	if c.unknown && c.err == nil {
		if *u == nil {
			*u = new(Unknown)
		}
		(*u).Parts = append((*u).Parts, UnknownPart{Field: field, Index: index, Bytes: append([]byte(nil), c.b[p.from:p.to]...)})
	}
	c.unknown = c.unknown || p.unknown
}

// appendPart writes a part's original bytes, if there are any.
func (c *coder) appendPart(u *Unknown, field, index int) bool {
	b := u.part(field, index)
	if b == nil {
		return false
	}
	c.b = protowire.AppendTag(c.b, protowire.Number(field), protowire.BytesType)
	c.b = protowire.AppendBytes(c.b, b)
	return true
}

func (a *Answer) fields(c *coder) {
	text(c, 1, "request_id", &a.RequestID)
	fixed(c, 2, "session", &a.Session)
	number(c, 3, "n", &a.N)
	text(c, 4, "code", &a.Code)
	text(c, 5, "message", &a.Message)
	c.runID(6, "run_id", &a.RunID)
	number(c, 7, "status", &a.Status)
	number(c, 8, "ended", &a.Ended)
	c.flag(9, "duplicate", &a.Duplicate)
	c.flag(10, "started", &a.Started)
}

func (e *Envelope) fields(c *coder) {
	if c.mode == appending {
		c.schema = Schema
	}
	number(c, fieldSchema, "schema", &c.schema)
	text(c, 2, "namespace", &e.Namespace)
	text(c, 3, "workflow_id", &e.WorkflowID)
	c.runID(4, "run_id", &e.RunID)
	text(c, 5, "request_id", &e.RequestID)
	fixed(c, 6, "session", &e.Session)
	number(c, 7, "n", &e.N)
	switch {
	case c.mode == appending:
		if !c.appendPart(e.Unknown, fieldCommand, 0) && e.Command != nil {
			m := c.openAppend(fieldCommand, 0)
			c.appendCommand(e.Command)
			c.setLength(&m)
		}
	case c.is(fieldCommand, protowire.BytesType):
		if e.Command != nil {
			c.corrupt("an envelope has two commands")
			return
		}
		m, p := c.beginPart()
		e.Command = c.decodeCommand(&m)
		c.endPart(p, &e.Unknown, fieldCommand, 0)
	}
}
