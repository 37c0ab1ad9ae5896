// Command testreport reads what `go test -json` wrote and says in one line how many tests passed, failed and were
// skipped. It lists every skipped test with its reason and fails when one is not on the list of allowed skips: a test that
// is silently not run proves nothing. It repeats what tests of whole processes say of their figures: the lines of their
// output that begin with the last element of their package's path and a colon.
//
//	testreport [-allow FILE] [-copy FILE] TEST.JSON...
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	allow := flag.String("allow", "", "`file` with the allowed skips")
	copyTo := flag.String("copy", "", "`file` that gets the report as well")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ok, err := run(flag.Args(), *allow, *copyTo, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(files []string, allow, copyTo string, out io.Writer) (bool, error) {
	var r results
	for _, name := range files {
		if err := r.readFile(name); err != nil {
			return false, fmt.Errorf("test results %s: %w", name, err)
		}
	}
	var allowed []allowance
	if allow != "" {
		text, err := os.ReadFile(allow)
		if err != nil {
			return false, fmt.Errorf("allowed skips: %w", err)
		}
		if allowed, err = parseAllowed(string(text)); err != nil {
			return false, fmt.Errorf("allowed skips %s: %w", allow, err)
		}
	}
	var report strings.Builder
	ok := r.write(&report, allowed)
	fmt.Fprint(out, report.String())
	if copyTo != "" {
		if err := os.WriteFile(copyTo, []byte(report.String()), 0o644); err != nil {
			return false, fmt.Errorf("copy of the report: %w", err)
		}
	}
	return ok, nil
}

// event is one line of `go test -json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// skip is one skipped test.
type skip struct {
	pkg, test string
	reason    string
}

// results count tests and subtests. A package that fails without a failed test (it does not compile, TestMain fails) is
// one failed test.
type results struct {
	passed, failed int
	skips          []skip
	figures        []string
	empty          []string // files in which no test ran
}

func (r *results) readFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	before := r.passed + r.failed
	if err := r.read(file); err != nil {
		return err
	}
	if r.passed+r.failed == before {
		r.empty = append(r.empty, filepath.Base(name))
	}
	return nil
}

func (r *results) read(from io.Reader) error {
	type key struct{ pkg, test string }
	output := make(map[key][]string)
	running := make(map[key]bool)
	failedIn := make(map[string]int)
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("%.80q: %w", lines.Text(), err)
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "run":
			running[k] = true
		case "output":
			if e.Test != "" {
				output[k] = append(output[k], e.Output)
			}
			if strings.HasPrefix(e.Output, path.Base(e.Package)+": ") {
				r.figures = append(r.figures, strings.TrimSpace(e.Output))
			}
			continue
		case "pass":
			if e.Test != "" {
				r.passed++
			}
		case "fail":
			if e.Test != "" {
				r.failed++
				failedIn[e.Package]++
				break
			}
			// Tests that began and did not end took the process with them.
			for k := range running {
				if k.pkg == e.Package {
					r.failed++
					failedIn[e.Package]++
				}
			}
			if failedIn[e.Package] == 0 {
				r.failed++
			}
		case "skip":
			if e.Test != "" { // without: a package without tests
				r.skips = append(r.skips, skip{e.Package, e.Test, reason(output[k])})
			}
		default:
			continue
		}
		if e.Action != "run" {
			delete(running, k)
			delete(output, k)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// reason is what a test said before it was skipped, without the position.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if position, text, ok := strings.Cut(line, ": "); ok && strings.Contains(position, ".go:") {
			line = text
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// allowance lets tests be skipped: a package relative to the module and a test, both patterns of path.Match per element.
type allowance struct{ pkg, test string }

// parseAllowed reads lines of package, test and reason. Empty lines and those that begin with # are comments.
func parseAllowed(text string) ([]allowance, error) {
	var allowed []allowance
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%q: want a package, a test and a reason", line)
		}
		for _, pattern := range fields[:2] {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("%q: %w", pattern, err)
			}
		}
		allowed = append(allowed, allowance{fields[0], fields[1]})
	}
	return allowed, nil
}

func (a allowance) allows(s skip) bool {
	pkg, _ := path.Match(a.pkg, s.pkg)
	if !pkg {
		pkg = strings.HasSuffix(s.pkg, "/"+a.pkg)
	}
	test, _ := path.Match(a.test, s.test)
	return pkg && test
}

// write reports and returns whether all is well.
func (r results) write(out io.Writer, allowed []allowance) bool {
	ok := r.failed == 0
	for _, s := range r.skips {
		verdict := "allowed"
		if !slices.ContainsFunc(allowed, func(a allowance) bool { return a.allows(s) }) {
			verdict, ok = "NOT ALLOWED", false
		}
		fmt.Fprintf(out, "skipped (%s): %s %s: %s\n", verdict, s.pkg, s.test, s.reason)
	}
	for _, name := range r.empty {
		fmt.Fprintln(out, "no test ran in "+name)
		ok = false
	}
	for _, line := range r.figures {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, r.summary())
	return ok
}

func (r results) summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, r.failed, len(r.skips))
}
