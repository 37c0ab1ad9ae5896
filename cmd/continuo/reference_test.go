package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/reference/cli.md instead of comparing it")

const reference = "../../docs/reference/cli.md"

// TestReferenceIsFresh compares docs/reference/cli.md with the commands. To write it anew:
// go test ./cmd/continuo -run TestReferenceIsFresh -update.
func TestReferenceIsFresh(t *testing.T) {
	t.Setenv("CONTINUO_ADDR", "") // defaults as they are without an environment
	t.Setenv("CONTINUO_OUTPUT", "")
	t.Setenv("CONTINUO_TLS", "")
	t.Setenv("CONTINUO_CA_FILE", "")
	t.Setenv("CONTINUO_TOKEN_FILE", "")
	t.Setenv("CONTINUO_NAMESPACE", "")
	t.Setenv("CONTINUO_CONFIG", "")
	t.Setenv("CONTINUO_DATA", "")
	var want bytes.Buffer
	writeReference(&want, newRoot(&app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}))
	if *update {
		if err := os.WriteFile(reference, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is stale: go test ./cmd/continuo -run TestReferenceIsFresh -update", reference)
	}
}

func writeReference(w io.Writer, root *cobra.Command) {
	_, _ = fmt.Fprintf(w, `# The command line

<!-- Generated from the commands: go test ./cmd/continuo -run TestReferenceIsFresh -update -->

One program is server and command line. %s explains every verb where you are; %s prints what makes
your shell complete verbs, flags, workflow ids and types.

| exit code | means |
|---|---|
| %d | done |
| %d | the request was refused or could not be made, or a check found something wrong |
| %d | the command line, the input or the configuration is wrong; nothing was asked of a server |
| %d | a waited-for run did not complete, or has not ended in time |

Results go to the standard output, everything else to the standard error. Times are shown in the local zone; with %s they
are RFC 3339 in UTC, and JSON values are exactly those that were given. Errors end with a stable code in brackets: see [error codes](errors.md).

`, "`--help`", "`continuo completion bash|zsh|fish|powershell`", exitOK, exitFailed, exitUsage, exitNotDone, "`--output json`")
	_, _ = fmt.Fprintf(w, "Flags of all verbs:\n\n")
	writeFlags(w, root.PersistentFlags())
	writeVerbs(w, root)
}

func writeVerbs(w io.Writer, parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		if cmd.Hidden {
			continue
		}
		if cmd.HasAvailableSubCommands() {
			writeVerbs(w, cmd)
			continue
		}
		_, _ = fmt.Fprintf(w, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
		if cmd.Long != "" {
			_, _ = fmt.Fprintf(w, "\n%s\n", cmd.Long)
		}
		example := ""
		if cmd.Example != "" {
			example = "\n\n" + strings.TrimPrefix(strings.ReplaceAll(cmd.Example, "\n  ", "\n"), "  ")
		}
		_, _ = fmt.Fprintf(w, "\n```\n%s%s\n```\n", cmd.UseLine(), example)
		if cmd.LocalNonPersistentFlags().HasAvailableFlags() {
			_, _ = fmt.Fprintln(w)
			writeFlags(w, cmd.LocalNonPersistentFlags())
		}
	}
}

func writeFlags(w io.Writer, flags *pflag.FlagSet) {
	_, _ = fmt.Fprintf(w, "| flag | default | meaning |\n|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		value := ""
		switch f.DefValue {
		case "", "0", "0s", "[]", "false":
		default:
			value = "`" + f.DefValue + "`"
		}
		_, _ = fmt.Fprintf(w, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(f.Usage, "|", `\|`))
	})
}
