package payload_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

type value struct {
	Big  int64
	Text string
	More any `json:",omitempty"`
}

func TestValuesComeBack(t *testing.T) {
	t.Parallel()
	var c payload.Converter
	for _, v := range []any{
		int64(math.MaxInt64), uint64(math.MaxUint64), "a<b>&\u2028", true,
		[]byte{0, 1},
		value{Big: math.MinInt64, Text: "x"},
		map[string]int{"a": 1},
		[]string{},
		struct{ A, B int }{1, 2},
		events.Payload{Encoding: "raw", Data: []byte{1}},
		payload.None{},
	} {
		p, err := c.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := c.Decode(p, back.Interface()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, back.Elem().Interface()); diff != "" {
			t.Errorf("%T: %s", v, diff)
		}
	}
}

// Plain strings take a shorter way; what comes out is what encoding/json makes of them.
func TestStringsAreThoseOfJSON(t *testing.T) {
	t.Parallel()
	var c payload.Converter
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,20}`), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string {
			return string(b)
		})).Draw(t, "text")
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(text); err != nil {
			t.Fatal(err)
		}
		p, err := c.Encode(text)
		if err != nil || string(p.Data)+"\n" != want.String() {
			t.Fatalf("%q is encoded as %s, want %s, %v", text, p.Data, want.Bytes(), err)
		}
		quoted := []byte(`"` + text + `"`)
		var have, expected string
		err = c.Decode(events.Payload{Encoding: "json", Data: quoted}, &have)
		if wantErr := json.Unmarshal(quoted, &expected); (err == nil) != (wantErr == nil) || err == nil && have != expected {
			t.Fatalf("%q is decoded as %q, %v; want %q, %v", quoted, have, err, expected, wantErr)
		}
	})
}

// A value that holds no interface takes a shorter way; one that does keeps all digits, however deep it is.
func TestOpenNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	const big = "9007199254740993"
	type inner struct{ Any []map[string]any }
	type recursive struct {
		Next *recursive
		In   *inner
	}
	var v recursive
	data := events.Payload{Encoding: "json", Data: []byte(`{"Next":{"In":{"Any":[{"n":` + big + `}]}}}`)}
	if err := (payload.Converter{}).Decode(data, &v); err != nil {
		t.Fatal(err)
	}
	if n := v.Next.In.Any[0]["n"]; n != json.Number(big) {
		t.Errorf("the number came back as %T %v", n, n)
	}
}

func BenchmarkEncodeString(b *testing.B) { benchmarkEncode(b, strings.Repeat("x", 98)) }
func BenchmarkEncodeStruct(b *testing.B) { benchmarkEncode(b, value{Big: 1, Text: "text"}) }

func benchmarkEncode(b *testing.B, v any) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (payload.Converter{}).Encode(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeString(b *testing.B) { benchmarkDecode[string](b, `"`+strings.Repeat("x", 98)+`"`) }

func BenchmarkDecodeStruct(b *testing.B) {
	benchmarkDecode[struct {
		Big  int64
		Text string
	}](b, `{"Big":1,"Text":"text"}`)
}

func benchmarkDecode[T any](b *testing.B, data string) {
	p := events.Payload{Encoding: "json", Data: []byte(data)}
	b.ReportAllocs()
	for b.Loop() {
		var v T
		if err := (payload.Converter{}).Decode(p, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestJSONIsPlain(t *testing.T) {
	t.Parallel()
	p, err := payload.Converter{}.Encode(map[string]any{"a": "<b>", "n": int64(9007199254740993)})
	if err != nil || p.Encoding != events.EncodingJSON || string(p.Data) != `{"a":"<b>","n":9007199254740993}` {
		t.Errorf("%s %s %v", p.Encoding, p.Data, err)
	}
	var v value
	data := events.Payload{Encoding: "json", Data: []byte(`{"Big":9007199254740993,"More":9007199254740993,"unknown":1}`)}
	if err := (payload.Converter{}).Decode(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.Big != 9007199254740993 || v.More != json.Number("9007199254740993") {
		t.Errorf("numbers lost digits: %+v", v)
	}
}

func TestWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	var n int
	for name, c := range map[string]struct {
		p    events.Payload
		want string
	}{
		"type":     {events.Payload{Encoding: "json", Data: []byte(`"x"`)}, "cannot decode int as json"},
		"trailing": {events.Payload{Encoding: "json", Data: []byte(`1 2`)}, "more after the value"},
		"cut":      {events.Payload{Encoding: "json", Data: []byte(`[1`)}, "cannot decode int"},
		"unknown":  {events.Payload{Encoding: "pickle", Data: []byte(`1`)}, `no format for encoding "pickle"`},
	} {
		err := payload.Converter{}.Decode(c.p, &n)
		var bad *payload.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || bad.Failure().Code != events.CodeBadPayload || !bad.Failure().NonRetryable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (payload.Converter{}).Encode(make(chan int)); err == nil {
		t.Error("a channel was encoded")
	}
	_, err := payload.Converter{MaxBytes: 10}.Encode("0123456789")
	var bad *payload.Error
	if !errors.Is(err, payload.ErrTooLarge) || !errors.As(err, &bad) || bad.Failure().Code != events.CodePayloadTooLarge {
		t.Errorf("12 bytes of 10: %v", err)
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	v := value{Text: "stays"}
	if err := (payload.Converter{}).Decode(events.Payload{}, &v); err != nil || v.Text != "stays" {
		t.Errorf("%+v %v", v, err)
	}
	var none payload.None
	if err := (payload.Converter{}).Decode(events.Payload{Encoding: "what", Data: []byte("?")}, &none); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	var c payload.Converter
	rapid.Check(t, func(t *rapid.T) {
		a, b, d := rapid.Int64().Draw(t, "a"), rapid.String().Draw(t, "b"), rapid.SliceOf(rapid.Bool()).Draw(t, "c")
		p, err := c.EncodeArgs(a, b, d)
		if err != nil {
			t.Fatal(err)
		}
		var a2 int64
		var b2 string
		var d2 []bool
		if err := c.DecodeArgs(p, &a2, &b2, &d2); err != nil {
			t.Fatal(err)
		}
		if a != a2 || strings.ToValidUTF8(b, "\ufffd") != b2 || len(d) != len(d2) {
			t.Errorf("%v %q %v came back as %v %q %v", a, b, d, a2, b2, d2)
		}
		if err := c.DecodeArgs(p, &a2, &b2); err == nil {
			t.Error("three arguments fit two")
		}
		if err := c.DecodeArgs(p, &b2, &a2, &d2); err == nil {
			t.Error("arguments in another order fit")
		}
	})
	if p, err := c.EncodeArgs(); !p.IsZero() || err != nil || c.DecodeArgs(p) != nil {
		t.Errorf("no arguments: %v %v", p, err)
	}
}

// upper is a format of one type.
type upper struct{}

type shout string

func (upper) Encoding() string { return "upper" }

func (upper) Marshal(v any) ([]byte, bool, error) {
	s, ok := v.(shout)
	return []byte(strings.ToUpper(string(s))), ok, nil
}

func (upper) Unmarshal(data []byte, into any) (bool, error) {
	s, ok := into.(*shout)
	if ok {
		*s = shout(strings.ToLower(string(data)))
	}
	return ok, nil
}

// flip is a cipher of sorts.
type flip struct{}

func (flip) Encode(p events.Payload) (events.Payload, error) {
	return events.Payload{Encoding: "flip+" + p.Encoding, Data: flipped(p.Data)}, nil
}

func (flip) Decode(p events.Payload) (events.Payload, error) {
	inner, ok := strings.CutPrefix(p.Encoding, "flip+")
	if !ok {
		return p, nil
	}
	return events.Payload{Encoding: inner, Data: flipped(p.Data)}, nil
}

func flipped(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

func TestFormatsAndCodec(t *testing.T) {
	t.Parallel()
	c := payload.Converter{Formats: []payload.Format{upper{}}, Codec: flip{}}
	p, err := c.Encode(shout("hey"))
	if err != nil || p.Encoding != "flip+upper" || string(flipped(p.Data)) != "HEY" {
		t.Errorf("%v %q %v", p.Encoding, p.Data, err)
	}
	var s shout
	if err := c.Decode(p, &s); err != nil || s != "hey" {
		t.Errorf("%q %v", s, err)
	}
	p, err = c.Encode(7)
	var n int
	if err != nil || c.Decode(p, &n) != nil || n != 7 || p.Encoding != "flip+json" {
		t.Errorf("%d %v %v", n, p.Encoding, err)
	}
	if err := c.Decode(events.Payload{Encoding: "json", Data: []byte("8")}, &n); err != nil || n != 8 {
		t.Errorf("a payload that was never encoded: %d %v", n, err)
	}
}
