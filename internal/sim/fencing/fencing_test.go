package fencing_test

import (
	"cmp"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/sim/fencing"
)

var schedules = flag.Int("schedules", 5_000, "how many schedules to simulate")

// Nothing is violated in any schedule, and every planted loss is noticed.
//
//nolint:paralleltest // the test beside it chooses mutants for the whole process
func TestFencing(t *testing.T) {
	var sum fencing.Counts
	done, bad, began := 0, 0, time.Now()
	for seed := range uint64(*schedules) {
		counts, violation := fencing.Run(seed)
		sum.Add(counts)
		done++
		if violation != "" {
			t.Errorf("schedule %d: %s", seed, violation)
			if bad++; bad == 3 {
				break
			}
		}
	}
	fmt.Printf("fencing: %d schedules, %d violations, in %s\n", done, bad, time.Since(began).Round(100*time.Millisecond))
	fmt.Printf("fencing: %+v\n", sum)
}

// patience is how many schedules a planted bug may take to be found.
const patience = 2_000

// Each rule of the protocol that is left out is found. An ordinary build has no such bugs, so it builds itself once more,
// with the tag mutants.
//
//nolint:paralleltest // it chooses mutants for the whole process
func TestFencingFindsPlantedBugs(t *testing.T) {
	if !mutant.Built {
		program := filepath.Join(t.TempDir(), "fencing.test")
		run := func(name string, args ...string) {
			output, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
			for line := range strings.Lines(string(output)) {
				if err != nil || strings.HasPrefix(line, "fencing:") {
					fmt.Print(line)
				}
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		run("go", "test", "-tags", "mutants", "-c", "-o", program, ".")
		run(program, "-test.run", "^TestFencingFindsPlantedBugs$")
		return
	}
	if mutant.Chosen() != "" {
		t.Skip("a mutant is chosen by the environment")
	}
	t.Cleanup(func() { _ = mutant.Set("") })
	planted, found := 0, 0
	for _, m := range mutant.Catalogue() {
		if !strings.HasPrefix(m.File, "internal/brokerlog/fold/") {
			continue
		}
		planted++
		if err := mutant.Set(m.Name); err != nil {
			t.Fatal(err)
		}
		violation, seed := "", uint64(0)
		for ; violation == "" && seed < patience; seed++ {
			_, violation = fencing.Run(seed)
		}
		if violation != "" {
			found++
		} else {
			t.Errorf("%s is not found", m.Name)
		}
		fmt.Printf("fencing: %-27s schedule %d: %s\n", m.Name, seed-1, cmp.Or(violation, "not found"))
	}
	fmt.Printf("fencing: planted bugs found: %d of %d\n", found, planted)
}
