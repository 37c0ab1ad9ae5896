package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	good := outcome{target: target{pkg: "a", name: "FuzzA"}, execs: executions([]byte("fuzz: elapsed: 3s, execs: 7 (2/sec)\nfuzz: elapsed: 6s, execs: 12 (2/sec)\nPASS\n"))}
	if err := report(&out, []outcome{good}, time.Second, time.Minute); err != nil {
		t.Fatal(err)
	}
	bad := outcome{target: target{pkg: "b", name: "FuzzB"}, err: errors.New("exit status 1"), output: "--- FAIL: FuzzB"}
	if err := report(&out, []outcome{good, bad}, time.Second, time.Minute); err == nil {
		t.Error("a crasher does not fail")
	}
	for _, want := range []string{
		"fuzz: 1 targets for 1s each, 12 executions, 0 crashers, in 1m0s\n", "fuzz: 2 targets for 1s each, 12 executions, 1 crashers, in 1m0s\n", "--- FAIL: FuzzB",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// A crasher is told from a test whose time was up.
func TestRanOut(t *testing.T) {
	t.Parallel()
	over := "fuzz: elapsed: 10s, execs: 17233 (1015/sec)\n--- FAIL: FuzzCommandLine (10.45s)\n    context deadline exceeded\nFAIL\n"
	crasher := "--- FAIL: FuzzX (1s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/582528ddfad69eb5\nFAIL\n"
	if !ranOut([]byte(over)) || ranOut([]byte(crasher)) || ranOut([]byte("panic: x\nFAIL\n")) {
		t.Error("a crasher and the end of the time are taken for each other")
	}
}

// A fuzz test is found by its declaration.
func TestDeclared(t *testing.T) {
	t.Parallel()
	source := "package x\n\nfunc FuzzOne(f *testing.F) {\n}\n\nfunc Fuzzy(t *testing.T) {}\n// func FuzzNot(f *testing.F)\n"
	if found := declared.FindAllStringSubmatch(source, -1); len(found) != 1 || found[0][1] != "FuzzOne" {
		t.Errorf("found %q", found)
	}
}
