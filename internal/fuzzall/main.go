// Command fuzzall runs every fuzz test of the module for some time, several at a time, and says in one line what came out.
//
//	go run ./internal/fuzzall -time 10s [-at 2] [packages]
//
// A crasher is kept as a file of the package's corpus (testdata/fuzz), where every later run of its tests has it; the program
// fails then. Each fuzz test has one worker, because as many as there are processors run side by side.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	length := flag.Duration("time", 10*time.Second, "how long each fuzz test runs")
	at := flag.Int("at", runtime.NumCPU(), "how many run at a time")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *length, *at, packages); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(1)
	}
}

// target is one fuzz test, in the test program of its package.
type target struct {
	pkg, dir, program, name string
}

// outcome is what its run said.
type outcome struct {
	target
	execs  int64
	output string
	err    error
}

func run(ctx context.Context, out io.Writer, length time.Duration, at int, packages []string) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "fuzzall-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	targets, err := build(ctx, dir, packages)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("there is no fuzz test")
	}
	var (
		all      sync.WaitGroup
		free     = make(chan struct{}, max(at, 1))
		outcomes = make([]outcome, len(targets))
	)
	for i, t := range targets {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			outcomes[i] = fuzz(ctx, t, dir, length)
		})
	}
	all.Wait()
	return report(out, outcomes, length, time.Since(began))
}

func report(out io.Writer, outcomes []outcome, length, took time.Duration) error {
	execs, failed := int64(0), 0
	for _, o := range outcomes {
		execs += o.execs
		_, _ = fmt.Fprintf(out, "%-42s %-24s %11d executions\n", o.pkg, o.name, o.execs)
		if o.err != nil {
			failed++
			_, _ = fmt.Fprintf(out, "FAILED: %v\n%s\n", o.err, o.output)
		}
	}
	_, _ = fmt.Fprintf(out, "fuzz: %d targets for %s each, %d executions, %d crashers, in %s\n", len(outcomes), length, execs, failed, took.Round(time.Second))
	if failed > 0 {
		return fmt.Errorf("%d of %d fuzz tests failed", failed, len(outcomes))
	}
	return nil
}

// instrumented makes the compiler count what the module's own packages execute, which guides fuzzing. go test -fuzz does so for
// all packages down to the standard library; that takes minutes to build, and what is found in those is not ours.
const instrumented = "github.com/continuo-dev/continuo/...=-d=libfuzzer"

var declared = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

// build finds the fuzz tests and builds the test program of each package that has some.
func build(ctx context.Context, dir string, packages []string) ([]target, error) {
	const each = `{{.ImportPath}}{{"\t"}}{{.Dir}}{{range .TestGoFiles}}{{"\t"}}{{.}}{{end}}{{range .XTestGoFiles}}{{"\t"}}{{.}}{{end}}`
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", each}, packages...)...)
	list.Stderr = os.Stderr
	lines, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var targets []target
	for line := range strings.Lines(string(lines)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		program, names := filepath.Join(dir, strconv.Itoa(len(targets))+".test"), []string(nil)
		for _, file := range fields[2:] {
			source, err := os.ReadFile(filepath.Join(fields[1], file))
			if err != nil {
				return nil, err
			}
			for _, found := range declared.FindAllSubmatch(source, -1) {
				names = append(names, string(found[1]))
			}
		}
		if len(names) == 0 {
			continue
		}
		command := exec.CommandContext(ctx, "go", "test", "-c", "-gcflags="+instrumented, "-o", program, fields[0])
		if said, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", fields[0], err, said)
		}
		for _, name := range names {
			targets = append(targets, target{pkg: fields[0], dir: fields[1], program: program, name: name})
		}
	}
	return targets, nil
}

// fuzz runs one fuzz test in the directory of its package, as go test does. What it finds interesting is kept in the build
// cache for the next run.
func fuzz(ctx context.Context, t target, dir string, length time.Duration) outcome {
	o := outcome{target: t}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = dir
	}
	command := exec.CommandContext(ctx, t.program,
		"-test.run=^$", "-test.fuzz=^"+t.name+"$", "-test.fuzztime="+length.String(), "-test.parallel=1",
		"-test.fuzzcachedir="+filepath.Join(cache, "continuo", "fuzz", filepath.FromSlash(t.pkg)))
	command.Dir = t.dir
	output, err := command.CombinedOutput()
	o.execs = executions(output)
	if err != nil && !ranOut(output) {
		o.err = fmt.Errorf("%s %s: %w", t.pkg, t.name, err)
		o.output = string(output)
	}
	return o
}

// ranOut reports whether a fuzz test failed only because its time was up in the middle of an input, as the testing package has
// it on a busy machine: a crasher is always written down.
func ranOut(output []byte) bool {
	return bytes.Contains(output, []byte("\n    context deadline exceeded\n")) && !bytes.Contains(output, []byte("Failing input written to"))
}

var counted = regexp.MustCompile(`execs: (\d+)`)

// executions reads the last count that a fuzz test has said.
func executions(output []byte) (n int64) {
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		if found := counted.FindSubmatch(lines.Bytes()); found != nil {
			n, _ = strconv.ParseInt(string(found[1]), 10, 64)
		}
	}
	return n
}
