// Package mutants shows that planted defects are found, and that what ships has none.
package mutants

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/mutant/hunt"
)

var (
	all      = flag.Bool("all", false, "hunt every mutant, not only those of each run")
	only     = flag.String("only", "", "hunt these mutants, with commas between")
	limit    = flag.Duration("limit", time.Minute, "time that a mutant may take to be found")
	simulate = flag.Duration("simulate", 5*time.Second, "part of that for the simulator; negative: none; 0: a third")
)

const root = "../.."

// everyRun are mutants of different places that something finds in seconds: six of them the simulator, two the tests of a
// package.
var everyRun = []string{
	"checkpoint-forgets-idle-runs", "attempt-reused", "lose-signal-at-completion", "scheduler-resumes-late", "lost-treated-as-kept",
	"torn-step", "body-checksum-ignored", "blob-hash-ignored",
}

func chosen(t *testing.T) []mutant.Mutant {
	names := everyRun
	if *only != "" {
		names = strings.Split(*only, ",")
	}
	var mutants []mutant.Mutant
	for _, m := range mutant.Catalogue() {
		if i := slices.Index(names, m.Name); i >= 0 || *all {
			mutants = append(mutants, m)
		}
	}
	if !*all && len(mutants) != len(names) {
		t.Fatalf("the catalogue does not have all of %v", names)
	}
	return mutants
}

// Every chosen mutant is found.
func TestMutantsAreFound(t *testing.T) {
	t.Parallel()
	began, mutants := time.Now(), chosen(t)
	h, err := hunt.New(t.Context(), root, t.TempDir(), hunt.Options{Limit: *limit, Simulate: *simulate})
	if err != nil {
		t.Fatal(err)
	}
	var found []hunt.Found
	for _, m := range mutants {
		f, err := h.Hunt(t.Context(), m)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if found = append(found, f); f.By == "" {
			t.Errorf("nothing finds %s: %s", m.Name, m.Broken)
		}
		t.Logf("%-30s %5.1f s  %s, seed %d", m.Name, f.Took.Seconds(), f.By, f.Seed)
	}
	fmt.Printf("mutants: %s; %.0f s in all\n", hunt.Summary(found), time.Since(began).Seconds())
	if *simulate >= 0 && len(ofMutants(t, h.Simulator())) == 0 {
		t.Error("a program with mutants shows nothing of them: the check of the ordinary build would see nothing either")
	}
}

// What ships has neither guards nor catalogue: every call of On is inlined, and what it guards is gone with it.
func TestOrdinaryBuildHasNone(t *testing.T) {
	t.Parallel()
	path, err := child.Build(t.Context(), t.TempDir(), "./cmd/continuo")
	if err != nil {
		t.Fatal(err)
	}
	if symbols := ofMutants(t, path); len(symbols) > 0 {
		t.Errorf("it has %q", symbols)
	}
}

// ofMutants returns what a program has of internal/mutant: symbols, the variable that chooses, a name of the catalogue.
func ofMutants(t *testing.T, path string) (found []string) {
	t.Helper()
	symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", path).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	for line := range bytes.Lines(symbols) {
		if bytes.Contains(line, []byte("internal/mutant.")) {
			found = append(found, string(bytes.TrimSpace(line)))
		}
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{mutant.Variable, mutant.Catalogue()[0].Name} {
		if bytes.Contains(program, []byte(text)) {
			found = append(found, text)
		}
	}
	return found
}

// The table in the docs is of the mutants there are.
func TestTableIsOfTheCatalogue(t *testing.T) {
	t.Parallel()
	if err := hunt.CheckTable(filepath.Join(root, "docs/internals/simulation.md")); err != nil {
		t.Error(err)
	}
}
