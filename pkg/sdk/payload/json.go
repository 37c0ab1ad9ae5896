package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"sync"
)

// jsonEncoder is an encoder with what it writes to. Encoders are used again and again.
type jsonEncoder struct {
	buffer  bytes.Buffer
	encoder *json.Encoder
}

var jsonEncoders = sync.Pool{New: func() any {
	e := new(jsonEncoder)
	e.encoder = json.NewEncoder(&e.buffer)
	e.encoder.SetEscapeHTML(false)
	return e
}}

// maxKeptBytes bounds the buffer of an encoder that is kept.
const maxKeptBytes = 64 << 10

// encodeJSON returns v as JSON without escaping what only HTML needs escaped.
func encodeJSON(v any) ([]byte, error) {
	if s, ok := v.(string); ok && isPlain(s) {
		b := make([]byte, 0, len(s)+2)
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"'), nil
	}
	switch v := v.(type) {
	case int:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(nil, v, 10), nil
	}
	e := jsonEncoders.Get().(*jsonEncoder) //nolint:forcetypeassert // the pool has nothing else
	e.buffer.Reset()
	if err := e.encoder.Encode(v); err != nil {
		return nil, err // an encoder that failed is not kept
	}
	data := bytes.Clone(bytes.TrimSuffix(e.buffer.Bytes(), []byte("\n")))
	if e.buffer.Cap() <= maxKeptBytes {
		jsonEncoders.Put(e)
	}
	return data, nil
}

// decodeJSON reads one JSON value; numbers keep all their digits wherever the Go type leaves them open.
func decodeJSON(data []byte, into any) error {
	if s, ok := into.(*string); ok {
		if n := len(data); n >= 2 && data[0] == '"' && data[n-1] == '"' && isPlain(data[1:n-1]) {
			*s = string(data[1 : n-1])
			return nil
		}
	}
	if n, ok := wholeNumber(data); ok {
		switch into := into.(type) {
		case *int:
			*into = int(n)
			return nil
		case *int64:
			*into = n
			return nil
		}
	}
	if into != nil && !hasOpenTypes(reflect.TypeOf(into)) && json.Unmarshal(data, into) == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the value")
	}
	return nil
}

// wholeNumber reads a JSON number that is written without fraction and exponent, if an int has room for it whatever its
// digits are.
func wholeNumber(data []byte) (n int64, ok bool) {
	digits := data
	if len(digits) > 1 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > maxDigits || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(data) {
		n = -n
	}
	return n, true
}

// maxDigits is how many digits every int has room for.
const maxDigits = 9 * strconv.IntSize / 32

// isPlain reports whether a text is the same in JSON: printable ASCII that needs no escapes.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// openTypes remembers the answers of hasOpenTypes.
var openTypes sync.Map

// hasOpenTypes reports whether a value of type t can hold a value whose type is not known from t: an interface. Only there
// json.Unmarshal would make numbers float64.
func hasOpenTypes(t reflect.Type) bool {
	if known, ok := openTypes.Load(t); ok {
		return known.(bool) //nolint:forcetypeassert // nothing else is stored
	}
	open := findOpenTypes(t, map[reflect.Type]bool{})
	openTypes.Store(t, open)
	return open
}

func findOpenTypes(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return findOpenTypes(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if findOpenTypes(f.Type, seen) {
				return true
			}
		}
	default: // no types inside
	}
	return false
}
