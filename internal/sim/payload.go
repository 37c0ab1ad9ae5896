package sim

import (
	"strconv"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// payloads turns values into payloads as the SDK does by default, to the byte.
var payloads = payload.Converter{Formats: []payload.Format{quick{}}}

// quick is JSON for the types of the simulated programs without reflection. What it does not know it leaves to the SDK.
type quick struct{}

// Encoding is that of what the SDK makes of the same values.
func (quick) Encoding() string { return events.EncodingJSON }

// Marshal writes what encoding/json writes.
func (quick) Marshal(v any) ([]byte, bool, error) {
	w := quickWriter{}
	switch v := v.(type) {
	case call:
		w.b = make([]byte, 0, 24)
		w.call(v)
	case input:
		w.b = make([]byte, 0, 256)
		w.input(v)
	case [][]seen:
		w.b = make([]byte, 0, 256)
		w.generations(v)
	default:
		return nil, false, nil
	}
	return w.b, !w.other, nil
}

// Unmarshal reads what Marshal wrote.
func (quick) Unmarshal(data []byte, into any) (bool, error) {
	r := quickReader{b: data}
	switch into := into.(type) {
	case *call:
		if c := r.call(); r.ended() {
			*into = c
			return true, nil
		}
	case *input:
		if in := r.input(); r.ended() {
			*into = in
			return true, nil
		}
	case *[][]seen:
		if all := r.generations(); r.ended() {
			*into = all
			return true, nil
		}
	}
	return false, nil
}

// quickWriter appends JSON to b. Other says that there is something that it does not know how to write.
type quickWriter struct {
	b     []byte
	other bool
}

func (w *quickWriter) raw(s string) { w.b = append(w.b, s...) }

func (w *quickWriter) int(n int64) { w.b = strconv.AppendInt(w.b, n, 10) }

func (w *quickWriter) text(s string) {
	w.other = w.other || !isPlain(s)
	w.b = append(append(append(w.b, '"'), s...), '"')
}

// isPlain reports whether a text is the same in JSON.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (w *quickWriter) call(c call) {
	w.raw(`{"v":`)
	w.int(c.Value)
	if c.Failures != 0 {
		w.raw(`,"f":`)
		w.int(int64(c.Failures))
	}
	if c.Permanent {
		w.raw(`,"p":true`)
	}
	w.raw("}")
}

func (w *quickWriter) input(in input) {
	w.raw(`{"p":`)
	w.int(int64(in.Program))
	if in.Generation != 0 {
		w.raw(`,"g":`)
		w.int(int64(in.Generation))
	}
	if len(in.Seen) > 0 {
		w.raw(`,"s":`)
		w.generations(in.Seen)
	}
	w.raw("}")
}

func (w *quickWriter) generations(all [][]seen) {
	if all == nil {
		w.raw("null")
		return
	}
	w.raw("[")
	for i, g := range all {
		if i > 0 {
			w.raw(",")
		}
		w.seen(g)
	}
	w.raw("]")
}

func (w *quickWriter) seen(all []seen) {
	if all == nil {
		w.raw("null")
		return
	}
	w.raw("[")
	for i := range all {
		s := &all[i]
		if i > 0 {
			w.raw(",")
		}
		w.raw(`{"o":`)
		w.text(string(s.Op))
		if s.Value != 0 {
			w.raw(`,"v":`)
			w.int(s.Value)
		}
		if s.Values != "" {
			w.raw(`,"l":`)
			w.text(s.Values)
		}
		if s.Err != "" {
			w.raw(`,"e":`)
			w.text(s.Err)
		}
		if len(s.Inner) > 0 {
			w.raw(`,"i":`)
			w.seen(s.Inner)
		}
		w.raw("}")
	}
	w.raw("]")
}

// quickReader takes JSON off b. Other says that there is something that it does not know how to read.
type quickReader struct {
	b     []byte
	other bool
}

// ended reports whether all was read.
func (r *quickReader) ended() bool { return !r.other && len(r.b) == 0 }

// has takes s off if it is there.
func (r *quickReader) has(s string) bool {
	if len(r.b) < len(s) || string(r.b[:len(s)]) != s {
		return false
	}
	r.b = r.b[len(s):]
	return true
}

func (r *quickReader) wants(s string) {
	if !r.has(s) {
		r.other, r.b = true, nil
	}
}

func (r *quickReader) int() (n int64) {
	minus := r.has("-")
	digits := 0
	for digits < len(r.b) && '0' <= r.b[digits] && r.b[digits] <= '9' {
		n = n*10 + int64(r.b[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 18 || digits > 1 && r.b[0] == '0' {
		r.other, r.b = true, nil
		return 0
	}
	r.b = r.b[digits:]
	if minus {
		n = -n
	}
	return n
}

func (r *quickReader) text() string {
	r.wants(`"`)
	for i, c := range r.b {
		if c == '"' {
			s := r.b[:i]
			r.b = r.b[i+1:]
			r.other = r.other || !isPlain(s)
			return string(s)
		}
	}
	r.other, r.b = true, nil
	return ""
}

func (r *quickReader) call() (c call) {
	r.wants(`{"v":`)
	c.Value = r.int()
	if r.has(`,"f":`) {
		c.Failures = int(r.int())
	}
	c.Permanent = r.has(`,"p":true`)
	r.wants("}")
	return c
}

func (r *quickReader) input() (in input) {
	r.wants(`{"p":`)
	in.Program = int(r.int())
	if r.has(`,"g":`) {
		in.Generation = int(r.int())
	}
	if r.has(`,"s":`) {
		in.Seen = r.generations()
	}
	r.wants("}")
	return in
}

func (r *quickReader) generations() [][]seen {
	if r.has("null") {
		return nil
	}
	all := [][]seen{}
	r.wants("[")
	for !r.other && !r.has("]") {
		if len(all) > 0 {
			r.wants(",")
		}
		all = append(all, r.seen())
	}
	return all
}

func (r *quickReader) seen() []seen {
	if r.has("null") {
		return nil
	}
	all := []seen{}
	r.wants("[")
	for !r.other && !r.has("]") {
		if len(all) > 0 {
			r.wants(",")
		}
		var s seen
		r.wants(`{"o":`)
		s.Op = opKind(r.text())
		if r.has(`,"v":`) {
			s.Value = r.int()
		}
		if r.has(`,"l":`) {
			s.Values = r.text()
		}
		if r.has(`,"e":`) {
			s.Err = r.text()
		}
		if r.has(`,"i":`) {
			s.Inner = r.seen()
		}
		r.wants("}")
		all = append(all, s)
	}
	return all
}
