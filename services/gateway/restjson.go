package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// restJSON is the JSON of the REST form, see [wire.MarshalJSON]. Only messages at the top of a request may have a payload.
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
	return wire.MarshalJSON(m)
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
	if !wire.IsWrapped(raw) {
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
			"%s has the member %s, so it must be {%q: name, %q: base64} and nothing else", name, wire.MemberEncoding, wire.MemberEncoding, wire.MemberData)}
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
