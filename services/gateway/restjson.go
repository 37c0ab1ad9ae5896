package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The members of a payload that is not inlined JSON.
const (
	memberEncoding = "@encoding"
	memberData     = "@data"
)

// restJSON is the JSON of the REST form: proto names, 64-bit integers as numbers, fields without a value written out
// (except objects), and payloads as their JSON value. Only messages at the top of a request may have a payload.
type restJSON struct{}

var _ runtime.Marshaler = restJSON{}

// ContentType returns that of JSON.
func (restJSON) ContentType(any) string { return "application/json" }

// Marshal writes a message.
func (restJSON) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return json.Marshal(v)
	}
	return appendMessage(nil, m.ProtoReflect())
}

// NewEncoder writes messages one after the other.
func (j restJSON) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := j.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
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
	if p.GetEncoding() == events.EncodingJSON && json.Valid(p.GetData()) && !looksWrapped(p.GetData()) {
		return append(b, bytes.TrimSpace(p.GetData())...)
	}
	b = append(b, `{"`+memberEncoding+`":`...)
	b = appendText(b, p.GetEncoding())
	b = append(b, `,"`+memberData+`":"`...)
	b = base64.StdEncoding.AppendEncode(b, p.GetData())
	return append(b, `"}`...)
}

// looksWrapped reports whether a JSON value would be read back as a payload of another encoding.
func looksWrapped(raw []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return false
	}
	_, wrapped := members[memberEncoding]
	return wrapped
}

// Unmarshal reads a message. Unknown members are refused.
func (restJSON) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return json.Unmarshal(data, v)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return describeJSON(data, err)
	}
	payloads := make(map[protoreflect.FieldDescriptor]*apiv1.Payload)
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Message() == nil || field.IsList() || field.Message().FullName() != "continuo.api.v1.Payload" {
			continue
		}
		for _, name := range []string{string(field.Name()), field.JSONName()} {
			raw, ok := members[name]
			if !ok {
				continue
			}
			delete(members, name)
			p, err := readPayload(string(field.Name()), raw)
			if err != nil {
				return err
			}
			if p != nil {
				payloads[field] = p
			}
		}
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return describeJSON(data, err)
	}
	if err := protojson.Unmarshal(rest, m); err != nil {
		return &events.Error{Code: events.InvalidArgument, Message: "the body does not fit: " + plainText(err.Error())}
	}
	for field, p := range payloads {
		m.ProtoReflect().Set(field, protoreflect.ValueOfMessage(p.ProtoReflect()))
	}
	return nil
}

// NewDecoder reads one message: everything there is.
func (j restJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return nil // an empty body is an empty message
		}
		return j.Unmarshal(data, v)
	})
}

// readPayload reads a payload's member; nil when it has no value.
func readPayload(name string, raw json.RawMessage) (*apiv1.Payload, error) {
	if string(raw) == "null" {
		return nil, nil //nolint:nilnil // null means no value
	}
	if !looksWrapped(raw) {
		return &apiv1.Payload{Encoding: events.EncodingJSON, Data: raw}, nil
	}
	var wrapped struct {
		Encoding string  `json:"@encoding"`
		Data     *[]byte `json:"@data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wrapped); err != nil || wrapped.Data == nil {
		return nil, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf(
			"%s has the member %s, so it must be {%q: name, %q: base64} and nothing else", name, memberEncoding, memberEncoding, memberData)}
	}
	return &apiv1.Payload{Encoding: wrapped.Encoding, Data: *wrapped.Data}, nil
}

// describeJSON says what is wrong with a body and where.
func describeJSON(data []byte, err error) error {
	message := "the body is not a JSON object: " + err.Error()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte{'\n'})
		message = fmt.Sprintf("the body is not valid JSON (line %d, byte %d): %v", line, syntax.Offset, err)
	}
	return &events.Error{Code: events.InvalidArgument, Message: message}
}

// plainText takes from an error's text what only programmers of this server know: protojson's prefix, whose space varies,
// and the code that an [events.Error] shows.
func plainText(text string) string {
	for _, prefix := range []string{"proto: ", "proto:\u00a0"} {
		text = strings.TrimPrefix(text, prefix)
	}
	return strings.TrimSuffix(text, " ["+string(events.InvalidArgument)+"]")
}
