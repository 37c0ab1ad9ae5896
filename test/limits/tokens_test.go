package limits_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/test/fixture"
)

// tokens lets the program itself judge files of tokens, as it does when it starts.
func tokens(t *testing.T, _ *fixture.Suite) {
	file := filepath.Join(t.TempDir(), "tokens")
	check := func(lines ...string) string {
		t.Helper()
		must(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
		out, err := exec.CommandContext(t.Context(), fixture.Binary(), "config", "check", "--data", "d", "--tokens-file", file).CombinedOutput()
		if (err != nil) != strings.Contains(string(out), "1 problem") {
			t.Errorf("%v: %s", err, out)
		}
		return string(out)
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("name:%032d", i)
	}
	for want, lines := range map[string][]string{
		"is good for serve":                many[:1000],
		"line 1001 is one token too many":  many,
		"good for serve.":                  {"a:" + strings.Repeat("x", 32), strings.Repeat("n", 100) + ":" + strings.Repeat("x", 1024)},
		"it must have 32 to 1024":          {"a:" + strings.Repeat("x", 31)},
		"has 1025 bytes; it must have":     {"a:" + strings.Repeat("x", 1025)},
		"colon has 101 bytes; it may have": {strings.Repeat("n", 101) + ":" + strings.Repeat("x", 32)},
	} {
		if got := check(lines...); !strings.Contains(got, want) {
			t.Errorf("got %s, want %q", got, want)
		}
	}
}
