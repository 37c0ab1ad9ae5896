package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/mutant/hunt"
	"github.com/continuo-dev/continuo/internal/sim"
)

// mutants is the command `continuo-sim mutants`: it plants defects and shows what finds them. It runs at the root of the
// module, and needs the go command. With -seek it is the part of that which simulates, in a program built with the tag
// mutants.
func mutants(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ExitOnError)
	only := flags.String("only", "", "hunt these mutants, with commas between; default all")
	write := flags.String("write", "", "put the table of what was found into this document")
	limit := flags.Duration("limit", time.Minute, "time that a mutant may take to be found")
	simulate := flags.Duration("simulate", 0, "part of that for the simulator, the rest is for tests; 0: a third of it, negative: none")
	list := flags.Bool("list", false, "say what mutants there are")
	seek := flags.Duration("seek", 0, "simulate seeds for so long, until one fails")
	first := flags.Uint64("first", 1, "with -seek: the first seed")
	seeds := flags.Uint64("seeds", 0, "with -seek: how many seeds; 0: as many as there is time for")
	_ = flags.Parse(args) // it exits
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("mutants takes no %q, only flags: -only %s", flags.Arg(0), flags.Arg(0))
	case *seek > 0:
		prepare(1)
		return seekMutant(out, *first, *seeds, *seek)
	case *list:
		for _, m := range mutant.Catalogue() {
			fmt.Fprintf(out, "%-30s %s\n", m.Name, m.Broken)
		}
		return nil
	}
	chosen, err := chooseMutants(*only)
	if err != nil {
		return err
	}
	if *write != "" && *only != "" {
		return errors.New("-write writes the table of all mutants: leave -only out")
	}
	return huntMutants(out, chosen, *write, hunt.Options{Limit: *limit, Simulate: *simulate})
}

func chooseMutants(only string) ([]mutant.Mutant, error) {
	all := mutant.Catalogue()
	if only == "" {
		return all, nil
	}
	var chosen []mutant.Mutant
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(m mutant.Mutant) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no mutant is called %q; continuo-sim mutants -list says what there are", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func huntMutants(out io.Writer, chosen []mutant.Mutant, write string, o hunt.Options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hunter, err := hunt.New(ctx, ".", dir, o)
	if err != nil {
		return err
	}
	var all []hunt.Found
	var missed []string
	for _, m := range chosen {
		found, err := hunter.Hunt(ctx, m)
		if err != nil {
			return fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		if found.By == "" {
			missed = append(missed, m.Name)
		}
		fmt.Fprintf(out, "%-30s %5.1f s  %s%s\n", m.Name, found.Took.Seconds(), found.By, ofSeed(found))
		all = append(all, found)
	}
	if write != "" {
		if err := hunt.WriteTable(write, all); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "mutants: %s\n", hunt.Summary(all))
	if len(missed)*25 > len(all) {
		return fmt.Errorf("nothing finds %s", strings.Join(missed, ", "))
	}
	return nil
}

func ofSeed(f hunt.Found) string {
	switch {
	case f.By == "":
		return "NOT FOUND"
	case f.Seed > 0:
		return fmt.Sprintf(" (seed %d, after %d)", f.Seed, f.Seeds)
	}
	return ""
}

// errSought is the end of a search that found something, so that the exit code tells.
var errSought = errors.New("a seed failed")

func seekMutant(out io.Writer, first, seeds uint64, limit time.Duration) error {
	simulation := func(seed uint64) []string { return sim.Run(seed, sim.Options{}).Violations }
	if hunt.Seek(simulation, first, seeds, limit, func(line string) { fmt.Fprintln(out, line) }) {
		return errSought
	}
	return nil
}
