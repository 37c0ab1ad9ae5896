package events

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// One function for each type of field. Each says what the four ways of walking do with it; names and numbers are those of
// the published schema, except that units are added here.

// text is a string field.
func text[T ~string](c *coder, num protowire.Number, name string, p *T) {
	switch c.mode {
	case appending:
		if *p != "" {
			c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
			c.b = protowire.AppendString(c.b, string(*p))
		}
	case decoding:
		if c.is(num, protowire.BytesType) {
			*p = T(textOf(c.bytes()))
		}
	case writing:
		if *p != "" {
			c.key(name)
			c.b = appendJSONText(c.b, string(*p))
		}
	case parsing:
		*p = T(c.takeText(name, string(*p)))
	}
}

// textOf copies b, except for the commonest texts, which cost nothing.
func textOf(b []byte) string {
	switch string(b) {
	case string(DefaultNamespace):
		return string(DefaultNamespace)
	case EncodingJSON:
		return EncodingJSON
	case EncodingProtobuf:
		return EncodingProtobuf
	case string(OK):
		return string(OK)
	default:
		return string(b)
	}
}

// number is an unsigned field of varint type.
func number[T ~uint64 | ~uint32 | ~uint16 | ~uint8](c *coder, num protowire.Number, name string, p *T) {
	switch c.mode {
	case appending:
		if *p != 0 {
			c.putVarint(num, uint64(*p))
		}
	case decoding:
		if c.is(num, protowire.VarintType) {
			setNumber(c, name, p, c.value())
		}
	case writing:
		if *p != 0 {
			c.key(name)
			c.putNumber(uint64(*p))
		}
	case parsing:
		setNumber(c, name, p, c.takeNumber(name, uint64(*p)))
	}
}

func setNumber[T ~uint64 | ~uint32 | ~uint16 | ~uint8](c *coder, name string, p *T, v uint64) {
	*p = T(v)
	if uint64(*p) != v {
		c.corrupt("%s is %d, which is out of range", name, v)
	}
}

// fixed is an unsigned field of eight bytes: for numbers made at random.
func fixed[T ~uint64](c *coder, num protowire.Number, name string, p *T) {
	switch c.mode {
	case appending:
		if *p != 0 {
			c.b = protowire.AppendTag(c.b, num, protowire.Fixed64Type)
			c.b = protowire.AppendFixed64(c.b, uint64(*p))
		}
	case decoding:
		if c.is(num, protowire.Fixed64Type) {
			*p = T(c.eight())
		}
	case writing, parsing:
		number(c, num, name, p)
	}
}

func (c *coder) eight() uint64 {
	v, n := protowire.ConsumeFixed64(c.b[c.at:c.end])
	if n < 0 {
		c.corrupt("field %d: %v", c.num, protowire.ParseError(n))
		return 0
	}
	c.at += n
	c.next()
	return v
}

// flag is a bool field.
func (c *coder) flag(num protowire.Number, name string, p *bool) {
	switch c.mode {
	case appending:
		if *p {
			c.putVarint(num, 1)
		}
	case decoding:
		if c.is(num, protowire.VarintType) {
			*p = c.value() != 0
		}
	case writing:
		if *p {
			c.key(name)
			c.b = append(c.b, "true"...)
		}
	case parsing:
		if raw, ok := c.take(name); ok {
			v, err := strconv.ParseBool(string(raw))
			c.parsed(name, raw, err)
			*p = v
		}
	}
}

// double is a float field.
func (c *coder) double(num protowire.Number, name string, p *float64) {
	switch c.mode {
	case appending:
		if math.Float64bits(*p) != 0 {
			c.b = protowire.AppendTag(c.b, num, protowire.Fixed64Type)
			c.b = protowire.AppendFixed64(c.b, math.Float64bits(*p))
		}
	case decoding:
		if c.is(num, protowire.Fixed64Type) {
			*p = math.Float64frombits(c.eight())
		}
	case writing:
		if math.Float64bits(*p) != 0 {
			c.key(name)
			c.putDouble(*p)
		}
	case parsing:
		*p = c.takeDouble(name, *p)
	}
}

// instant is a moment: microseconds on the wire, RFC 3339 in JSON.
func (c *coder) instant(num protowire.Number, name string, p *Time) {
	switch c.mode {
	case appending:
		if *p != 0 {
			c.putVarint(num, uint64(*p))
		}
	case decoding:
		if c.is(num, protowire.VarintType) {
			*p = Time(c.value())
		}
	case writing:
		if *p != 0 {
			c.key(name)
			c.putInstant(*p)
		}
	case parsing:
		*p = c.takeInstant(name, *p)
	}
}

// span is a duration: nanoseconds on the wire, milliseconds under name + "_ms" in JSON.
func (c *coder) span(num protowire.Number, name string, p *time.Duration) {
	switch c.mode {
	case appending:
		if *p != 0 {
			c.putVarint(num, uint64(*p))
		}
	case decoding:
		if c.is(num, protowire.VarintType) {
			*p = time.Duration(c.value())
		}
	case writing:
		if *p != 0 {
			c.key(name + "_ms")
			c.putSpan(*p)
		}
	case parsing:
		*p = c.takeSpan(name+"_ms", *p)
	}
}

// signedSpan is a span that is often negative: zigzag on the wire.
func (c *coder) signedSpan(num protowire.Number, name string, p *time.Duration) {
	switch c.mode {
	case appending:
		if *p != 0 {
			c.putVarint(num, protowire.EncodeZigZag(int64(*p)))
		}
	case decoding:
		if c.is(num, protowire.VarintType) {
			*p = time.Duration(protowire.DecodeZigZag(c.value()))
		}
	case writing, parsing:
		c.span(num, name, p)
	}
}

// runID is a run id: 16 bytes on the wire, its text in JSON.
func (c *coder) runID(num protowire.Number, name string, p *RunID) {
	switch c.mode {
	case appending:
		if *p != (RunID{}) {
			c.b = protowire.AppendTag(c.b, num, protowire.BytesType)
			c.b = protowire.AppendBytes(c.b, p[:])
		}
	case decoding:
		if c.is(num, protowire.BytesType) {
			b := c.bytes()
			if c.err == nil && len(b) != len(p) {
				c.corrupt("%s has %d bytes instead of %d", name, len(b), len(p))
			}
			copy(p[:], b)
		}
	case writing:
		if *p != (RunID{}) {
			c.key(name)
			c.b = appendJSONText(c.b, p.String())
		}
	case parsing:
		if s := c.takeText(name, ""); s != "" {
			c.parsed(name, nil, p.UnmarshalText([]byte(s)))
		}
	}
}
