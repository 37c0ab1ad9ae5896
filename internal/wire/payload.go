package wire

import (
	"fmt"
	"strings"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// maxCauses bounds the depth of a failure with its causes.
const maxCauses = 16

// ToPayload converts a payload; the zero Payload gives nil. A payload in the blob store must have been fetched before:
// the wire has bytes only.
func ToPayload(p events.Payload) *apiv1.Payload {
	if p.Blob != "" {
		panic("wire: a payload in the blob store reached the wire: " + p.Blob)
	}
	if p.IsZero() {
		return nil
	}
	return &apiv1.Payload{Encoding: p.Encoding, Data: p.Data}
}

// CheckedPayload converts a payload that comes from a server, which has checked it; nil gives the zero Payload. The bytes are
// shared.
func CheckedPayload(p *apiv1.Payload) events.Payload {
	return events.Payload{Encoding: p.GetEncoding(), Data: p.GetData()}
}

// FromPayload converts a payload; nil gives the zero Payload. It refuses one of more than limit bytes or without a name
// of its encoding. field names it in the error. The bytes are shared.
func FromPayload(field string, p *apiv1.Payload, limit int) (events.Payload, error) {
	switch {
	case p.GetEncoding() == "" && len(p.GetData()) == 0:
		return events.Payload{}, nil
	case len(p.GetData()) > limit:
		return events.Payload{}, &events.Error{Code: events.PayloadTooLarge, Message: fmt.Sprintf(
			"%s has %d bytes; the limit is %d: keep large data elsewhere and pass its address", field, len(p.GetData()), limit)}
	case p.GetEncoding() == "":
		return events.Payload{}, invalid("%s names no encoding, such as %q", field, events.EncodingJSON)
	case len(p.GetEncoding()) > events.MaxEncodingBytes || strings.ContainsFunc(p.GetEncoding(), notVisibleASCII):
		return events.Payload{}, invalid("the encoding of %s has more than %d bytes or others than visible ASCII", field, events.MaxEncodingBytes)
	}
	return CheckedPayload(p), nil
}

func notVisibleASCII(r rune) bool { return r <= ' ' || r > '~' }

// ToFailure converts a failure with its causes; nil gives nil.
func ToFailure(f *events.Failure) *apiv1.Failure {
	return toFailure(f, maxCauses)
}

func toFailure(f *events.Failure, depth int) *apiv1.Failure {
	if f == nil || depth == 0 {
		return nil
	}
	return &apiv1.Failure{
		Code: f.Code, Message: f.Message, Type: f.Type, NonRetryable: f.NonRetryable, Details: ToPayload(f.Details),
		Cause: toFailure(f.Cause, depth-1),
	}
}

// FromFailure converts a failure with its causes; nil gives nil. It never refuses one: what is above the limits of
// [events.ClipFailure] is cut, with a mark, so that an error is not lost for being long.
func FromFailure(f *apiv1.Failure) *events.Failure {
	return events.ClipFailure(fromFailure(f, maxCauses))
}

func fromFailure(f *apiv1.Failure, depth int) *events.Failure {
	if f == nil || depth == 0 {
		return nil
	}
	return &events.Failure{
		Code: f.GetCode(), Message: f.GetMessage(), Type: f.GetType(), NonRetryable: f.GetNonRetryable(),
		Details: events.Payload{Encoding: f.GetDetails().GetEncoding(), Data: f.GetDetails().GetData()}, Cause: fromFailure(f.GetCause(), depth-1),
	}
}
