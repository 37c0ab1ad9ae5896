package payload_test

import (
	"bytes"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

type shape struct {
	Text  string            `json:"text"`
	Whole int64             `json:"whole"`
	More  *shape            `json:"more,omitempty"`
	Any   any               `json:"any"`
	Map   map[string][]byte `json:"map"`
}

// FuzzDecode reads values that another program sent into the types that code wants: an error or a value, and a value that was
// read comes out the same after it was sent on.
func FuzzDecode(f *testing.F) {
	f.Add("json", []byte(`{"text": "a", "whole": 9007199254740993, "more": {"any": [1, null]}, "map": {"k": "AA=="}}`))
	f.Add("json", []byte(`[1, "two"]`))
	f.Add("protobuf", []byte{1, 2, 3})
	f.Add("", []byte{})
	f.Add("unheard-of", []byte("x"))
	var c payload.Converter
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		p := events.Payload{Encoding: encoding, Data: data}
		var (
			a int
			b string
			n payload.None
		)
		_ = c.DecodeArgs(p, &a, &b)
		_ = c.DecodeArgs(p, &n)
		var first shape
		if c.Decode(p, &first) != nil {
			return
		}
		sent, err := c.Encode(first)
		if err != nil {
			t.Fatalf("%q was read as %+v and cannot be sent: %v", data, first, err)
		}
		var second shape
		if err := c.Decode(sent, &second); err != nil {
			t.Fatalf("%q was sent on as %q, which cannot be read: %v", data, sent.Data, err)
		}
		if again, err := c.Encode(second); err != nil || !bytes.Equal(again.Data, sent.Data) {
			t.Fatalf("%q was sent on as %q and then as %q, %v", data, sent.Data, again.Data, err)
		}
	})
}
