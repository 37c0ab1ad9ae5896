package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	const (
		passes  = `{"Action":"run","Package":"m/a","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"m/a","Test":"TestA"}` + "\n"
		fails   = `{"Action":"run","Package":"m/a","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"m/a","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"m/a"}` + "\n"
		skips   = `{"Action":"run","Package":"m/a/b","Test":"TestC/x"}` + "\n" + `{"Action":"output","Package":"m/a/b","Test":"TestC/x","Output":"    c_test.go:7: needs root\n"}` + "\n" + `{"Action":"skip","Package":"m/a/b","Test":"TestC/x"}` + "\n"
		noTests = `{"Action":"skip","Package":"m/c"}` + "\n"
		broken  = `{"Action":"output","Package":"m/d","Output":"build failed"}` + "\n" + `{"Action":"fail","Package":"m/d"}` + "\n"
		dies    = `{"Action":"run","Package":"m/e","Test":"TestE"}` + "\n" + `{"Action":"run","Package":"m/e","Test":"TestF"}` + "\n" + `{"Action":"fail","Package":"m/e"}` + "\n"
	)
	for _, test := range []struct {
		name, json, allow string
		ok                bool
		want              string
	}{
		{"all pass", passes + noTests, "", true, "1 passed, 0 failed, 0 skipped\n"},
		{"one fails", passes + fails, "", false, "1 passed, 1 failed, 0 skipped\n"},
		{"skip not allowed", passes + skips, "", false, "skipped (NOT ALLOWED): m/a/b TestC/x: needs root\n1 passed, 0 failed, 1 skipped\n"},
		{"skip allowed", passes + skips, "# why\na/b TestC/* CI is not root\n", true, "skipped (allowed): m/a/b TestC/x: needs root\n1 passed, 0 failed, 1 skipped\n"},
		{"skip of another test allowed", passes + skips, "a/b TestD reason\n", false, "skipped (NOT ALLOWED): m/a/b TestC/x: needs root\n1 passed, 0 failed, 1 skipped\n"},
		{"skip of another package allowed", passes + skips, "b/b TestC/x reason\n", false, "skipped (NOT ALLOWED): m/a/b TestC/x: needs root\n1 passed, 0 failed, 1 skipped\n"},
		{"does not compile", passes + broken, "", false, "1 passed, 1 failed, 0 skipped\n"},
		{"dies with two tests running", dies, "", false, "0 passed, 2 failed, 0 skipped\n"},
		{"figures", `{"Action":"run","Package":"m/t/kills","Test":"TestA"}` + "\n" + `{"Action":"output","Package":"m/t/kills","Test":"TestA","Output":"kills: 7 of 7\n"}` + "\n" + `{"Action":"output","Package":"m/t/kills","Test":"TestA","Output":"more kills: 7\n"}` + "\n" + `{"Action":"pass","Package":"m/t/kills","Test":"TestA"}` + "\n", "", true, "kills: 7 of 7\n1 passed, 0 failed, 0 skipped\n"},
		{"no test ran", noTests, "", false, "no test ran in json\n0 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			results, allow, report := filepath.Join(dir, "json"), filepath.Join(dir, "allow"), filepath.Join(dir, "report")
			for file, content := range map[string]string{results: test.json, allow: test.allow} {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			ok, err := run([]string{results}, allow, report, &out)
			if err != nil {
				t.Fatal(err)
			}
			if ok != test.ok || out.String() != test.want {
				t.Errorf("got %v and\n%swant %v and\n%s", ok, out.String(), test.ok, test.want)
			}
			copied, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			if string(copied) != test.want {
				t.Errorf("the copy has %q", copied)
			}
		})
	}
}

func TestFilesAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, none := filepath.Join(dir, "one.json"), filepath.Join(dir, "none.json")
	for file, content := range map[string]string{one: `{"Action":"pass","Package":"m/a","Test":"TestA"}`, none: ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if ok, err := run([]string{one, one}, "", "", &out); err != nil || !ok || out.String() != "2 passed, 0 failed, 0 skipped\n" {
		t.Errorf("two files: %v, %v, %q", ok, err, out.String())
	}
	out.Reset()
	if ok, err := run([]string{one, none}, "", "", &out); err != nil || ok || !strings.Contains(out.String(), "no test ran in none.json\n") {
		t.Errorf("a file without tests: %v, %v, %q", ok, err, out.String())
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	var r results
	if err := r.read(strings.NewReader("no json\n")); err == nil {
		t.Error("text that is not JSON was read")
	}
	for _, line := range []string{"a/b TestC", "a/b Test[ reason"} {
		if _, err := parseAllowed(line); err == nil {
			t.Errorf("the line %q was read", line)
		}
	}
}
