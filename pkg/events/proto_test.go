package events_test

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	eventsv1 "github.com/continuo-dev/continuo/gen/continuo/events/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// What this package writes, code generated from events.proto reads, field by field, and the other way round.
func TestGeneratedCodeAgrees(t *testing.T) {
	t.Parallel()
	for _, kind := range events.EventKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			agrees(t, kind.Zero, new(eventsv1.Event), events.AppendEvent, events.DecodeEvent)
		})
	}
	for _, kind := range events.CommandKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			agrees(t, kind.Zero, new(eventsv1.Command), events.AppendCommand, events.DecodeCommand)
		})
	}
	for _, kind := range events.IntentKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			agrees(t, kind.Zero, new(eventsv1.Intent), events.AppendIntent, events.DecodeIntent)
		})
	}
}

func agrees[T any](t *testing.T, zero T, message proto.Message, encode func([]byte, T) []byte, decode func([]byte) (T, error)) {
	rapid.Check(t, func(t *rapid.T) {
		v := eventgen.Like(t, zero)
		again := agree(t, encode(nil, v), message, func(m protoreflect.Message) error {
			return sameKind(reflect.ValueOf(v), m)
		})
		got, err := decode(again)
		if err != nil {
			t.Fatalf("decoding what generated code wrote: %v", err)
		}
		if b := encode(nil, got); !bytes.Equal(b, encode(nil, v)) {
			t.Fatalf("%#v became %#v", v, got)
		}
	})
}

// agree decodes b with generated code, compares, and returns what generated code writes.
func agree(t *rapid.T, b []byte, message proto.Message, compare func(protoreflect.Message) error) []byte {
	proto.Reset(message)
	if err := proto.Unmarshal(b, message); err != nil {
		t.Fatalf("generated code cannot read %x: %v", b, err)
	}
	if err := compare(message.ProtoReflect()); err != nil {
		t.Fatal(err)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("generated code writes\n%x and this package\n%x", again, b)
	}
	return again
}

func TestGeneratedCodeAgreesOnRecords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := eventgen.Record().Draw(t, "record")
		again := agree(t, events.AppendRecord(nil, r), new(eventsv1.Record), func(m protoreflect.Message) error {
			return same(reflect.ValueOf(*r), m)
		})
		got, err := events.DecodeRecord(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(events.AppendRecord(nil, got), events.AppendRecord(nil, r)) {
			t.Fatalf("%#v became %#v", r, got)
		}
	})
}

func TestGeneratedCodeAgreesOnEnvelopes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventgen.Envelope().Draw(t, "envelope")
		again := agree(t, events.AppendEnvelope(nil, &e), new(eventsv1.Envelope), func(m protoreflect.Message) error {
			if schema := m.Get(m.Descriptor().Fields().ByName("schema")).Uint(); schema != uint64(events.Schema) {
				return fmt.Errorf("schema %d", schema)
			}
			return same(reflect.ValueOf(e), m)
		})
		got, err := events.DecodeEnvelope(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(events.AppendEnvelope(nil, &got), events.AppendEnvelope(nil, &e)) {
			t.Fatalf("%#v became %#v", e, got)
		}
	})
}

// same compares a struct with a message: every field of one is a field of the other, by name.
func same(v reflect.Value, m protoreflect.Message) error {
	if b := m.GetUnknown(); len(b) > 0 {
		return fmt.Errorf("%s: the published schema does not know %x", m.Descriptor().Name(), b)
	}
	seen := 0
	err := sameFields(v, m, &seen)
	want := m.Descriptor().Fields().Len()
	if m.Descriptor().Name() == "Envelope" {
		want-- // the schema is not a field of the struct
	}
	if err == nil && seen != want {
		err = fmt.Errorf("%s has %d fields in Go and %d in the published schema", m.Descriptor().Name(), seen, want)
	}
	return err
}

func sameFields(v reflect.Value, m protoreflect.Message, seen *int) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Type == reflect.TypeFor[*events.Unknown]():
			continue
		case f.Anonymous:
			if err := sameFields(v.Field(i), m, seen); err != nil {
				return err
			}
			continue
		}
		*seen++
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(snake(f.Name) + unit(f.Type)))
		if fd == nil {
			return fmt.Errorf("%s.%s is not in the published schema", v.Type(), f.Name)
		}
		if err := sameField(v.Field(i), fd, m.Get(fd)); err != nil {
			return fmt.Errorf("%s.%s: %w", v.Type().Name(), f.Name, err)
		}
	}
	return nil
}

func unit(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[events.Time]():
		return "_us"
	case reflect.TypeFor[time.Duration]():
		return "_ns"
	default:
		return ""
	}
}

var word = regexp.MustCompile(`[A-Z]+(?:[a-z]+|$)|[A-Z][a-z]*`)

func snake(name string) string {
	name = strings.ReplaceAll(name, "ID", "Id")
	return strings.ToLower(strings.Join(word.FindAllString(name, -1), "_"))
}

func sameField(v reflect.Value, fd protoreflect.FieldDescriptor, got protoreflect.Value) error {
	if fd.IsList() {
		list := got.List()
		if list.Len() != v.Len() {
			return fmt.Errorf("%d elements instead of %d", list.Len(), v.Len())
		}
		for i := range v.Len() {
			if err := sameValue(v.Index(i), list.Get(i)); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	}
	if v.Kind() == reflect.Pointer {
		if present := got.Message().IsValid(); present == v.IsNil() {
			return fmt.Errorf("present: %v", present)
		}
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	return sameValue(v, got)
}

func sameValue(v reflect.Value, got protoreflect.Value) error {
	var equal bool
	switch g := got.Interface().(type) {
	case protoreflect.Message:
		if v.Kind() == reflect.Interface {
			return sameKind(v.Elem(), g)
		}
		return same(v, g)
	case protoreflect.EnumNumber:
		equal = v.Uint() == uint64(g)
	case uint64:
		equal = v.Uint() == g
	case uint32:
		equal = v.Uint() == uint64(g)
	case int64:
		equal = v.Int() == g
	case float64:
		equal = v.Float() == g
	case bool:
		equal = v.Bool() == g
	case string:
		equal = v.String() == g
	case []byte:
		if id, ok := reflect.TypeAssert[events.RunID](v); ok {
			equal = bytes.Equal(id[:], g) || id.IsZero() && len(g) == 0
		} else {
			equal = bytes.Equal(v.Bytes(), g)
		}
	}
	if !equal {
		return fmt.Errorf("generated code read %v instead of %v", got, v)
	}
	return nil
}

// sameKind compares a value with the one kind that is set in a oneof message.
func sameKind(v reflect.Value, m protoreflect.Message) error {
	fd := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if fd == nil {
		return fmt.Errorf("generated code found no kind of %s", v.Type())
	}
	number := events.EventKind(valueOr[events.Event](v)) + events.CommandKind(valueOr[events.Command](v)) + events.IntentKind(valueOr[events.Intent](v))
	if string(fd.Name()) != snake(v.Type().Name()) || int(fd.Number()) != number {
		return fmt.Errorf("%s has number %d here; the published schema has %s = %d", v.Type(), number, fd.Name(), fd.Number())
	}
	return same(v, m.Get(fd).Message())
}

func valueOr[T any](v reflect.Value) T {
	value, _ := reflect.TypeAssert[T](v)
	return value
}

// The published oneofs have no kinds that this package lacks.
func TestCatalogIsComplete(t *testing.T) {
	t.Parallel()
	for message, want := range map[proto.Message]int{
		new(eventsv1.Event):   len(events.EventKinds()),
		new(eventsv1.Command): len(events.CommandKinds()),
		new(eventsv1.Intent):  len(events.IntentKinds()),
	} {
		if d := message.ProtoReflect().Descriptor(); d.Fields().Len() != want {
			t.Errorf("%s has %d kinds in the published schema and %d here", d.Name(), d.Fields().Len(), want)
		}
	}
}
