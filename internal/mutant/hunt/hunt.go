// Package hunt shows that planted defects are found: it builds the simulator and the test programs of packages once, with
// the tag mutants, and runs them with one mutant after the other until something fails.
//
// A failure counts only if the same test, or the same seed, passes without a mutant.
package hunt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
)

const (
	module    = "github.com/continuo-dev/continuo/"
	simulator = "cmd/continuo-sim"
)

// Options of a hunter. Zero fields mean the defaults.
type Options struct {
	// Limit is the time that a mutant may take to be found; default 60 s.
	Limit time.Duration
	// Simulate is the part of Limit that belongs to the simulator; default a third, below 0 nothing. What it leaves is for tests.
	Simulate time.Duration
}

// Found tells how a mutant was found.
type Found struct {
	Mutant mutant.Mutant
	// By names what failed: a check of the simulator or a test. Empty means that nothing did within the limit.
	By string
	// Seed is the seed of the simulator that showed it, the Seeds-th that was tried; both are 0 when a test did.
	Seed, Seeds uint64
	Took        time.Duration

	again func(context.Context) error // does the same without a mutant
}

// Hunter has the programs that look for mutants. Its methods may be called by several goroutines.
type Hunter struct {
	root, dir string
	options   Options
	simulated []string // the packages that the simulator has

	mu       sync.Mutex // guards the rest, and is held while something is built
	packages map[string]*program
	clean    map[string]error // what was run without a mutant, by command line
}

// program is the test program of a package.
type program struct {
	path string
	dir  string   // of the package, where its tests expect to run
	args []string // that keep it from leaving files behind
}

// New builds the simulator of the module at root into dir. The tests of a package are built when they are needed for the
// first time.
func New(ctx context.Context, root, dir string, o Options) (*Hunter, error) {
	if o.Limit == 0 {
		o.Limit = time.Minute
	}
	if o.Simulate == 0 {
		o.Simulate = o.Limit / 3
	}
	h := &Hunter{root: root, dir: dir, options: o, packages: map[string]*program{}, clean: map[string]error{}}
	if o.Simulate < 0 {
		return h, nil
	}
	if err := h.build(ctx, "build", h.Simulator(), simulator); err != nil {
		return nil, err
	}
	list := exec.CommandContext(ctx, "go", "list", "-deps", module+simulator)
	list.Dir = root
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("packages of the simulator: %w", err)
	}
	h.simulated = strings.Fields(string(output))
	return h, nil
}

// program returns the test program of a package.
func (h *Hunter) program(ctx context.Context, name string) (*program, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.packages[name]; p != nil {
		return p, nil
	}
	p := &program{path: filepath.Join(h.dir, strings.ReplaceAll(name, "/", "-")+".test"), dir: filepath.Join(h.root, name)}
	files, err := filepath.Glob(filepath.Join(p.dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s has no tests", name))
	}
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(code, []byte(`"pgregory.net/rapid"`)) {
			p.args = []string{"-rapid.nofailfile"} // failures would be kept in testdata
		}
	}
	if err := h.build(ctx, "test", p.path, name, "-c"); err != nil {
		return nil, err
	}
	h.packages[name] = p
	return p, nil
}

// Simulator is the path of the simulator, built with mutants.
func (h *Hunter) Simulator() string { return filepath.Join(h.dir, filepath.Base(simulator)) }

func (h *Hunter) build(ctx context.Context, verb, out, pkg string, flags ...string) error {
	args := append(append([]string{verb, "-tags", "mutants", "-o", out}, flags...), module+pkg)
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = h.root
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return nil
}

// Hunt looks for a mutant until something finds it or its time is over, which does not count what has to be built. An error
// says that there was no hunt: a program did not run, or what failed does so without a mutant, too.
func (h *Hunter) Hunt(ctx context.Context, m mutant.Mutant) (Found, error) {
	found, err := h.simulate(ctx, m)
	took := found.Took
	for _, name := range testsOf(m) {
		if left := h.options.Limit - took; err == nil && found.By == "" && left > time.Second {
			found, err = h.test(ctx, m, name, left)
			took += found.Took
		}
	}
	found.Mutant, found.Took = m, took
	if err == nil && found.again != nil {
		err = found.again(ctx)
	}
	return found, err
}

// run runs a program with a mutant, "" meaning none, and returns its output and how long it took. The error is that of its
// exit.
func run(ctx context.Context, limit time.Duration, name, dir, path string, args ...string) (output string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), mutant.Variable+"="+name)
	c.WaitDelay = time.Second // what it started may hold its output open
	began := time.Now()       //nolint:forbidigo // of a real process
	out, err := c.CombinedOutput()
	took = time.Since(began) //nolint:forbidigo // as above
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), took, err
}

// passes reports that a command line passes without a mutant; it is tried once.
func (h *Hunter) passes(ctx context.Context, what, dir, path string, args ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := path + " " + strings.Join(args, " ")
	err, known := h.clean[line]
	if !known {
		var output string
		if output, _, err = run(ctx, 3*time.Minute, "", dir, path, args...); err != nil {
			err = fmt.Errorf("%s fails without a mutant, too: %w\n%s", what, err, tail(output, 40))
		}
		h.clean[line] = err
	}
	return err
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
