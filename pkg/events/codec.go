package events

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// The codec writes protobuf wire format as published in proto/continuo/events/v1/events.proto.
//
// Encoding is canonical: fields in ascending order, zero values left out, lengths minimal, so that equal values have
// equal bytes. Empty and nil lists and bytes are the same; decoding gives nil. Causes of failures are written up to 16
// deep.
//
// Decoding copies: nothing decoded aliases the input, which may be reused at once. It takes fields in any order, keeps
// unknown fields of records and envelopes in their Unknown, refuses unknown kinds with [UnknownKindError], newer schemas
// with [NewerSchemaError] before it looks at anything else, and everything malformed with [CorruptError]. It never
// panics, and allocates at most a small multiple of the input.

// MaxDecodeBytes is the longest message that is decoded; whatever is longer was never written by this suite.
const MaxDecodeBytes = 8 << 20

// AppendRecord appends the encoded record to dst. It panics if an event is nil.
func AppendRecord(dst []byte, r *Record) []byte {
	c := coder{b: dst}
	r.fields(&c)
	if r.Unknown != nil {
		c.b = append(c.b, r.Unknown.Fields...)
	}
	return c.b
}

// DecodeRecord reads an encoded record. The record does not alias b.
func DecodeRecord(b []byte) (*Record, error) {
	r := new(Record)
	if err := decodeRecord(r, b, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// decodeRecord reads a record into r, which is zero; with wanted, what [DecodeFrameOnly] reads of it.
func decodeRecord(r *Record, b []byte, wanted *EventSet) error {
	schema, err := schemaOf(b)
	if err != nil {
		return err
	}
	c := decoder(b)
	c.schema = schema
	if wanted != nil {
		c.partly, c.unwanted = true, allEvents&^*wanted
	}
	for m := c.root(); c.in(&m); {
		r.fields(&c)
	}
	if r.Schema > Schema { // it stood behind other fields, where no encoder puts it
		return &NewerSchemaError{Partition: r.Partition, Seq: r.Seq, Schema: r.Schema}
	}
	if c.err != nil {
		return located(c.err, r.Partition, r.Seq)
	}
	r.Unknown = keep(r.Unknown, c.kept)
	return nil
}

// AppendEnvelope appends the encoded envelope to dst, with the schema of this build.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	c := coder{b: dst}
	e.fields(&c)
	if e.Unknown != nil {
		c.b = append(c.b, e.Unknown.Fields...)
	}
	return c.b
}

// DecodeEnvelope reads an encoded envelope, which must have a command. The envelope does not alias b.
func DecodeEnvelope(b []byte) (Envelope, error) {
	if schema := peek(b, fieldSchema); schema > uint64(Schema) {
		return Envelope{}, &NewerSchemaError{Schema: uint32(min(schema, 1<<32-1))}
	}
	c := decoder(b)
	var e Envelope
	for m := c.root(); c.in(&m); {
		e.fields(&c)
	}
	if c.schema > Schema {
		return Envelope{}, &NewerSchemaError{Schema: c.schema}
	}
	if c.err == nil && e.Command == nil {
		c.corrupt("an envelope has no command")
	}
	if c.err != nil {
		return Envelope{}, c.err
	}
	e.Unknown = keep(e.Unknown, c.kept)
	return e, nil
}

// AppendEvent appends e, encoded as an Event message, to dst. It panics if e is nil.
func AppendEvent(dst []byte, e Event) []byte {
	c := coder{b: dst}
	c.appendEvent(e)
	return c.b
}

// DecodeEvent reads an Event message. Unknown fields are dropped; only records keep them.
func DecodeEvent(b []byte) (Event, error) {
	c := decoder(b)
	m := c.root()
	e := c.decodeEvent(&m)
	if c.err != nil {
		return nil, c.err
	}
	return e, nil
}

// AppendCommand appends v, encoded as a Command message, to dst. It panics if v is nil.
func AppendCommand(dst []byte, v Command) []byte {
	c := coder{b: dst}
	c.appendCommand(v)
	return c.b
}

// DecodeCommand reads a Command message. Unknown fields are dropped; only envelopes keep them.
func DecodeCommand(b []byte) (Command, error) {
	c := decoder(b)
	m := c.root()
	v := c.decodeCommand(&m)
	if c.err != nil {
		return nil, c.err
	}
	return v, nil
}

// AppendReportProgress appends the progress, encoded as a ReportProgress message without a Command around it, to dst.
func AppendReportProgress(dst []byte, p *ReportProgress) []byte {
	c := coder{b: dst}
	p.fields(&c)
	return c.b
}

// DecodeReportProgress reads a ReportProgress message. Unknown fields are dropped.
func DecodeReportProgress(b []byte) (ReportProgress, error) {
	c := decoder(b)
	var p ReportProgress
	for m := c.root(); c.in(&m); {
		p.fields(&c)
	}
	return p, c.err
}

// AppendIntent appends v, encoded as an Intent message, to dst. It panics if v is nil.
func AppendIntent(dst []byte, v Intent) []byte {
	c := coder{b: dst}
	c.appendIntent(v)
	return c.b
}

// DecodeIntent reads an Intent message. Unknown fields are dropped.
func DecodeIntent(b []byte) (Intent, error) {
	c := decoder(b)
	m := c.root()
	v := c.decodeIntent(&m)
	if c.err != nil {
		return nil, c.err
	}
	return v, nil
}

// AppendAnswer appends the encoded answer to dst.
func AppendAnswer(dst []byte, a *Answer) []byte {
	c := coder{b: dst}
	a.fields(&c)
	return c.b
}

// DecodeAnswer reads an encoded answer. Unknown fields are dropped; only records keep them.
func DecodeAnswer(b []byte) (Answer, error) {
	c := decoder(b)
	var a Answer
	for m := c.root(); c.in(&m); {
		a.fields(&c)
	}
	return a, c.err
}

// AppendPayload appends the encoded payload to dst; the zero payload is empty.
func AppendPayload(dst []byte, p *Payload) []byte {
	c := coder{b: dst}
	p.fields(&c)
	return c.b
}

// DecodePayload reads an encoded payload. Unknown fields are dropped.
func DecodePayload(b []byte) (Payload, error) {
	c := decoder(b)
	var p Payload
	for m := c.root(); c.in(&m); {
		p.fields(&c)
	}
	return p, c.err
}

// AppendFailure appends the encoded failure to dst.
func AppendFailure(dst []byte, f *Failure) []byte {
	c := coder{b: dst}
	f.fields(&c)
	return c.b
}

// DecodeFailure reads an encoded failure. Unknown fields are dropped.
func DecodeFailure(b []byte) (*Failure, error) {
	c := decoder(b)
	f := new(Failure)
	for m := c.root(); c.in(&m); {
		f.fields(&c)
	}
	if c.err != nil {
		return nil, c.err
	}
	return f, nil
}

// AppendTaskOptions appends the encoded options to dst.
func AppendTaskOptions(dst []byte, o *TaskOptions) []byte {
	c := coder{b: dst}
	o.fields(&c)
	return c.b
}

// DecodeTaskOptions reads encoded options. Unknown fields are dropped.
func DecodeTaskOptions(b []byte) (TaskOptions, error) {
	c := decoder(b)
	var o TaskOptions
	for m := c.root(); c.in(&m); {
		o.fields(&c)
	}
	return o, c.err
}

// AppendWaitSet appends the encoded wait set to dst.
func AppendWaitSet(dst []byte, w *WaitSet) []byte {
	c := coder{b: dst}
	w.fields(&c)
	return c.b
}

// DecodeWaitSet reads an encoded wait set. Unknown fields are dropped.
func DecodeWaitSet(b []byte) (WaitSet, error) {
	c := decoder(b)
	var w WaitSet
	for m := c.root(); c.in(&m); {
		w.fields(&c)
	}
	return w, c.err
}

func decoder(b []byte) coder {
	c := coder{mode: decoding, b: b, end: len(b)}
	if len(b) > MaxDecodeBytes {
		c.corrupt("the message has %d bytes; the limit is %d", len(b), MaxDecodeBytes)
	}
	return c
}

// keep adds the unknown fields of the outermost message.
func keep(u *Unknown, fields []byte) *Unknown {
	if len(fields) == 0 {
		return u
	}
	if u == nil {
		u = new(Unknown)
	}
	u.Fields = fields
	return u
}

// located writes into an error which record it is about.
func located(err error, p Partition, s Seq) error {
	var corrupt *CorruptError
	var unknown *UnknownKindError
	switch {
	case errors.As(err, &corrupt):
		corrupt.Partition, corrupt.Seq = p, s
	case errors.As(err, &unknown):
		unknown.Partition, unknown.Seq = p, s
	}
	return err
}

// schemaOf returns the schema of an encoded record, or the error of a newer one.
func schemaOf(b []byte) (uint32, error) {
	schema := peek(b, fieldSchema)
	if schema <= uint64(Schema) {
		return uint32(schema), nil
	}
	return 0, &NewerSchemaError{
		Partition: Partition(peek(b, fieldPartition)), Seq: Seq(peek(b, fieldSeq)), Schema: uint32(min(schema, 1<<32-1)),
	}
}

// peek returns the number in a field of a message whose fields are in ascending order, as they are written; 0 if there is
// none. For the first field that costs next to nothing.
func peek(b []byte, num protowire.Number) uint64 {
	for len(b) > 0 {
		n, typ, width := protowire.ConsumeTag(b)
		if width < 0 || n > num {
			return 0
		}
		b = b[width:]
		if n == num && typ == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(b)
			return v
		}
		size := protowire.ConsumeFieldValue(n, typ, b)
		if size < 0 {
			return 0
		}
		b = b[size:]
	}
	return 0
}
