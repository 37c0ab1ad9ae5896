package sim

import (
	"fmt"
	"io"
	"strings"
)

// Explain shows a failed seed: what was found, the least that still fails, the end of its trace, and how to run it again.
func Explain(out io.Writer, r Result, o Options) {
	fmt.Fprintf(out, "seed %d failed; looking for the least that still fails\n", r.Seed)
	smaller, failed := Shrink(r.Seed, o, r, 60)
	var last []string
	smaller.Trace = func(line string) {
		if last = append(last, line); len(last) > 2*traceLines {
			last = append([]string(nil), last[len(last)-traceLines:]...)
		}
	}
	Run(r.Seed, smaller)
	fmt.Fprintf(out, "\nthe last of %d records, faults %s, %d workflows, a storm of %v:\n%s\n", failed.Steps, failed.Faults, failed.Workflows, failed.Storm,
		strings.Join(last[max(0, len(last)-traceLines):], "\n"))
	for _, v := range failed.Violations {
		fmt.Fprintf(out, "violation: %s\n", v)
	}
	fmt.Fprintf(out, "\nrun it again: go run ./cmd/continuo-sim seed -n %d -faults %s -workflows %d -storm %v -v\n\n",
		r.Seed, failed.Faults, failed.Workflows, failed.Storm)
}

// traceLines is how much of the trace of a failed seed is shown.
const traceLines = 200
