package events

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxChainBytes bounds a failure with all its causes.
const maxChainBytes = InlinePayloadBytes

// ClipFailure returns f if it is within its limits, else a copy that is: messages and details of at most
// [MaxFailureBytes], code and type of at most [MaxNameBytes], 16 failures deep, 128 KiB in all, and text in UTF-8. A cut
// message says how much is missing; details that are too large are left out, which the message says too. nil gives nil.
func ClipFailure(f *Failure) *Failure { return clipFailure(f, 1, maxChainBytes) }

func clipFailure(f *Failure, depth, budget int) *Failure {
	if f == nil || depth > maxCauses {
		return nil
	}
	clipped := *f
	clipped.Code = clipText(f.Code, MaxNameBytes)
	clipped.Type = clipText(f.Type, MaxNameBytes)
	clipped.Message = clipText(f.Message, MaxFailureBytes)
	if len(f.Details.Data) > MaxFailureBytes {
		note := fmt.Sprintf(" (details of %d bytes left out: the limit is %d)", len(f.Details.Data), MaxFailureBytes)
		clipped.Message = clipText(f.Message, MaxFailureBytes-len(note)) + note
		clipped.Details = Payload{}
	}
	budget -= len(clipped.Code) + len(clipped.Type) + len(clipped.Message) + len(clipped.Details.Data)
	if budget < 0 {
		return nil
	}
	clipped.Cause = clipFailure(f.Cause, depth+1, budget)
	if clipped.Code == f.Code && clipped.Type == f.Type && clipped.Message == f.Message && clipped.Cause == f.Cause &&
		len(clipped.Details.Data) == len(f.Details.Data) {
		return f
	}
	return &clipped
}

// clipText cuts s to limit bytes, the mark included, at the edge of a character.
func clipText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= limit {
		return s
	}
	mark := fmt.Sprintf("… (cut from %d bytes)", len(s))
	keep := limit - len(mark)
	for keep > 0 && !utf8.RuneStart(s[keep]) {
		keep--
	}
	return s[:keep] + mark
}
