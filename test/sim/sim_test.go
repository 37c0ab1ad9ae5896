// Package sim runs seeds of the simulator and checks that a seed is one run, on every build.
package sim

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/sim"
)

var (
	seeds    = flag.Uint64("seeds", 240, "number of seeds; 0 for as many as fit into -for")
	bound    = flag.Duration("for", time.Minute, "how long seeds are run, at most; 0 for no bound")
	from     = flag.Uint64("from", 1_000, "the first seed")
	verified = flag.Uint64("verify", 8, "seeds that are run by four builds and settings; their hashes have to agree")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(1500) // seeds are short-lived: memory is cheaper than collecting it
	debug.SetMemoryLimit(1 << 29)
	os.Exit(m.Run())
}

// TestSeeds runs the seeds that have shown bugs, then others.
func TestSeeds(t *testing.T) { //nolint:paralleltest // it is bounded in time and wants the processors
	began := time.Now()
	for _, n := range sim.Regressions {
		if r := sim.Run(n, sim.Options{}); r.Failed() {
			sim.Explain(os.Stdout, r, sim.Options{})
			t.Errorf("seed %d, which has shown a bug before, fails", n)
		}
	}
	sum := sim.Campaign{From: *from, Seeds: *seeds, For: *bound, Parallel: 2}.Run()
	if sum.First != nil {
		sim.Explain(os.Stdout, *sum.First, sim.Options{})
		t.Errorf("%d seeds fail; %d is the first", sum.Failed, sum.First.Seed)
	}
	if sum.Steps == 0 {
		t.Error("no record was made: the simulator is idle")
	}
	large := 0
	for _, n := range sum.Batches[4:] {
		large += n
	}
	if sum.Seeds >= 100 && large*20 < sum.Steps {
		t.Errorf("of %d records %d came in commits of 16 and more: batches of many runs are hardly tried", sum.Steps, large)
	}
	fmt.Printf("sim: %d seeds, %d records, %d runs in %v, %.1f records a commit, %d seeds with violations\n",
		sum.Seeds, sum.Steps, sum.Runs, time.Since(began).Round(time.Second), float64(sum.Steps)/float64(sum.Commits), sum.Failed)
}

// TestDeterministic: the same seeds have the same hash with and without the race detector, on one processor and on two.
func TestDeterministic(t *testing.T) { //nolint:paralleltest // it wants the processors
	dir := t.TempDir()
	plain, err := child.Build(t.Context(), dir, "./cmd/continuo-sim")
	if err != nil {
		t.Fatal(err)
	}
	raced, err := child.Build(t.Context(), dir+"/race", "./cmd/continuo-sim", "-race")
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for _, run := range []struct{ binary, procs string }{{plain, "1"}, {plain, "2"}, {raced, "1"}, {raced, "2"}} {
		command := exec.CommandContext(t.Context(), run.binary, "verify", "-seeds", fmt.Sprint(*verified))
		command.Env = append(os.Environ(), "GOMAXPROCS="+run.procs)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", run.binary, err, out)
		}
		hashes = append(hashes, strings.TrimSpace(string(out)))
	}
	for _, h := range hashes[1:] {
		if h != hashes[0] {
			t.Errorf("the same seeds give %q and %q", hashes[0], h)
		}
	}
	fmt.Printf("sim: %d seeds × {1, 2 processors} × {plain, race}: %s\n", *verified, hashes[0])
}
