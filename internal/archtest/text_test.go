package archtest

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	t.Parallel()
	sources, err := readSources(root(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkText(sources))
}

func TestTextFires(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		path    string
		content string
		want    []string
	}{
		{"clean", "a/b.go", "// A method is not supported over REST.\n", nil},
		{"later", "a/b.go", "x := 1\n// TO" + "DO: more\n", []string{"a/b.go:2"}},
		{"placeholder", "a/b.md", "FIX" + "ME\n", []string{"is a leftover"}},
		{"mktemp pattern", "a/b.sh", "mktemp /tmp/x.XXXXXX\n", nil},
		{"stub", "a/b.go", `errors.New("Not Im` + `plemented yet")`, []string{"is a leftover"}},
		{"somebody's machine", "a/b.go", `const dir = "/ro` + `ot/x"`, []string{"not about the project"}},
		{"a path of the API", "a/b.go", `const path = "/v1/work/x"`, nil},
		{"author", "README.md", "Written with an L" + "LM.", []string{"not about the project"}},
		{"inside of the repository", "docs/adr/x.md", "see ../../ARCHITECTURE.md", nil},
		{"outside of the repository", "docs/x.md", "see ../../notes/x", []string{"leads out of the repository"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantFindings(t, checkText([]source{{test.path, test.content}}), test.want...)
		})
	}
}

func TestNoSleeps(t *testing.T) {
	t.Parallel()
	sources, err := readSources(root(t), ".go")
	if err != nil {
		t.Fatal(err)
	}
	findings, err := checkSleeps(sources)
	if err != nil {
		t.Fatal(err)
	}
	report(t, findings)
}

func TestNoSleepsFires(t *testing.T) {
	t.Parallel()
	const body = "func f() { CLOCK.Sleep(1) }\n"
	for _, test := range []struct {
		name    string
		path    string
		imports string
		clock   string
		want    []string
	}{
		{"test", "a/b_test.go", `import "time"`, "time", []string{"a/b_test.go:3: a test sleeps"}},
		{"renamed", "a/b_test.go", `import clock "time"`, "clock", []string{"a test sleeps"}},
		{"suite", "internal/journal/journaltest/a.go", `import "time"`, "time", []string{"a test sleeps"}},
		{"another's Sleep", "a/b_test.go", `import "time"`, "flow", nil},
		{"virtual", "a/b_test.go", `import ("time"; "testing/synctest")`, "time", nil},
		{"not a test", "a/b.go", `import "time"`, "time", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			content := "package p\n" + test.imports + "\n" + strings.ReplaceAll(body, "CLOCK", test.clock)
			findings, err := checkSleeps([]source{{test.path, content}})
			if err != nil {
				t.Fatal(err)
			}
			wantFindings(t, findings, test.want...)
		})
	}
}
