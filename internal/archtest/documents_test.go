package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// documents are the texts for people: at the root and below docs.
func documents(t *testing.T) []source {
	t.Helper()
	sources, err := readSources(root(t), ".md")
	if err != nil {
		t.Fatal(err)
	}
	var found []source
	for _, s := range sources {
		if !inTestdata(s.path) {
			found = append(found, s)
		}
	}
	return found
}

func TestDocsNameExistingPaths(t *testing.T) {
	t.Parallel()
	dir := root(t)
	roots, err := namesAtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range documents(t) {
		report(t, checkPaths(document, roots, existsIn(dir)))
	}
}

func TestDocsNameExistingPathsFires(t *testing.T) {
	t.Parallel()
	exists := func(p string) bool {
		return strings.HasPrefix("internal/journal/journal.go", p) || strings.HasPrefix("docs/adr/README.md", p) || p == "Makefile"
	}
	for _, test := range []struct {
		name string
		text string
		want []string
	}{
		{"exists", "the port is `internal/journal`, its file `internal/journal/journal.go`.", nil},
		{"is gone", "the port is `internal/ledger`.", []string{"ARCHITECTURE.md:1: names internal/ledger"}},
		{"braces", "ports: `internal/{journal,ledger}`", []string{"names internal/ledger"}},
		{"tree", "```\ninternal/journal/   the log\ninternal/ledger/    gone\n```", []string{"ARCHITECTURE.md:3: names internal/ledger"}},
		{"no path of ours", "`text/plain`, `a/b`, `internal`, `go test ./internal/none`, `journal.Send`", nil},
		{"link", "[decisions](docs/adr/README.md#list) [gone](docs/adr/0000.md) [web](https://example.org/x)", []string{"links to docs/adr/0000.md"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			document := source{"ARCHITECTURE.md", test.text}
			wantFindings(t, checkPaths(document, []string{"internal", "docs", "Makefile"}, exists), test.want...)
		})
	}
}

func TestDocsShowCompiledCode(t *testing.T) {
	t.Parallel()
	dir := root(t)
	read := func(p string) (string, error) {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(p)))
		return string(content), err
	}
	for _, document := range documents(t) {
		report(t, checkSnippets(document, read))
	}
}

func TestDocsShowCompiledCodeFires(t *testing.T) {
	t.Parallel()
	const file = "package p\n\n\t// region one\n\tif a {\n\n\t\tb()\n\t}\n\t// endregion\n// region open\n"
	read := func(p string) (string, error) {
		if p != "p.go" {
			return "", os.ErrNotExist
		}
		return file, nil
	}
	for _, test := range []struct {
		name string
		text string
		want []string
	}{
		{"equal", "```go file=p.go#one\nif a {\n\n\tb()\n}\n```\n", nil},
		{"whole file", "```go file=p.go\n" + file + "```\n", nil},
		{"differs", "text\n\n```go file=p.go#one\nif a {\n}\n```\n", []string{"README.md:3: the code differs from p.go#one"}},
		{"no such file", "```go file=q.go#one\n```\n", []string{"cannot be compared"}},
		{"no such region", "```go file=p.go#two\n```\n", []string{`has no region "two"`}},
		{"region without an end", "```go file=p.go#open\n```\n", []string{`has no region "open"`}},
		{"misspelt", "```go file: p.go\n```\n", []string{"want ```go file=path#region"}},
		{"other code", "```go\nx\n```\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantFindings(t, checkSnippets(source{"README.md", test.text}, read), test.want...)
		})
	}
}

func TestDocsListEveryDecision(t *testing.T) {
	t.Parallel()
	var index string
	var decisions []string
	for _, document := range documents(t) {
		switch name, ok := strings.CutPrefix(document.path, "docs/adr/"); {
		case !ok:
		case name == "README.md":
			index = document.content
		default:
			decisions = append(decisions, name)
		}
	}
	for _, name := range decisions {
		if !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
}
