package hunt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	"internal/brokerlog/fold":       {"internal/sim/fencing"},
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

// testPatience is how long the tests of a package may take before they count as hanging; without a mutant they take seconds.
const testPatience = 40 * time.Second

// before are tests to try before all others of the package, for mutants that make one of those hang.
var before = map[mutant.ID]string{mutant.SyncSkipped: "^TestJournal$"}

// test runs the tests of a package until one fails.
func (h *Hunter) test(ctx context.Context, m mutant.Mutant, name string, limit time.Duration) (Found, error) {
	if some, ok := before[m.ID]; ok {
		found, err := h.tests(ctx, m, name, limit, "-test.run", some)
		if err != nil || found.By != "" {
			return found, err
		}
		limit -= found.Took
	}
	return h.tests(ctx, m, name, limit)
}

func (h *Hunter) tests(ctx context.Context, m mutant.Mutant, name string, limit time.Duration, which ...string) (Found, error) {
	p, err := h.program(ctx, name)
	if err != nil {
		return Found{}, err
	}
	limit = min(limit, testPatience)
	args := slices.Concat([]string{"-test.failfast", "-test.timeout", limit.String()}, p.args, which)
	output, took, err := run(ctx, limit+5*time.Second, m.Name, p.dir, p.path, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Found{Took: took}, nil
	case ctx.Err() != nil:
		return Found{}, ctx.Err()
	case !errors.As(err, &exit) && !errors.Is(err, context.DeadlineExceeded):
		return Found{}, fmt.Errorf("the tests of %s: %w", name, err)
	}
	test, how := failed(output)
	return Found{By: name + " " + cmp.Or(test, "(which is not told)") + how, Took: took, again: func(ctx context.Context) error {
		top, _, _ := strings.Cut(test, "/")
		args := slices.Concat(p.args, []string{"-test.timeout", "2m", "-test.run", "^" + regexp.QuoteMeta(top) + "$"})
		if top == "" {
			args = p.args
		}
		return h.passes(ctx, name+" "+top, p.dir, p.path, args...)
	}}, nil
}

var (
	failLine    = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	runningLine = regexp.MustCompile(`(?m)^\trunning tests:\n\t\t(\S+)`)
)

// failed names the test that a failed program tells of, "" if it tells of none, and how it failed if not as usual: the
// innermost one of the first that failed, or the first that was running when the time was over.
func failed(output string) (test, how string) {
	if m := runningLine.FindStringSubmatch(output); m != nil {
		return m[1], " (hangs)"
	}
	for _, m := range failLine.FindAllStringSubmatch(output, -1) {
		if test == "" || strings.HasPrefix(m[1], test+"/") {
			test = m[1]
		}
	}
	switch {
	case strings.Contains(output, "found unexpected goroutines") && test == "":
		how = " (goroutines left behind)"
	case strings.Contains(output, "panic: ") && test == "":
		how = " (panic)"
	}
	return test, how
}
