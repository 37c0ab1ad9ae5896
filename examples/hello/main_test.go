package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const greeting = "HELLO, ADA!\n"

func TestItSaysHello(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "run", ".").Output()
	if err != nil {
		t.Fatalf("go run: %v\n%s", err, stderr(err))
	}
	if string(out) != greeting {
		t.Errorf("it printed %q, want %q", out, greeting)
	}
}

// The program is what a user copies: it must run in a module of its own, and be short.
func TestItRunsInAModuleOfItsOwn(t *testing.T) {
	t.Parallel()
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), "\n"); n >= 60 {
		t.Errorf("main.go has %d lines; it is to stay under 60", n)
	}
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// The user's module needs the versions that this one does, so that nothing has to be looked up on the network.
	_, needs, _ := strings.Cut(string(own), "\nrequire ")
	module := "module hello\n\ngo " + line(string(own), "go ") + "\n\nrequire github.com/continuo-dev/continuo v0.0.0\n\n" +
		"replace github.com/continuo-dev/continuo => " + repository + "\n\nrequire " + needs
	dir := t.TempDir()
	for name, content := range map[string]string{"main.go": string(source), "go.mod": module, "go.sum": string(sums)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), "go", "run", ".")
	run.Dir = dir
	run.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := run.Output()
	if err != nil {
		t.Fatalf("go run: %v\n%s", err, stderr(err))
	}
	if string(out) != greeting {
		t.Errorf("it printed %q, want %q", out, greeting)
	}
}

// line returns what follows the prefix of the first line that has it.
func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func stderr(err error) string {
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // it is what Output returns
		return string(exit.Stderr)
	}
	return ""
}
