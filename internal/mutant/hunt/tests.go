package hunt

import (
	"context"
	"errors"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// users are packages whose tests show what another package does, where that is more than its own.
var users = map[string][]string{
	"services/engine/machine":       {"services/engine"},
	"services/scheduler/matcher":    {"services/scheduler"},
	"services/scheduler/wheel":      {"services/scheduler"},
	"services/projector/projection": {"services/projector"},
	"services/gateway/sessions":     {"services/gateway"},
	"internal/journal/mailbox":      {"internal/adapter/memory"},
	"internal/replay":               {"pkg/sdk/flow"},
	"internal/adapter/memory":       {"services/engine", "services/scheduler"},
	"services/projector":            {"internal/adapter/memory"},
	"pkg/sdk/worker":                {"services/gateway"},
	"pkg/sdk/flow":                  {"pkg/sdk/flowtest"},
	"pkg/events":                    {"services/engine/machine"},
}

// testsOf returns the packages whose tests look for a mutant, in the order in which they do.
func testsOf(m mutant.Mutant) []string {
	own := path.Dir(m.File)
	return slices.Concat([]string{own}, users[own])
}

// test runs the tests of a package and returns the name of one that failed.
func (h *Hunter) test(ctx context.Context, m mutant.Mutant, name string, limit time.Duration) (string, error) {
	p, ok := h.packages[name]
	if !ok {
		return "", errors.New("the hunter was made without the tests of " + name)
	}
	if err := h.passes(ctx, "the tests of "+name, p.dir, p.path, p.args...); err != nil {
		return "", err
	}
	args := slices.Concat([]string{"-test.failfast", "-test.timeout", max(limit, 5*time.Second).Round(time.Second).String()}, p.args)
	output, err := run(ctx, limit+10*time.Second, m.Name, p.dir, p.path, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit), errors.Is(err, context.DeadlineExceeded):
		return failed(output), nil
	}
	return "", err
}

var (
	failLine    = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	runningLine = regexp.MustCompile(`(?m)^\trunning tests:\n\t\t(\S+)`)
)

// failed names the test that a failed program tells of: the innermost one of the first that failed.
func failed(output string) string {
	if m := runningLine.FindStringSubmatch(output); m != nil {
		return m[1] + " (hangs)"
	}
	var name string
	for _, m := range failLine.FindAllStringSubmatch(output, -1) {
		if name == "" || strings.HasPrefix(m[1], name+"/") {
			name = m[1]
		}
	}
	switch {
	case name != "":
		return name
	case strings.Contains(output, "found unexpected goroutines"):
		return "(goroutines left behind)"
	case strings.Contains(output, "panic: "):
		return "(panic)"
	}
	return "(no test is named)"
}
