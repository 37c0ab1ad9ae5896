// Package payload turns Go values into payloads and back.
//
// Values are JSON by default: numbers keep all their digits, and what a Go type does not name is ignored, so that fields can
// be added while old workers run. A [Format] adds another encoding for some types, a [Codec] transforms the bytes of all of
// them (encryption, compression): the suite itself never needs to read a payload.
package payload

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// None is the type of a value that is not there: the input of what takes none, the result of what returns none. Its
// payload is the zero payload.
type None struct{}

// Format is an encoding for values of some Go types.
type Format interface {
	// Encoding is the name that payloads of this format carry, such as "protobuf".
	Encoding() string
	// Marshal returns the bytes of v; ok is false when v is not of a type of this format.
	Marshal(v any) (data []byte, ok bool, err error)
	// Unmarshal reads data into the value that into points to; ok is false when that is not of a type of this format.
	Unmarshal(data []byte, into any) (ok bool, err error)
}

// Codec transforms encoded payloads, for example by encrypting them. Decode undoes Encode and is also given payloads that
// were never encoded (of other clients, from before), which it can tell by their encoding's name and returns as they are.
type Codec interface {
	// Encode returns p transformed, under another name of its encoding.
	Encode(p events.Payload) (events.Payload, error)
	// Decode returns what Encode was given.
	Decode(p events.Payload) (events.Payload, error)
}

// Converter turns values into payloads and back. The zero Converter uses JSON for everything. Workers and clients that
// share runs need the same one.
type Converter struct {
	// Formats are tried in order before JSON.
	Formats []Format
	// Codec transforms what the formats made; nil means nothing does.
	Codec Codec
	// MaxBytes bounds one payload; 0 means [DefaultMaxBytes]. Servers have a limit of their own.
	MaxBytes int
}

// DefaultMaxBytes is the limit of one payload unless another is set.
const DefaultMaxBytes = 2 << 20

// ErrTooLarge is wrapped by the error of a value whose payload is above the limit; its failure code is payload_too_large.
var ErrTooLarge = errors.New("the payload is too large")

// Error says that a value could not be encoded or decoded. Its failure code is bad_payload, and it is not retried.
type Error struct {
	// Type is the Go type that was wanted or given.
	Type string
	// Encoding is that of the payload.
	Encoding string
	// Encoding or decoding: what was tried.
	Op  string
	Err error
}

// Error names the type, the encoding and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("cannot %s %s as %s: %v", e.Op, e.Type, e.Encoding, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Failure returns the error as it travels.
func (e *Error) Failure() *events.Failure {
	return &events.Failure{Code: e.FailureCode(), Message: e.Error(), Type: fmt.Sprintf("%T", e), NonRetryable: true}
}

// FailureCode is the code of a failure because of this error: bad_payload or payload_too_large.
func (e *Error) FailureCode() string {
	if errors.Is(e.Err, ErrTooLarge) {
		return events.CodePayloadTooLarge
	}
	return events.CodeBadPayload
}

// Encode returns the payload of v. [None] gives the zero payload, an [events.Payload] itself.
func (c Converter) Encode(v any) (events.Payload, error) {
	var p events.Payload
	switch v := v.(type) {
	case None:
		return p, nil
	case events.Payload:
		return v, nil
	}
	for _, f := range c.Formats {
		data, ok, err := f.Marshal(v)
		if err != nil {
			return p, &Error{Type: fmt.Sprintf("%T", v), Encoding: f.Encoding(), Op: "encode", Err: err}
		}
		if ok {
			return c.encoded(events.Payload{Encoding: f.Encoding(), Data: data}, v)
		}
	}
	data, err := encodeJSON(v)
	if err != nil {
		return p, &Error{Type: fmt.Sprintf("%T", v), Encoding: events.EncodingJSON, Op: "encode", Err: err}
	}
	return c.encoded(events.Payload{Encoding: events.EncodingJSON, Data: data}, v)
}

func (c Converter) encoded(p events.Payload, v any) (events.Payload, error) {
	bad := func(err error) (events.Payload, error) {
		return events.Payload{}, &Error{Type: fmt.Sprintf("%T", v), Encoding: p.Encoding, Op: "encode", Err: err}
	}
	if c.Codec != nil {
		out, err := c.Codec.Encode(p)
		if err != nil {
			return bad(err)
		}
		p = out
	}
	limit := c.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if len(p.Data) > limit {
		return bad(fmt.Errorf("%w: it has %d bytes and the limit is %d; pass a reference instead", ErrTooLarge, len(p.Data), limit))
	}
	return p, nil
}

// Decode reads p into the value that into points to. The zero payload leaves the zero value, and [None] takes any payload.
func (c Converter) Decode(p events.Payload, into any) error {
	switch into := into.(type) {
	case *None:
		return nil
	case *events.Payload:
		*into = p
		return nil
	}
	if p.IsZero() {
		return nil
	}
	bad := func(err error) error {
		return &Error{Type: fmt.Sprintf("%T", into)[1:], Encoding: p.Encoding, Op: "decode", Err: err}
	}
	if c.Codec != nil {
		plain, err := c.Codec.Decode(p)
		if err != nil {
			return bad(err)
		}
		p = plain
	}
	for _, f := range c.Formats {
		if f.Encoding() != p.Encoding {
			continue
		}
		if ok, err := f.Unmarshal(p.Data, into); err != nil {
			return bad(err)
		} else if ok {
			return nil
		}
	}
	if p.Encoding != events.EncodingJSON {
		return bad(fmt.Errorf("there is no format for encoding %q and this type", p.Encoding))
	}
	if err := decodeJSON(p.Data, into); err != nil {
		return bad(err)
	}
	return nil
}

// EncodeArgs returns the payload of the arguments of a call: none gives the zero payload, one its own, more a JSON array of
// them.
func (c Converter) EncodeArgs(args ...any) (events.Payload, error) {
	switch len(args) {
	case 0:
		return events.Payload{}, nil
	case 1:
		return c.Encode(args[0])
	default:
		return c.Encode(args)
	}
}

// DecodeArgs reads the arguments of a call into what the pointers point to.
func (c Converter) DecodeArgs(p events.Payload, into ...any) error {
	switch len(into) {
	case 0:
		return nil
	case 1:
		return c.Decode(p, into[0])
	}
	var elements []json.RawMessage
	if err := c.Decode(p, &elements); err != nil {
		return err
	}
	if len(elements) != len(into) {
		return &Error{
			Type: "the arguments", Encoding: p.Encoding, Op: "decode",
			Err: fmt.Errorf("there are %d of them, and the call takes %d", len(elements), len(into)),
		}
	}
	for i, e := range elements {
		if err := decodeJSON(e, into[i]); err != nil {
			return &Error{
				Type: fmt.Sprintf("%T", into[i])[1:], Encoding: p.Encoding, Op: "decode",
				Err: fmt.Errorf("argument %d: %w", i+1, err),
			}
		}
	}
	return nil
}
