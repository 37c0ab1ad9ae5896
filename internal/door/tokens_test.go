package door_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/door"
)

func TestParseTokens(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "a:%s\n", secret(i))
		}
		return text.String()
	}
	for _, c := range []struct {
		text string
		want any // the number of tokens, or what the error says
	}{
		{"a:" + secret(1), 1},
		{"a:" + secret(1) + "\na:" + secret(2), 2},
		{"a:b:" + secret(1), 1},
		{many(door.MaxTokens), door.MaxTokens},
		{many(door.MaxTokens + 1), "line 1001 is one token too many; the limit is 1000"},
		{"a:" + strings.Repeat("x", door.MaxTokenBytes), 1},
		{"a:" + strings.Repeat("x", door.MaxTokenBytes+1), "it must have 32 to 1024"},
		{"a:" + strings.Repeat("x", door.MinTokenBytes-1), "it must have 32 to 1024"},
		{strings.Repeat("n", door.MaxTokenNameBytes+1) + ":" + secret(1), "1 to 100"},
		{":" + secret(1), "1 to 100"},
		{secret(1), "line 1 is not NAME:TOKEN"},
		{"a:" + secret(1) + " # mine", "a space"},
		{"a b:" + secret(1), "a space"},
		{"a:" + secret(1) + "\n#\n\nb:" + secret(1), "line 4 has the token of line 1"},
		{"a:" + secret(1) + "é", "not ASCII"},
		{"", "there is no token in it"},
		{"# nothing\n", "there is no token in it"},
	} {
		got, err := door.ParseTokens([]byte(c.text))
		switch want := c.want.(type) {
		case int:
			if err != nil || got.Len() != want {
				t.Errorf("%.50q: %d tokens, %v, want %d", c.text, got.Len(), err, want)
			}
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.50q: got %v, want %q", c.text, err, want)
			}
		}
	}
}

// Whatever is in a tokens file, it is understood or refused with the number of a line, and what is in it is in no error.
func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("# people\nops:" + secret(1) + "\n\nbilling:" + secret(2) + "\r\n"))
	f.Add([]byte("ops" + secret(1)))
	f.Add([]byte("ops:" + secret(1) + "\nops:" + secret(1)))
	f.Add([]byte("\x00:\xff\n::::\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := door.ParseTokens(text)
		if (err == nil) != (got.Len() > 0) || got.Len() > door.MaxTokens {
			t.Fatalf("%d tokens and %v", got.Len(), err)
		}
		if err == nil {
			return
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); len(line) >= door.MinTokenBytes && strings.Contains(err.Error(), line) {
				t.Fatalf("the error repeats what is in the file: %v", err)
			}
		}
	})
}
