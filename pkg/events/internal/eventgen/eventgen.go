// Package eventgen makes values of every type of the language for tests: random ones for laws, and one fixed full value
// of each type for golden files.
package eventgen

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Event draws an event of any kind.
func Event() *rapid.Generator[events.Event] { return oneOf(events.EventKinds()) }

// Command draws a command of any kind.
func Command() *rapid.Generator[events.Command] { return oneOf(events.CommandKinds()) }

// Intent draws an intent of any kind.
func Intent() *rapid.Generator[events.Intent] { return oneOf(events.IntentKinds()) }

func oneOf[T any](kinds []events.Kind[T]) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		return Like(t, kind.Zero)
	})
}

// Like draws a value of the dynamic type of zero.
func Like[T any](t *rapid.T, zero T) T {
	v := reflect.New(reflect.TypeOf(zero)).Elem()
	fill(v, &random{t})
	return v.Interface().(T)
}

// Of draws a value of a type that is not an interface.
func Of[T any]() *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		var zero T
		fill(reflect.ValueOf(&zero).Elem(), &random{t})
		return zero
	})
}

// Record draws a record of one run.
func Record() *rapid.Generator[*events.Record] {
	return rapid.Custom(func(t *rapid.T) *events.Record {
		r := &events.Record{
			Header:  Of[events.Header]().Draw(t, "header"),
			Events:  orNil(rapid.SliceOfN(Event(), 0, 4).Draw(t, "events")),
			Answers: orNil(rapid.SliceOfN(Of[events.Answer](), 0, 3).Draw(t, "answers")),
		}
		r.Schema = events.Schema
		return r
	})
}

// Envelope draws an envelope with a command of any kind.
func Envelope() *rapid.Generator[events.Envelope] {
	return rapid.Custom(func(t *rapid.T) events.Envelope {
		e := Of[events.Envelope]().Draw(t, "envelope")
		e.Command = Command().Draw(t, "command")
		return e
	})
}

func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// Full returns the value of zero's type in which every field is set, always the same.
func Full[T any](zero T) T {
	v := reflect.New(reflect.TypeOf(zero)).Elem()
	fill(v, new(counter))
	return v.Interface().(T)
}

// maker decides what a field becomes.
type maker interface {
	unsigned(bits int) uint64
	time() events.Time
	duration() time.Duration
	float() float64
	flag() bool
	text(name string) string
	bytes() []byte
	count() int
	causes() bool
	intent() events.Intent
	payload() events.Payload
	some() bool // whether an optional value is there
}

func fill(v reflect.Value, m maker) {
	switch p := v.Addr().Interface().(type) {
	case *events.Payload:
		*p = m.payload()
		return
	case *events.Time:
		*p = m.time()
		return
	case *time.Duration:
		*p = m.duration()
		return
	case *events.RunID:
		if n := m.unsigned(64); n > 0 {
			copy(p[:], fmt.Sprintf("%016x", n))
		}
		return
	case **events.Unknown, *events.Command:
		return
	case *[]byte:
		*p = m.bytes()
		return
	case *events.Intent:
		*p = m.intent()
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillField(v.Type().Field(i), v.Field(i), m)
		}
	case reflect.Slice:
		n := m.count()
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), m)
		}
	case reflect.Pointer:
		if m.some() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), m)
		}
	case reflect.Bool:
		v.SetBool(m.flag())
	case reflect.String:
		v.SetString(m.text(v.Type().Name()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(m.unsigned(v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(m.float())
	default:
		panic(fmt.Sprintf("eventgen: no rule for %s", v.Type()))
	}
}

func fillField(f reflect.StructField, v reflect.Value, m maker) {
	if f.Name == "Cause" && !m.causes() {
		return
	}
	fill(v, m)
}

// random makes values within what the types can hold, with the edges.
type random struct{ t *rapid.T }

func (r *random) unsigned(bits int) uint64 {
	highest := uint64(math.MaxUint64) >> (64 - bits)
	return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, min(highest, 200)), rapid.Uint64Range(0, highest)).Draw(r.t, "n")
}

func (r *random) time() events.Time {
	return events.Time(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 4e15), rapid.Int64()).Draw(r.t, "time"))
}

func (r *random) duration() time.Duration {
	return time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1e12), rapid.Int64()).Draw(r.t, "duration"))
}

func (r *random) float() float64          { return rapid.Float64().Draw(r.t, "float") }
func (r *random) flag() bool              { return rapid.Bool().Draw(r.t, "flag") }
func (r *random) some() bool              { return rapid.Bool().Draw(r.t, "some") }
func (r *random) causes() bool            { return rapid.IntRange(0, 3).Draw(r.t, "cause") == 0 }
func (r *random) count() int              { return rapid.IntRange(0, 3).Draw(r.t, "count") }
func (r *random) text(name string) string { return rapid.StringN(0, 12, 40).Draw(r.t, name) }

func (r *random) bytes() []byte {
	return orNil(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(r.t, "bytes"))
}

func (r *random) intent() events.Intent { return Intent().Draw(r.t, "intent") }

func (r *random) payload() events.Payload {
	switch rapid.IntRange(0, 3).Draw(r.t, "payload") {
	case 0:
		return events.Payload{}
	case 1:
		text := rapid.SampledFrom([]string{`{"a": [1, 2.50, "x<y>"]}`, `null`, `" spaced "`, `12345678901234567890`, `[ 1,
 2 ]`, ` {}`, `{`, `{"json":1,"encoding":"x"}`}).Draw(r.t, "json")
		return events.Payload{Encoding: events.EncodingJSON, Data: []byte(text)}
	case 2:
		return events.Payload{Encoding: r.text("encoding"), Blob: r.text("blob"), BlobBytes: rapid.Int64().Draw(r.t, "blob_bytes")}
	default:
		return events.Payload{Encoding: r.text("encoding"), Data: r.bytes()}
	}
}

// counter makes every field another value, in the order of the fields.
type counter struct {
	n      int
	nested int
}

func (c *counter) next() int { c.n++; return c.n }

func (c *counter) unsigned(bits int) uint64 {
	if bits == 8 {
		return uint64(1 + c.next()%3)
	}
	return uint64(100 + c.next())
}

func (c *counter) time() events.Time {
	return events.Time(1_790_000_000_000_000 + int64(c.next())*1_000_001)
}

func (c *counter) duration() time.Duration {
	return time.Duration(c.next())*time.Second + 250*time.Microsecond
}
func (c *counter) float() float64          { return 1.5 + float64(c.next()) }
func (c *counter) flag() bool              { return true }
func (c *counter) some() bool              { return true }
func (c *counter) count() int              { return 2 }
func (c *counter) bytes() []byte           { return []byte{0, 255, byte(c.next())} }
func (c *counter) text(name string) string { return fmt.Sprintf("%s-%d", name, c.next()) }

func (c *counter) causes() bool {
	c.nested++
	return c.nested%2 == 1
}

func (c *counter) intent() events.Intent {
	kinds := events.IntentKinds()
	v := reflect.New(reflect.TypeOf(kinds[c.next()%len(kinds)].Zero)).Elem()
	fill(v, c)
	return v.Interface().(events.Intent)
}

func (c *counter) payload() events.Payload {
	n := c.next()
	if n%2 == 0 {
		return events.Payload{Encoding: events.EncodingJSON, Data: fmt.Appendf(nil, `{"value": %d}`, n)}
	}
	return events.Payload{Encoding: "custom", Blob: fmt.Sprintf("default/run/%d", n), BlobBytes: int64(n) << 20}
}
