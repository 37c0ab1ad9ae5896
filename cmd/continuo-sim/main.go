// Command continuo-sim runs the suite in virtual time with faults, and checks what it promises: a test tool, see
// docs/internals/simulation.md.
//
//	continuo-sim run -seeds 2000 -time 6m -workers 2     many seeds; the last line sums up
//	continuo-sim seed -n 17 -v                           one seed, with everything that happens in it
//	continuo-sim verify -seeds 100                       one hash over all seeds: the same on every machine and build
//	continuo-sim mutants                                 plants bugs and shows what finds them
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/sim"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: continuo-sim run|seed|verify|mutants [flags]; -h after a command lists its flags")
		os.Exit(2)
	}
	commands := map[string]func([]string, io.Writer) error{"run": run, "seed": seed, "verify": verify, "mutants": mutants}
	command := commands[os.Args[1]]
	if command == nil {
		fmt.Fprintf(os.Stderr, "continuo-sim has no command %q; it has run, seed, verify and mutants\n", os.Args[1])
		os.Exit(2)
	}
	if err := command(os.Args[2:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are the flags that narrow a seed.
func options(flags *flag.FlagSet) func() (sim.Options, error) {
	faults := flags.String("faults", "", "the kinds of faults that may happen, with commas between; all, none, or \"\" for those that each seed chooses")
	workflows := flags.Int("workflows", 0, "most workflows per seed; 0 for as many as the seed wants")
	storm := flags.Duration("storm", 0, "most virtual time in which faults happen; 0 for as long as the seed wants")
	return func() (sim.Options, error) {
		o := sim.Options{Workflows: *workflows, Storm: *storm}
		var err error
		o.Faults, err = sim.ParseFaults(*faults)
		o.NoFaults = *faults == "none"
		return o, err
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	seeds := flags.Uint64("seeds", 0, "how many seeds; 0 for as many as fit into -time")
	bound := flags.Duration("time", time.Minute, "how long, at most; 0 for no bound")
	from := flags.Uint64("from", 0, "the first seed")
	workers := flags.Int("workers", 1, "seeds that run at a time")
	profile := flags.String("cpuprofile", "", "file to write a profile of the processor's time to")
	narrowed := options(flags)
	_ = flags.Parse(args) // it exits
	o, err := narrowed()
	if err != nil {
		return err
	}
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	prepare(*workers)
	runtime.GOMAXPROCS(min(max(*workers, 1), runtime.GOMAXPROCS(0))) // an idle processor costs time, too: it looks for work
	began, spent := time.Now(), cpu()
	campaign := sim.Campaign{From: *from, Seeds: *seeds, For: *bound, Parallel: *workers, Options: o}
	sum := campaign.Run()
	if sum.First != nil {
		sim.Explain(out, *sum.First, o)
	}
	fmt.Fprintf(out, "sim: %.1f records a commit; of them by the size of their commit, from: %s\n", float64(sum.Steps)/float64(max(sum.Commits, 1)), sum.Batches)
	fmt.Fprintf(out, "sim: %d seeds, %d steps in %v, %.0f steps/s per core, %d seeds with violations\n",
		sum.Seeds, sum.Steps, time.Since(began).Round(time.Second), float64(sum.Steps)/(cpu()-spent).Seconds(), sum.Failed)
	if sum.Failed > 0 {
		return fmt.Errorf("seeds with violations: %d", sum.FailedSeeds)
	}
	return nil
}

func seed(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("seed", flag.ExitOnError)
	n := flags.Uint64("n", 0, "the seed")
	verbose := flags.Bool("v", false, "show everything that happens")
	narrowed := options(flags)
	_ = flags.Parse(args) // it exits
	o, err := narrowed()
	if err != nil {
		return err
	}
	if *verbose {
		o.Trace = func(line string) { fmt.Fprintln(out, line) }
	}
	prepare(1)
	o.Hash = true
	r := sim.Run(*n, o)
	for _, v := range r.Violations {
		fmt.Fprintf(out, "violation: %s\n", v)
	}
	fmt.Fprintf(out, "seed %d: %d steps, hash %016x, %d of %d runs ended in %v, faults %s %v, %d violations\n",
		r.Seed, r.Steps, r.Hash, r.Ended, r.Runs, r.Virtual.Round(time.Second), r.Faults, r.Happened, len(r.Violations))
	if r.Failed() {
		return fmt.Errorf("seed %d failed", *n)
	}
	return nil
}

func verify(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("verify", flag.ExitOnError)
	seeds := flags.Uint64("seeds", 100, "how many seeds")
	from := flags.Uint64("from", 0, "the first seed")
	want := flags.String("want", "", "the hash that another build or machine had")
	each := flags.Bool("each", false, "show the hash of every seed")
	_ = flags.Parse(args) // it exits
	prepare(1)
	campaign := sim.Campaign{From: *from, Seeds: *seeds, Options: sim.Options{Hash: true}}
	if *each {
		campaign.Each = func(r sim.Result) { fmt.Fprintf(out, "%d %016x %d\n", r.Seed, r.Hash, r.Steps) }
	}
	sum := campaign.Run()
	hash := fmt.Sprintf("%016x", sum.Hash)
	fmt.Fprintf(out, "verify: %d seeds, %d steps, hash %s\n", sum.Seeds, sum.Steps, hash)
	if *want != "" && *want != hash {
		return fmt.Errorf("the hash is %s and %s was to be had: seeds are not the same in both builds; compare them with -each", hash, *want)
	}
	return nil
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
