package hunt

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// What `continuo-sim mutants -seek` prints: a line "seed N" before each seed, and then what ended it.
const (
	seedLine  = "seed "
	foundLine = "found "
)

// seedPatience is how long a seed may go on after the time of the simulator is over.
const seedPatience = 15 * time.Second

// simulate runs seeds from 1 on until a check fails.
func (h *Hunter) simulate(ctx context.Context, m mutant.Mutant) (Found, error) {
	if !slices.Contains(h.simulated, module+path.Dir(m.File)) {
		return Found{}, nil
	}
	limit := h.options.Simulate
	output, took, err := run(ctx, limit+seedPatience, m.Name, h.root, h.Simulator(), "mutants", "-seek", limit.String())
	by, seed, seeds := readSeek(output)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Found{}, ctx.Err()
	case err == nil && by == "":
		return Found{Took: took}, nil
	case by != "": // a check failed
	case errors.Is(err, context.DeadlineExceeded) && seed > 0:
		by = "the seed does not end"
	case errors.As(err, &exit) && seed > 0 && strings.Contains(output, "panic: "):
		by = "panic"
	case errors.As(err, &exit) && seed > 0 && strings.Contains(output, "fatal error: "):
		by = "fatal error"
	default:
		return Found{}, fmt.Errorf("the simulator with %s: %w\n%s", m.Name, err, tail(output, 20))
	}
	return Found{By: "simulation: " + by, Seed: seed, Seeds: seeds, Took: took, again: func(ctx context.Context) error {
		args := []string{"mutants", "-seek", "1m", "-first", strconv.FormatUint(seed, 10), "-seeds", "1"}
		return h.passes(ctx, fmt.Sprintf("seed %d", seed), h.root, h.Simulator(), args...)
	}}, nil
}

// readSeek reads what the simulator printed: the last seed it began, how many that were, and what was found.
func readSeek(output string) (by string, seed, seeds uint64) {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, seedLine); ok {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				seed = n
				seeds++
			}
		} else if text, ok := strings.CutPrefix(line, foundLine); ok && by == "" {
			by = text
		}
	}
	return by, seed, seeds
}

// Simulation is one seed: it returns the violations that it found.
type Simulation func(seed uint64) (violations []string)

// Seek is the part of a hunt that runs in the simulator's own process: it simulates seeds from first on, at most so many (0:
// no bound), until one finds something or the time is over, and tells the hunter by say. It reports whether one did.
func Seek(simulate Simulation, first, seeds uint64, limit time.Duration, say func(line string)) bool {
	began := time.Now()                                                               //nolint:forbidigo // as long as the hunter lets it
	for n := uint64(0); (seeds == 0 || n < seeds) && time.Since(began) < limit; n++ { //nolint:forbidigo // as above
		say(seedLine + strconv.FormatUint(first+n, 10))
		if violations := simulate(first + n); len(violations) > 0 {
			say(foundLine + headline(violations[0]))
			return true
		}
	}
	return false
}

var numbers = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+`)

// headline shortens a violation to the name of its check: what comes before the first colon.
func headline(violation string) string {
	name, _, _ := strings.Cut(violation, ":")
	name, _, _ = strings.Cut(name, "\n")
	name = numbers.ReplaceAllString(name, "…")
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return name
}
