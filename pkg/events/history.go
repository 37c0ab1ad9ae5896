package events

import (
	"encoding/json"
	"fmt"
)

// HistoryInfo says whose history a document is.
type HistoryInfo struct {
	Namespace  Namespace
	WorkflowID WorkflowID
	RunID      RunID
	Type       WorkflowType
	Status     Status
}

// historyFormat is written into every document. A change that older readers would misread gets a new one.
const historyFormat = "continuo.history.v1"

// MarshalHistory returns the canonical JSON form of a run's history. See [AppendHistoryJSON].
func MarshalHistory(info HistoryInfo, records []*Record) ([]byte, error) {
	return AppendHistoryJSON(nil, info, records)
}

// AppendHistoryJSON appends the canonical JSON form of a run's history, or of a stretch of it, to dst: one document, a
// line for each record and each event, members always in the same order. [UnmarshalHistory] gives back the same records,
// except for answers, which are not part of a history.
//
//   - Names are snake_case, units last. Members with zero values are left out.
//   - Kinds of events are names, as in "kind": "TaskCompleted". Numbers are JSON numbers, of up to 64 bits.
//   - Moments are RFC 3339 in UTC with microseconds; after the year 9999 they are numbers of microseconds since 1970.
//   - Durations are milliseconds, with decimals where they are not whole.
//   - A payload is {"json": …} with the value itself, {"encoding": …, "data": base64}, or {"encoding": …, "blob": key,
//     "blob_bytes": n}. JSON values come back byte for byte; those that could not are written as data.
//   - Text is UTF-8; bytes that are not become U+FFFD.
//
// It fails when a record is not of the run that info names.
func AppendHistoryJSON(dst []byte, info HistoryInfo, records []*Record) ([]byte, error) {
	c := coder{mode: writing, b: dst}
	m := c.openObject()
	info.fields(&c)
	c.key("records")
	c.b = append(c.b, '[')
	for i, r := range records {
		h := r.Header
		if h.Namespace != info.Namespace || h.WorkflowID != info.WorkflowID || h.RunID != info.RunID {
			return nil, fmt.Errorf("the record at partition %d, seq %d is of run %s of %s/%s and not of run %s of %s/%s",
				h.Partition, h.Seq, h.RunID, h.Namespace, h.WorkflowID, info.RunID, info.Namespace, info.WorkflowID)
		}
		c.line(i)
		c.writeRecord(r)
	}
	c.b = append(c.b, ']')
	m.state = msgEntered
	c.in(&m)
	c.b = append(c.b, '\n')
	return c.b, nil
}

func (i *HistoryInfo) fields(c *coder) {
	format, status := historyFormat, i.Status.String()
	text(c, 0, "format", &format)
	text(c, 0, "namespace", &i.Namespace)
	text(c, 0, "workflow_id", &i.WorkflowID)
	c.runID(0, "run_id", &i.RunID)
	text(c, 0, "type", &i.Type)
	text(c, 0, "status", &status)
	if c.mode == writing || c.err != nil {
		return
	}
	if format != historyFormat {
		c.fail(fmt.Errorf("the history has the format %.40q and this build reads %q: upgrade it to the version that wrote the history", format, historyFormat))
	}
	i.Status, _ = ParseStatus(status)
}

// line begins a list element on a line of its own.
func (c *coder) line(i int) {
	if i > 0 {
		c.b = append(c.b, ',')
	}
	c.b = append(c.b, '\n')
}

func (c *coder) writeRecord(r *Record) {
	h := r.Header
	h.Namespace, h.WorkflowID, h.RunID = "", "", RunID{} // said once, at the top
	for m := c.openObject(); c.in(&m); {
		h.fields(c)
		c.key("events")
		c.b = append(c.b, '[')
		for i, e := range r.Events {
			c.line(i)
			for m := c.openObject(); c.in(&m); {
				number, kind := uint64(r.First)+uint64(i), EventName(e)
				c.key("number")
				c.putNumber(number)
				c.key("kind")
				c.b = appendJSONText(c.b, kind)
				c.eventFields(e)
			}
		}
		c.b = append(c.b, ']')
		if u := r.Unknown.ofHistory(); u != nil {
			c.key("unknown")
			for m := c.openObject(); c.in(&m); {
				u.fields(c)
			}
		}
	}
}

// ofHistory leaves out the answers.
func (u *Unknown) ofHistory() *Unknown {
	if u == nil {
		return nil
	}
	kept := Unknown{Fields: u.Fields}
	for _, p := range u.Parts {
		if p.Field == fieldEvents {
			kept.Parts = append(kept.Parts, p)
		}
	}
	if len(kept.Fields) == 0 && len(kept.Parts) == 0 {
		return nil
	}
	return &kept
}

func (u *Unknown) fields(c *coder) {
	c.data(0, "fields", &u.Fields)
	for l := c.list(0, "events", len(u.Parts)); c.more(&l); {
		grow(&u.Parts, l.i)
		for m := c.item(&l); c.in(&m); {
			u.Parts[l.i].fields(c)
		}
	}
}

func (p *UnknownPart) fields(c *coder) {
	p.Field = fieldEvents
	index := uint64(p.Index)
	number(c, 0, "index", &index)
	p.Index = int(index)
	c.data(0, "bytes", &p.Bytes)
}

// UnmarshalHistory reads the canonical JSON form of a history. Members may be in any order and on any lines; unknown ones
// and unknown kinds are refused, since code replayed without them could go wrong in silence.
func UnmarshalHistory(b []byte) (HistoryInfo, []*Record, error) {
	c := coder{mode: parsing}
	m := c.openParsed(b)
	var info HistoryInfo
	info.fields(&c)
	var raw []json.RawMessage
	if list, ok := c.take("records"); ok {
		c.parsed("records", list, json.Unmarshal(list, &raw))
	}
	m.state = msgEntered
	c.in(&m)
	if c.err != nil {
		return HistoryInfo{}, nil, fmt.Errorf("reading a history: %w", c.err)
	}
	records := make([]*Record, 0, len(raw))
	for i, b := range raw {
		r := &Record{}
		c.parseRecord(b, r)
		if c.err != nil {
			return HistoryInfo{}, nil, fmt.Errorf("reading a history: record %d: %w", i+1, located(c.err, r.Partition, r.Seq))
		}
		r.Namespace, r.WorkflowID, r.RunID = info.Namespace, info.WorkflowID, info.RunID
		records = append(records, r)
	}
	return info, records, nil
}

func (c *coder) parseRecord(raw json.RawMessage, r *Record) {
	for m := c.openParsed(raw); c.in(&m); {
		r.Header.fields(c)
		if r.Schema > Schema {
			c.fail(&NewerSchemaError{Partition: r.Partition, Seq: r.Seq, Schema: r.Schema})
			continue
		}
		c.schema = r.Schema
		for l := c.list(0, "events", 0); c.more(&l); {
			r.Events = append(r.Events, c.parseEvent(&l, uint64(r.First)+uint64(l.i)))
		}
		um := c.open(0, "unknown", false, 0)
		if um.state != msgAbsent {
			r.Unknown = new(Unknown)
		}
		for c.in(&um) {
			r.Unknown.fields(c)
		}
	}
}

func (c *coder) parseEvent(l *list, want uint64) Event {
	m := c.item(l)
	if number := c.takeNumber("number", want); number != want {
		c.fail(fmt.Errorf("event %d stands where event %d belongs", number, want))
	}
	name := c.takeText("kind", "")
	if c.err != nil {
		return nil
	}
	e := c.readEvent(kindNamed(name), &m)
	if e == nil {
		c.fail(&UnknownKindError{What: "event", Name: name, Schema: c.schema})
	} else if c.err != nil {
		c.err = fmt.Errorf("event %d (%s): %w", want, name, c.err)
	}
	return e
}
