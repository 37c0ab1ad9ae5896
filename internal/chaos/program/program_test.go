package program_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

// TestExpectedIsWhatHappens runs drawn programs without any fault: the model and the code agree, and every kind is drawn.
func TestExpectedIsWhatHappens(t *testing.T) {
	t.Parallel()
	kinds := map[program.Kind]bool{}
	for seed := range uint64(60) {
		p := program.Draw(rand.New(rand.NewPCG(seed, 0)))
		p.Ops = quick(kinds, p.Ops)
		executions, err := ledger.OpenExecutions(t.TempDir(), "w", clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		seen, received := play(t, p, executions)
		if err := executions.Close(); err != nil {
			t.Fatal(err)
		}
		expected := program.Expected(p)
		if len(seen.Lines) != len(expected) {
			t.Fatalf("seed %d: %d lines, want %d: %q", seed, len(seen.Lines), len(expected), seen.Lines)
		}
		for i, line := range seen.Lines {
			if !slices.Contains(expected[i], line) {
				t.Errorf("seed %d: line %d is %q, want one of %q", seed, i, line, expected[i])
			}
		}
		if !slices.Equal(seen.Signals, received) {
			t.Errorf("seed %d: signals %q, want %q", seed, seen.Signals, received)
		}
	}
	for _, kind := range []program.Kind{
		program.Call, program.Flaky, program.Fails, program.Limited, program.Timed, program.GiveUp, program.Step, program.Sleep,
		program.Receive, program.View, program.Parallel, program.Again, program.Forever,
	} {
		if !kinds[kind] {
			t.Errorf("%s was never drawn", kind)
		}
	}
}

// quick notes the kinds that were drawn and returns the operations without what takes real time: tasks that wait, and those
// that wait until the workflow gives them up, for whose end its virtual time would have to pass while they run.
func quick(kinds map[program.Kind]bool, ops []program.Op) []program.Op {
	var kept []program.Op
	for _, op := range ops {
		kinds[op.Do] = true
		switch op.Do {
		case program.GiveUp:
			continue
		case program.Call, program.Timed:
			op.MS = 0
		default:
		}
		for i, branch := range op.Branches {
			op.Branches[i] = quick(kinds, branch)
		}
		op.Branches = slices.DeleteFunc(op.Branches, func(b []program.Op) bool { return len(b) == 0 })
		if op.Do != program.Parallel || len(op.Branches) > 0 {
			kept = append(kept, op)
		}
	}
	return kept
}

func play(t *testing.T, p program.Program, executions *ledger.Executions) (program.Seen, []string) {
	t.Helper()
	var bindings []flow.Binding
	for _, part := range program.Code(executions, clock.Real()) {
		bindings = append(bindings, part.(flow.Binding))
	}
	env := flowtest.New(t, bindings...)
	run, err := program.Run.Start(t.Context(), env, p, flow.ID("run"))
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	for i := range p.Signals() {
		sent = append(sent, string(rune('a'+i)))
		if err := program.Signal.Send(t.Context(), env, "run", sent[i]); err != nil {
			t.Fatal(err)
		}
	}
	if p.EndsByCancel() {
		if err := run.Cancel(t.Context(), "over"); err != nil {
			t.Fatal(err)
		}
	}
	seen, err := run.Result(t.Context())
	if failed, ok := err.(*flow.RunError); ok && p.EndsByCancel() && failed.Status == events.StatusCancelled { //nolint:errorlint // not wrapped
		_, err = failed.Details(&seen)
		seen.Lines = append(seen.Lines, missing(p, len(seen.Lines))...)
	}
	if err != nil {
		text, _ := json.Marshal(p)
		t.Fatalf("%s: %v", text, err)
	}
	return seen, sent
}

// missing are the lines that a cancelled run did not come to.
func missing(p program.Program, n int) []string {
	var lines []string
	for _, line := range program.Expected(p)[n:] {
		lines = append(lines, line[0])
	}
	return lines
}
