package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// FuzzCommandLine parses whatever somebody types, verb, flags, arguments and standard input: the program ends with one of its
// exit codes and says why it did not do anything. The verbs that talk to a server are cut off before they do.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"workflow start --type T --input {}", "workflow start --type T -i - --id-policy attach-open --run-timeout 1h", "workflow result", "workflow signal a b -i 1",
		"workflow list --status running,failed --since 24h --limit 7", "--output yaml version", "-h", "completion bash", "nosuch", "workflow\nhistory\n--\n-x",
		"workflow start --type= --input-file /nonexistent", "serve --data x --http-addr 0.0.0.0:1", "__complete workflow start --type ''",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"), []byte(`{"a": 1}`))
	}
	f.Fuzz(func(t *testing.T, line string, stdin []byte) {
		var out, said bytes.Buffer
		a := &app{stdin: bytes.NewReader(stdin), stdout: &out, stderr: &said}
		root := newRoot(a)
		cutOff(root)
		args := strings.Split(line, "\n")
		if strings.HasPrefix(args[0], "__complete") {
			return // asks a server
		}
		root.SetArgs(args)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		cmd, err := root.ExecuteContextC(ctx)
		code := a.end(t.Context(), cmd, err)
		if code < exitOK || code > exitNotDone {
			t.Fatalf("%q ends with %d", args, code)
		}
		if code != exitOK && said.Len() == 0 {
			t.Fatalf("%q ends with %d and says nothing", args, code)
		}
		if err != nil && code == exitOK {
			t.Fatalf("%q is fine in spite of %v", args, err)
		}
	})
}

// cutOff takes from every verb what it does, once its command line is understood.
func cutOff(cmd *cobra.Command) {
	if cmd.RunE != nil {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Context().Err() }
	}
	for _, sub := range cmd.Commands() {
		cutOff(sub)
	}
}

// FuzzInput reads inputs from --input: what is JSON comes out as the same value on one line, and of everything else the
// error shows the place.
func FuzzInput(f *testing.F) {
	for _, text := range []string{`{"a": [1, 2.50, "x"]}`, "", " ", "{\n\t\"a\" 1}", "1e999999", `"\ud800"`, "[[[[", "\xef\xbb\xbf1", "1 2", "nul", "{\"a\":1,\"a\":2}", "\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compact, err := compactJSON(data)
		if err != nil {
			if json.Valid(data) {
				t.Fatalf("%q is JSON and refused: %v", data, err)
			}
			if err.Error() == "" {
				t.Fatal("no reason is given")
			}
			return
		}
		again, err := compactJSON(compact)
		if err != nil || !bytes.Equal(again, compact) || bytes.ContainsAny(compact, "\n\r") {
			t.Fatalf("%q is %q and then %q, %v", data, compact, again, err)
		}
	})
}
