package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The members of a payload that is not inlined JSON: the name of its encoding, and its bytes in base64.
const (
	MemberEncoding = "@encoding"
	MemberData     = "@data"
)

// MarshalJSON returns the JSON of the REST form, on one line: proto names, 64-bit integers as numbers, fields without a
// value written out (except objects), and payloads as their JSON value, byte for byte.
func MarshalJSON(m proto.Message) ([]byte, error) {
	return appendMessage(nil, m.ProtoReflect())
}

func appendMessage(b []byte, m protoreflect.Message) ([]byte, error) {
	switch full := m.Interface().(type) {
	case *apiv1.Payload:
		return appendPayload(b, full), nil
	default:
		if m.Descriptor().ParentFile().Package() == "google.protobuf" {
			text, err := protojson.Marshal(full)
			return append(b, text...), err
		}
	}
	b = append(b, '{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		field := fields.Get(i)
		if !m.Has(field) && (field.HasPresence() || field.ContainingOneof() != nil) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendText(b, string(field.Name()))
		b = append(b, ':')
		var err error
		if b, err = appendField(b, field, m.Get(field)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendField(b []byte, field protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	if !field.IsList() {
		return appendValue(b, field, v)
	}
	b = append(b, '[')
	list := v.List()
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, field, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendValue(b []byte, field protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return appendText(b, v.String()), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool()), nil
	case protoreflect.EnumKind:
		if value := field.Enum().Values().ByNumber(v.Enum()); value != nil {
			return appendText(b, string(value.Name())), nil
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10), nil
	case protoreflect.BytesKind:
		return appendText(b, base64.StdEncoding.EncodeToString(v.Bytes())), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	default:
		return nil, fmt.Errorf("field %s has the kind %s, which the REST form does not know", field.FullName(), field.Kind())
	}
}

func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return append(b, `""`...)
	}
	return append(b, text...)
}

// appendPayload writes a JSON payload as it is, so that numbers keep every digit, and others as an object of two members.
func appendPayload(b []byte, p *apiv1.Payload) []byte {
	if p.GetEncoding() == events.EncodingJSON && json.Valid(p.GetData()) && !IsWrapped(p.GetData()) {
		return append(b, bytes.TrimSpace(p.GetData())...)
	}
	b = append(b, `{"`+MemberEncoding+`":`...)
	b = appendText(b, p.GetEncoding())
	b = append(b, `,"`+MemberData+`":"`...)
	b = base64.StdEncoding.AppendEncode(b, p.GetData())
	return append(b, `"}`...)
}

// IsWrapped reports whether a JSON value stands for a payload of another encoding, which it then names with its data.
func IsWrapped(raw []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return false
	}
	_, wrapped := members[MemberEncoding]
	return wrapped
}
