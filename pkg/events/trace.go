package events

import "strings"

// Traceparent is a span of a distributed trace, as the header traceparent of W3C Trace Context has it: version 00, trace, parent and
// flags, 55 characters. Empty means none. Nothing in the log depends on it.
type Traceparent string

// traceparentForm is a traceparent with an x for each digit.
const traceparentForm = "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"

// Valid reports whether t is empty or has the form of a traceparent.
func (t Traceparent) Valid() bool {
	if t == "" {
		return true
	}
	if len(t) != len(traceparentForm) {
		return false
	}
	for i := range len(t) {
		digit := t[i] >= '0' && t[i] <= '9' || t[i] >= 'a' && t[i] <= 'f'
		if want := traceparentForm[i]; want != 'x' && t[i] != want || want == 'x' && !digit {
			return false
		}
	}
	return true
}

// Sampled reports whether the trace is recorded: only then a run has to know it.
func (t Traceparent) Sampled() bool {
	if t == "" || !t.Valid() || strings.Trim(string(t[3:35]), "0") == "" || strings.Trim(string(t[36:52]), "0") == "" { // zeros name nothing
		return false
	}
	return strings.IndexByte("0123456789abcdef", t[len(t)-1])&1 == 1 // the lowest bit of the flags
}
