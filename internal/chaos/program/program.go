// Package program has the workflows that run while processes are killed: random programs whose results can be computed
// without running them.
//
// [Draw] makes a program from a seed, [Code] runs it as workflow code, [Expected] says what it must return. A second kind of
// workflow, [Mailbox], keeps every signal it is sent until it is told to end; many clients steer a few of those at once.
package program

import (
	"fmt"
	"math/rand/v2"
)

// Kind says what an operation of a program does.
type Kind string

// The kinds of operations. N is a value, MS a time in milliseconds, Tries a number of attempts.
const (
	Call     Kind = "call"     // a task that takes MS
	Flaky    Kind = "flaky"    // a task that fails until attempt Tries
	Fails    Kind = "fails"    // a task that fails for good at once
	Limited  Kind = "limited"  // a task that always fails, with Tries attempts
	Timed    Kind = "timed"    // a task with a time limit of MS for each attempt; it needs a fraction of it
	GiveUp   Kind = "give_up"  // a task that takes longer than the MS the workflow gives it, and is cancelled then
	Step     Kind = "step"     // a step in the workflow's worker, which fails until attempt Tries
	Sleep    Kind = "sleep"    // a timer of MS
	Receive  Kind = "receive"  // waits for N signals
	View     Kind = "view"     // publishes N
	Parallel Kind = "parallel" // runs Branches side by side
	Again    Kind = "again"    // continues as new with what follows
	Forever  Kind = "forever"  // waits until the run is cancelled
)

// Op is one operation of a program.
type Op struct {
	Do       Kind   `json:"do"`
	N        int    `json:"n,omitempty"`
	MS       int    `json:"ms,omitempty"`
	Tries    int    `json:"tries,omitempty"`
	Branches [][]Op `json:"branches,omitempty"`
}

// Program is the input of a run: what is left to do, and what earlier rounds have seen.
type Program struct {
	Ops []Op `json:"ops"`
	So  Seen `json:"so,omitzero"`
}

// Seen is the result of a run: what it did, and the signals it received, in order.
type Seen struct {
	Lines   []string `json:"lines,omitempty"`
	Signals []string `json:"signals,omitempty"` // of those it waits for
	Extras  []string `json:"extras,omitempty"`  // of those that may come or not
}

// leaves are drawn in branches, too; the list repeats what shall come more often.
var leaves = []Kind{Call, Call, Call, Call, Flaky, Flaky, Fails, Limited, Timed, GiveUp, Step, Step, Step, Sleep} //nolint:gochecknoglobals // a fixed table

// Draw makes a program of at most 12 operations.
func Draw(r *rand.Rand) Program {
	var p Program
	for range 2 + r.IntN(6) {
		switch n := r.IntN(20); {
		case n < 3:
			op := Op{Do: Parallel}
			for range 2 + r.IntN(3) {
				var branch []Op
				for range 1 + r.IntN(2) {
					branch = append(branch, drawLeaf(r))
				}
				op.Branches = append(op.Branches, branch)
			}
			p.Ops = append(p.Ops, op)
		case n < 6:
			p.Ops = append(p.Ops, Op{Do: Receive, N: 1 + r.IntN(3)})
		case n < 8:
			p.Ops = append(p.Ops, Op{Do: View, N: r.IntN(1_000_000)})
		case n < 10:
			p.Ops = append(p.Ops, Op{Do: Again})
		default:
			p.Ops = append(p.Ops, drawLeaf(r))
		}
	}
	if r.IntN(12) == 0 {
		p.Ops = append(p.Ops, Op{Do: Forever})
	}
	return p
}

func drawLeaf(r *rand.Rand) Op {
	op := Op{Do: leaves[r.IntN(len(leaves))], N: r.IntN(1_000_000)}
	switch op.Do {
	case Call:
		if r.IntN(4) == 0 {
			op.MS = 20 + r.IntN(400)
		}
	case Flaky, Limited, Step:
		op.Tries = 1 + r.IntN(3)
	case Timed:
		op.MS = 1500
	case GiveUp:
		op.MS = 20 + r.IntN(100)
	case Sleep:
		op.MS = 1 + r.IntN(500)
	case Fails, Receive, View, Parallel, Again, Forever:
	}
	return op
}

// Signals is how many signals the program waits for.
func (p Program) Signals() (n int) {
	for _, op := range p.Ops {
		if op.Do == Receive {
			n += op.N
		}
	}
	return n
}

// EndsByCancel reports whether the program ends only when it is cancelled.
func (p Program) EndsByCancel() bool {
	return len(p.Ops) > 0 && p.Ops[len(p.Ops)-1].Do == Forever
}

// Views returns the values that the program publishes, in order.
func (p Program) Views() (values []int) {
	for _, op := range p.Ops {
		if op.Do == View {
			values = append(values, op.N)
		}
	}
	return values
}

// Expected returns the lines of a run that is not cancelled: for each line the texts that it may have. What is received is
// not among them.
func Expected(p Program) [][]string { return expected(p.Ops) }

func expected(ops []Op) (lines [][]string) {
	line := func(texts ...string) { lines = append(lines, texts) }
	for i, op := range ops {
		switch op.Do {
		case Call, Flaky, Timed:
			line(fmt.Sprint(op.Do, "=", worked(op.N)))
		case Fails:
			line("fails: refused")
		case Limited:
			// The last attempt may be the one whose worker was lost.
			line("limited: broken", "limited: lost")
		case GiveUp:
			line("give_up: timeout")
		case Step:
			line(fmt.Sprint("step=", worked(op.N)))
		case Sleep:
			line("slept")
		case Receive:
			line(fmt.Sprint("received ", op.N))
		case View:
			line(fmt.Sprint("view ", op.N))
		case Parallel:
			for _, branch := range op.Branches {
				lines = append(lines, expected(branch)...)
			}
		case Again:
			line(fmt.Sprint("again at ", len(ops)-i-1))
		case Forever:
		}
	}
	return lines
}

// worked is what a task or step makes of its value.
func worked(n int) int { return (n*31 + 7) % 1_000_003 }
