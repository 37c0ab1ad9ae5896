package wire

import (
	"fmt"
	"strings"
	"unicode/utf8"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// maxCauses bounds the depth of a failure with its causes.
const maxCauses = 16

// maxEncodingBytes bounds the name of a payload's encoding.
const maxEncodingBytes = 64

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
	case len(p.GetEncoding()) > maxEncodingBytes || strings.ContainsFunc(p.GetEncoding(), notVisibleASCII):
		return events.Payload{}, invalid("the encoding of %s has more than %d bytes or others than visible ASCII", field, maxEncodingBytes)
	}
	return events.Payload{Encoding: p.GetEncoding(), Data: p.GetData()}, nil
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

// FromFailure converts a failure with its causes; nil gives nil. It never refuses one: what is above
// [events.MaxFailureBytes] or deeper than 16 causes is cut, with a mark, so that an error is not lost for being long.
func FromFailure(f *apiv1.Failure) *events.Failure {
	return fromFailure(f, maxCauses)
}

func fromFailure(f *apiv1.Failure, depth int) *events.Failure {
	if f == nil || depth == 0 {
		return nil
	}
	out := &events.Failure{
		Code: cut(f.GetCode(), events.MaxNameBytes), Message: cut(f.GetMessage(), events.MaxFailureBytes),
		Type: cut(f.GetType(), events.MaxNameBytes), NonRetryable: f.GetNonRetryable(), Cause: fromFailure(f.GetCause(), depth-1),
	}
	if f.GetDetails() == nil {
		return out
	}
	details, err := FromPayload("details", f.GetDetails(), events.MaxFailureBytes)
	if err != nil {
		mark := " (details left out: " + err.Error() + ")"
		out.Message = cut(out.Message, events.MaxFailureBytes-len(mark)) + mark
		return out
	}
	out.Details = details
	return out
}

// cut shortens s to limit bytes, at a rune's border and with a mark, and makes it valid UTF-8.
func cut(s string, limit int) string {
	const mark = "… (cut)"
	if len(s) <= limit && utf8.ValidString(s) {
		return s
	}
	if s = strings.ToValidUTF8(s, "\uFFFD"); len(s) <= limit {
		return s
	}
	s = s[:limit-len(mark)]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + mark
}
