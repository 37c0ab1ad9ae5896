package events

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A coder walks over a message in one of four ways. Every message type lists its fields once, in a method named fields,
// with number, name and place; the listing serves the wire format and the JSON form, in both directions:
//
//	func (e *TimerStarted) fields(c *coder) {
//		number(c, 1, "step", &e.Step)
//		instant(c, 2, "due", &e.Due)
//	}
//
// Fields are listed in ascending order of their numbers, which is the order in which they are written. Reading takes them
// in any order: a listing is walked again as long as it consumes something, and what it never consumes is unknown.
type coder struct {
	mode mode
	// b is the output when writing, the whole input when decoding.
	b []byte

	// Decoding: the next byte, the end of the open message, and the tag that is next in it (num 0: none).
	at, end int
	num     protowire.Number
	typ     protowire.Type
	tagAt   int

	// unknown is set when an unknown field was met; kept are those of the outermost message.
	unknown bool
	kept    []byte

	// causes is the depth of failures in failures.
	causes int
	// schema is that of the message being decoded, for errors.
	schema uint32
	// partly is set when workflow ids, answers and events of unwanted kinds are not to be read.
	partly   bool
	unwanted EventSet

	// JSON: whether the next member needs a comma, and the members of the open object that nobody has taken yet.
	comma bool
	obj   map[string]json.RawMessage

	err error
}

type mode uint8

const (
	appending mode = iota // to wire format
	decoding              // from wire format
	writing               // to JSON
	parsing               // from JSON
)

// maxListed bounds the elements of one list in a message.
const maxListed = 1 << 16

// maxCauses bounds how deep failures hold causes, the failure itself included.
const maxCauses = 16

// fail keeps the first error and makes every walk end.
func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.num, c.at = 0, c.end
}

func (c *coder) corrupt(format string, args ...any) {
	c.fail(&CorruptError{Reason: fmt.Sprintf(format, args...)})
}

// message is an open message: for m := c.open(…); c.in(&m); { value.fields(c) }.
type message struct {
	state uint8
	root  bool
	width int                        // appending: bytes reserved for the length
	mark  int                        // appending: where they begin; decoding: where the last walk began
	end   int                        // decoding: the end of the message around
	obj   map[string]json.RawMessage // parsing: the members around
}

const (
	msgAbsent uint8 = iota
	msgFresh
	msgEntered
)

// root opens the outermost message.
func (c *coder) root() message {
	m := message{state: msgFresh, root: true, mark: -1, end: c.end}
	if c.mode == decoding {
		c.next()
	}
	return m
}

// open begins the message in field num if it is there: when writing, if present says so. hint guesses its size.
func (c *coder) open(num protowire.Number, name string, present bool, hint int) message {
	switch c.mode {
	case appending:
		if present {
			return c.openAppend(num, hint)
		}
	case decoding:
		if c.is(num, protowire.BytesType) {
			return c.enter()
		}
	case writing:
		if present {
			c.key(name)
			return c.openObject()
		}
	case parsing:
		if raw, ok := c.take(name); ok {
			return c.openParsed(raw)
		}
	}
	return message{}
}

func (c *coder) openAppend(num protowire.Number, hint int) message {
	c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
	m := message{state: msgFresh, width: protowire.SizeVarint(uint64(hint)), mark: len(c.b)}
	for range m.width {
		c.b = append(c.b, 0)
	}
	return m
}

// enter opens the message whose tag was just read.
func (c *coder) enter() message {
	n := c.length()
	m := message{state: msgFresh, mark: -1, end: c.end}
	c.end = c.at + n
	c.next()
	return m
}

func (c *coder) openObject() message {
	m := message{state: msgFresh}
	c.b = append(c.b, '{')
	c.comma = false
	return m
}

func (c *coder) openParsed(raw json.RawMessage) message {
	m := message{state: msgFresh, obj: c.obj}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		c.fail(fmt.Errorf("%.60s is not a JSON object: %w", raw, err))
	}
	c.obj = members
	return m
}

// in reports whether the fields of m are to be walked (again), and closes m when not.
func (c *coder) in(m *message) bool {
	if m.state == msgAbsent {
		return false
	}
	if c.mode == decoding {
		return c.inDecoded(m)
	}
	if m.state == msgFresh && c.err == nil {
		m.state = msgEntered
		return true
	}
	m.state = msgAbsent
	switch c.mode {
	case appending:
		if !m.root {
			c.setLength(m)
		}
	case writing:
		c.b = append(c.b, '}')
		c.comma = true
	case parsing:
		c.leftOver()
		c.obj = m.obj
	case decoding: // handled above
	}
	return false
}

func (c *coder) inDecoded(m *message) bool {
	for c.num != 0 && c.tagAt == m.mark { // the last walk took nothing
		c.skip(m.root)
	}
	if c.num != 0 {
		m.mark = c.tagAt
		return true
	}
	m.state = msgAbsent
	if c.err != nil {
		return false
	}
	c.at, c.end = c.end, m.end
	if !m.root {
		c.next()
	}
	return false
}

// setLength writes the length of m in front of it, making room when the guess was wrong.
func (c *coder) setLength(m *message) {
	n := len(c.b) - m.mark - m.width
	if need := protowire.SizeVarint(uint64(n)); need != m.width {
		for range need - m.width {
			c.b = append(c.b, 0)
		}
		copy(c.b[m.mark+need:], c.b[m.mark+m.width:m.mark+m.width+n])
		c.b = c.b[:m.mark+need+n]
	}
	protowire.AppendVarint(c.b[:m.mark], uint64(n))
}

// next reads the next tag of the open message.
func (c *coder) next() {
	c.tagAt = c.at
	if c.at >= c.end {
		c.num = 0
		return
	}
	v := c.varint()
	if c.err != nil {
		return
	}
	num := v >> 3
	if num == 0 || num > uint64(protowire.MaxValidNumber) {
		c.corrupt("field number %d", num)
		return
	}
	c.num, c.typ = protowire.Number(num), protowire.Type(v&7)
}

// is reports whether the next field is num; it must have the given wire type then.
func (c *coder) is(num protowire.Number, typ protowire.Type) bool {
	if c.num != num {
		return false
	}
	if c.typ != typ {
		c.corrupt("field %d has wire type %d instead of %d", num, c.typ, typ)
		return false
	}
	return true
}

// skip steps over an unknown field and keeps it when it belongs to the outermost message.
func (c *coder) skip(keep bool) {
	n := protowire.ConsumeFieldValue(c.num, c.typ, c.b[c.at:c.end])
	if n < 0 {
		c.corrupt("field %d: %v", c.num, protowire.ParseError(n))
		return
	}
	c.unknown = true
	c.at += n
	if keep {
		c.kept = append(c.kept, c.b[c.tagAt:c.at]...)
	}
	c.next()
}

func (c *coder) varint() uint64 {
	if c.at < c.end && c.b[c.at] < 0x80 {
		c.at++
		return uint64(c.b[c.at-1])
	}
	v, n := protowire.ConsumeVarint(c.b[c.at:c.end])
	if n < 0 {
		c.corrupt("number at byte %d: %v", c.at, protowire.ParseError(n))
		return 0
	}
	c.at += n
	return v
}

// length reads the length of a field and checks that so many bytes follow.
func (c *coder) length() int {
	n := c.varint()
	if c.err == nil && n > uint64(c.end-c.at) {
		c.corrupt("field %d claims %d bytes; %d are left", c.num, n, c.end-c.at)
	}
	if c.err != nil {
		return 0
	}
	return int(n)
}

// bytes reads a field's bytes, which alias the input, and steps to the next field.
func (c *coder) bytes() []byte {
	n := c.length()
	if c.err != nil {
		return nil
	}
	b := c.b[c.at : c.at+n]
	c.at += n
	c.next()
	return b
}

// passed steps over the fields num, of bytes, that follow each other; false means that there is none.
func (c *coder) passed(num protowire.Number) bool {
	found := false
	for c.is(num, protowire.BytesType) {
		c.bytes()
		found = true
	}
	return found
}

// value reads a varint field and steps to the next.
func (c *coder) value() uint64 {
	v := c.varint()
	if c.err == nil {
		c.next()
	}
	return v
}

func (c *coder) putVarint(num protowire.Number, v uint64) {
	c.b = protowire.AppendTag(c.b, num, protowire.VarintType)
	c.b = protowire.AppendVarint(c.b, v)
}

// list is a walk over a repeated message: for l := c.list(…); c.more(&l); { grow; for m := c.item(&l); c.in(&m); {…} }.
type list struct {
	num    protowire.Number
	name   string
	i, n   int // the element at hand, and their number where it is known
	raw    []json.RawMessage
	opened bool
}

func (c *coder) list(num protowire.Number, name string, n int) list {
	l := list{num: num, name: name, i: -1, n: n}
	switch c.mode {
	case decoding:
		l.i = n - 1 // elements are added to those read before
	case writing:
		if n > 0 {
			c.key(name)
			c.b = append(c.b, '[')
			l.opened = true
		}
	case parsing:
		l.n = 0
		if raw, ok := c.take(name); ok {
			var elements []json.RawMessage
			c.parsed(name, raw, json.Unmarshal(raw, &elements))
			l.raw, l.n = elements, len(elements)
		}
	case appending:
	}
	return l
}

// more steps to the next element, if there is one.
func (c *coder) more(l *list) bool {
	l.i++
	if c.err != nil {
		return false
	}
	if c.mode == decoding {
		if c.num != l.num {
			return false
		}
		if l.i >= maxListed {
			c.corrupt("%s has more than %d elements", l.name, maxListed)
			return false
		}
		return c.is(l.num, protowire.BytesType)
	}
	if l.i < l.n {
		return true
	}
	if l.opened {
		c.b = append(c.b, ']')
		c.comma = true
	}
	return false
}

// item opens the element at hand.
func (c *coder) item(l *list) message {
	switch c.mode {
	case appending:
		return c.openAppend(l.num, 0)
	case decoding:
		return c.enter()
	case writing:
		if l.i > 0 {
			c.b = append(c.b, ',')
		}
		return c.openObject()
	case parsing:
		return c.openParsed(l.raw[l.i])
	}
	return message{}
}

// ahead counts the fields with the tag at hand that follow each other, the one at hand included.
func (c *coder) ahead() int {
	n, at := 1, c.at
	for n < maxListed {
		size := protowire.ConsumeFieldValue(c.num, c.typ, c.b[at:c.end])
		if size < 0 || at+size >= c.end {
			return n
		}
		at += size
		num, typ, width := protowire.ConsumeTag(c.b[at:c.end])
		if width < 0 || num != c.num || typ != c.typ {
			return n
		}
		at += width
		n++
	}
	return n
}
