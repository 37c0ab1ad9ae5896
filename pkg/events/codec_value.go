package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The values inside events, commands and intents.

func (p *Payload) isAbsent() bool {
	return p.Encoding == "" && len(p.Data) == 0 && p.Blob == "" && p.BlobBytes == 0
}

func (p *Payload) fields(c *coder) {
	if c.mode == writing || c.mode == parsing {
		p.jsonFields(c)
		return
	}
	text(c, 1, "encoding", &p.Encoding)
	c.data(2, "data", &p.Data)
	text(c, 3, "blob", &p.Blob)
	c.blobBytes(&p.BlobBytes)
}

func (c *coder) blobBytes(p *int64) {
	size := uint64(*p)
	number(c, 4, "blob_bytes", &size)
	if c.mode == decoding || c.mode == parsing { // what is encoded may be shared and is only read
		*p = int64(size)
	}
}

// jsonFields inlines JSON as it is; everything else is base64.
func (p *Payload) jsonFields(c *coder) {
	var inline json.RawMessage
	if c.mode == writing && p.inlines() {
		c.key("json")
		c.b = append(c.b, p.Data...)
		return
	}
	if c.mode == parsing {
		if raw, ok := c.obj["json"]; ok {
			inline = raw
			delete(c.obj, "json")
			p.Encoding, p.Data = EncodingJSON, slices.Clone(inline)
		}
	}
	text(c, 1, "encoding", &p.Encoding)
	if inline == nil {
		c.data(2, "data", &p.Data)
	}
	text(c, 3, "blob", &p.Blob)
	c.blobBytes(&p.BlobBytes)
}

// inlines reports whether the payload is JSON that comes back byte for byte when it is written into other JSON.
func (p *Payload) inlines() bool {
	return p.Encoding == EncodingJSON && p.Blob == "" && p.BlobBytes == 0 && len(p.Data) > 0 &&
		len(bytes.TrimSpace(p.Data)) == len(p.Data) && utf8.Valid(p.Data) && json.Valid(p.Data)
}

// data is a field of bytes. Empty and nil are the same; reading gives nil.
func (c *coder) data(num protowire.Number, name string, p *[]byte) {
	switch c.mode {
	case appending:
		if len(*p) > 0 {
			c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
			c.b = protowire.AppendBytes(c.b, *p)
		}
	case decoding:
		if c.is(num, protowire.BytesType) {
			b := c.bytes()
			*p = nil
			if len(b) > 0 {
				*p = append(make([]byte, 0, len(b)), b...)
			}
		}
	case writing:
		if len(*p) > 0 {
			c.key(name)
			c.b = append(c.b, '"')
			c.b = base64.StdEncoding.AppendEncode(c.b, *p)
			c.b = append(c.b, '"')
		}
	case parsing:
		if s := c.takeText(name, ""); s != "" {
			b, err := base64.StdEncoding.DecodeString(s)
			c.parsed(name, nil, err)
			*p = b
		}
	}
}

func (c *coder) payload(num protowire.Number, name string, p *Payload) {
	size := len(p.Encoding) + len(p.Data) + len(p.Blob)
	if len(p.Data) > 0 {
		size += 4 + protowire.SizeVarint(uint64(len(p.Data)))
	}
	for m := c.open(num, name, !p.isAbsent(), size); c.in(&m); {
		p.fields(c)
	}
}

func (f *Failure) isAbsent() bool {
	return f.Code == "" && f.Message == "" && f.Type == "" && !f.NonRetryable && f.Cause == nil && f.Details.isAbsent()
}

func (f *Failure) fields(c *coder) {
	text(c, 1, "code", &f.Code)
	text(c, 2, "message", &f.Message)
	text(c, 3, "type", &f.Type)
	c.flag(4, "non_retryable", &f.NonRetryable)
	c.payload(5, "details", &f.Details)
	c.causes++
	c.cause(6, "cause", &f.Cause)
	c.causes--
}

func (c *coder) cause(num protowire.Number, name string, p **Failure) {
	m := c.open(num, name, *p != nil && c.causes < maxCauses, 0)
	if m.state == msgAbsent {
		return
	}
	if c.causes >= maxCauses {
		c.corrupt("a failure has causes more than %d deep", maxCauses)
		return
	}
	if *p == nil {
		*p = new(Failure)
	}
	for c.in(&m) {
		(*p).fields(c)
	}
}

func (c *coder) failure(num protowire.Number, name string, f *Failure) {
	for m := c.open(num, name, !f.isAbsent(), 0); c.in(&m); {
		f.fields(c)
	}
}

// optionalFailure is a failure that may be absent, which is not the same as empty.
func (c *coder) optionalFailure(num protowire.Number, name string, p **Failure) {
	c.cause(num, name, p)
}

func (p *RetryPolicy) isAbsent() bool {
	return p.Initial == 0 && p.Factor == 0 && p.Max == 0 && p.MaxAttempts == 0 && len(p.NonRetryable) == 0
}

func (p *RetryPolicy) fields(c *coder) {
	c.span(1, "initial", &p.Initial)
	c.double(2, "factor", &p.Factor)
	c.span(3, "max", &p.Max)
	number(c, 4, "max_attempts", &p.MaxAttempts)
	c.texts(5, "non_retryable", &p.NonRetryable)
}

// texts is a list of strings. Empty and nil are the same; reading gives nil.
func (c *coder) texts(num protowire.Number, name string, p *[]string) {
	switch c.mode {
	case appending:
		for _, s := range *p {
			c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
			c.b = protowire.AppendString(c.b, s)
		}
	case decoding:
		for c.is(num, protowire.BytesType) {
			if len(*p) == maxListed {
				c.corrupt("%s has more than %d elements", name, maxListed)
				return
			}
			*p = append(*p, textOf(c.bytes()))
		}
	case writing:
		if len(*p) == 0 {
			return
		}
		c.key(name)
		for i, s := range *p {
			c.b = append(c.b, "[,"[min(i, 1)])
			c.b = appendJSONText(c.b, s)
		}
		c.b = append(c.b, ']')
	case parsing:
		if raw, ok := c.take(name); ok {
			var elements []string
			c.parsed(name, raw, json.Unmarshal(raw, &elements))
			*p = elements
		}
	}
}

func (o *TaskOptions) isAbsent() bool {
	return o.Retry.isAbsent() && o.StartToClose == 0 && o.Heartbeat == 0 && o.ScheduleToStart == 0 && o.ScheduleToClose == 0
}

func (o *TaskOptions) fields(c *coder) {
	for m := c.open(1, "retry", !o.Retry.isAbsent(), 0); c.in(&m); {
		o.Retry.fields(c)
	}
	c.span(2, "start_to_close", &o.StartToClose)
	c.span(3, "heartbeat", &o.Heartbeat)
	c.span(4, "schedule_to_start", &o.ScheduleToStart)
	c.span(5, "schedule_to_close", &o.ScheduleToClose)
}

func (c *coder) taskOptions(num protowire.Number, name string, o *TaskOptions) {
	for m := c.open(num, name, !o.isAbsent(), 0); c.in(&m); {
		o.fields(c)
	}
}

func (t *TimerID) fields(c *coder) {
	number(c, 1, "kind", &t.Kind)
	number(c, 2, "step", &t.Step)
	number(c, 3, "attempt", &t.Attempt)
}

func (r *SignalRead) fields(c *coder) {
	text(c, 1, "name", &r.Name)
	number(c, 2, "count", &r.Count)
}

func (c *coder) signalReads(num protowire.Number, name string, p *[]SignalRead) {
	for l := c.list(num, name, len(*p)); c.more(&l); {
		grow(p, l.i)
		for m := c.item(&l); c.in(&m); {
			(*p)[l.i].fields(c)
		}
	}
}

// grow makes (*s)[i] exist. It writes only if it does not: what is encoded may be shared and is only read.
func grow[T any](s *[]T, i int) {
	if i == len(*s) {
		var zero T
		*s = append(*s, zero)
	}
}

func (w *WaitSet) fields(c *coder) {
	c.flag(1, "now", &w.Now)
	for l := c.list(2, "any", len(w.Any)); c.more(&l); {
		grow(&w.Any, l.i)
		for m := c.item(&l); c.in(&m); {
			w.Any[l.i].fields(c)
		}
	}
}

func (c *coder) waitSet(num protowire.Number, name string, w *WaitSet) {
	for m := c.open(num, name, w.Now || len(w.Any) > 0, 0); c.in(&m); {
		w.fields(c)
	}
}

func (g *WaitGroup) fields(c *coder) {
	c.steps(1, "steps", &g.Steps)
	for l := c.list(2, "signals", len(g.Signals)); c.more(&l); {
		grow(&g.Signals, l.i)
		for m := c.item(&l); c.in(&m); {
			g.Signals[l.i].fields(c)
		}
	}
}

func (w *SignalWait) fields(c *coder) {
	text(c, 1, "name", &w.Name)
	number(c, 2, "index", &w.Index)
}

// steps is a packed list of numbers; one that is not packed is read too.
func (c *coder) steps(num protowire.Number, name string, p *[]Step) {
	switch c.mode {
	case appending:
		if len(*p) == 0 {
			return
		}
		size := 0
		for _, s := range *p {
			size += protowire.SizeVarint(uint64(s))
		}
		c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
		c.b = protowire.AppendVarint(c.b, uint64(size))
		for _, s := range *p {
			c.b = protowire.AppendVarint(c.b, uint64(s))
		}
	case decoding:
		c.decodeSteps(num, name, p)
	case writing:
		if len(*p) == 0 {
			return
		}
		c.key(name)
		for i, s := range *p {
			c.b = append(c.b, "[,"[min(i, 1)])
			c.putNumber(uint64(s))
		}
		c.b = append(c.b, ']')
	case parsing:
		if raw, ok := c.take(name); ok {
			var elements []Step
			c.parsed(name, raw, json.Unmarshal(raw, &elements))
			*p = elements
		}
	}
}

func (c *coder) decodeSteps(num protowire.Number, name string, p *[]Step) {
	for c.err == nil && c.num == num {
		if c.typ == protowire.VarintType {
			*p = append(*p, Step(c.value()))
			continue
		}
		if !c.is(num, protowire.BytesType) {
			return
		}
		for b := c.bytes(); len(b) > 0 && c.err == nil; {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				c.corrupt("%s: %v", name, protowire.ParseError(n))
				return
			}
			*p, b = append(*p, Step(v)), b[n:]
			if len(*p) > maxListed {
				c.corrupt("%s has more than %d elements", name, maxListed)
			}
		}
	}
}
