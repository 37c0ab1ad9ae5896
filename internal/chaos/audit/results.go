package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/pkg/events"
)

// results checks how the runs ended.
func results(e Evidence) []Violation {
	var found []Violation
	sent := map[string][]*request{}
	for _, r := range requests(e.Ops) {
		if r.Verb == ledger.Signal || r.Verb == ledger.Extra {
			sent[r.Workflow] = append(sent[r.Workflow], r)
		}
	}
	for _, w := range slices.Sorted(maps.Keys(e.Runs)) {
		for _, run := range e.Runs[w] {
			plan, planned := e.Plans[w]
			switch {
			case run.Status.Open():
				found = append(found, Violation{RuleOpen, w, "run " + run.ID + " is open"})
			case planned:
				found = append(found, ofProgram(run, plan, sent[w])...)
			default:
				found = append(found, ofMailbox(run)...)
			}
		}
	}
	return append(found, told(e)...)
}

// told checks that what clients were told of the end of runs is what their histories say.
func told(e Evidence) []Violation {
	var found []Violation
	for _, op := range e.Ops {
		if op.Verb != ledger.Result || !op.Acked() {
			continue
		}
		i := slices.IndexFunc(e.Runs[op.Workflow], func(run *Run) bool { return run.ID == op.Run })
		if i < 0 {
			found = append(found, Violation{RuleLost, op.Workflow, "a client was given the result of run " + op.Run + ", which does not exist"})
			continue
		}
		if run := e.Runs[op.Workflow][i]; op.State != run.Status.String() || op.Value != string(run.Result) {
			found = append(found, Violation{RuleResult, op.Workflow, fmt.Sprintf(
				"a client was told that run %s is %s with %q, and it is %v with %q", op.Run, op.State, op.Value, run.Status, run.Result)})
		}
	}
	return found
}

// ofProgram checks a run of a program.
func ofProgram(run *Run, plan program.Program, sent []*request) []Violation {
	wrong := func(format string, args ...any) []Violation {
		return []Violation{{RuleResult, run.Workflow + " " + run.ID, fmt.Sprintf(format, args...)}}
	}
	want := events.StatusCompleted
	if plan.EndsByCancel() {
		want = events.StatusCancelled
	}
	if run.Status != want {
		return wrong("it is %v, not %v: %v", run.Status, want, run.Failure)
	}
	text := run.Result
	if want == events.StatusCancelled {
		text = run.Failure.Details.Data
	}
	var seen program.Seen
	if err := json.Unmarshal(text, &seen); err != nil {
		return wrong("%q is no result: %v", text, err)
	}
	expected := program.Expected(plan)
	if len(seen.Lines) > len(expected) || len(seen.Lines) < len(expected) && want == events.StatusCompleted {
		return wrong("it made %d lines, not %d", len(seen.Lines), len(expected))
	}
	for i, line := range seen.Lines {
		if !slices.Contains(expected[i], line) {
			return wrong("line %d is %q, not one of %q", i+1, line, expected[i])
		}
	}
	var found []Violation
	for name, got := range map[string][]string{program.Signal.Name(): seen.Signals, program.Extra.Name(): seen.Extras} {
		if received := run.values(name); !slices.Equal(got, received) {
			found = append(found, wrong("it returns the signals %q of %s, and was given %q", got, name, received)...)
		}
	}
	for verb, name := range names {
		mine := slices.DeleteFunc(slices.Clone(sent), func(r *request) bool { return r.Verb != verb })
		found = append(found, inOrder(run, mine, name)...)
	}
	return append(found, views(run, plan)...)
}

// views checks what was published: all values in order, or, of a cancelled run, the first ones.
func views(run *Run, plan program.Program) []Violation {
	want := plan.Views()
	if plan.EndsByCancel() {
		want = want[:min(len(want), len(run.Views))]
	}
	var got []int
	for _, v := range run.Views {
		var n int
		if err := json.Unmarshal(v, &n); err != nil {
			n = -1
		}
		got = append(got, n)
	}
	if !slices.Equal(got, want) {
		return []Violation{{RuleResult, run.Workflow + " " + run.ID, fmt.Sprintf("it published %v, not %v", got, want)}}
	}
	return nil
}

// ofMailbox checks that a mailbox returns all that it received.
func ofMailbox(run *Run) []Violation {
	if run.Status == events.StatusTerminated {
		return nil
	}
	items, err := Items(run.Status, run.Result, run.Failure)
	if received := run.values(program.Item.Name()); err != nil || !slices.Equal(items, received) {
		return []Violation{{RuleResult, run.Workflow + " " + run.ID, fmt.Sprintf("it is %v with the items %q (%v), and was given %q", run.Status, items, err, received)}}
	}
	return nil
}

// Items returns what a mailbox had when it ended.
func Items(status events.Status, result []byte, failure *events.Failure) (items []string, err error) {
	switch {
	case status == events.StatusCompleted:
		err = json.Unmarshal(result, &items)
	case status == events.StatusCancelled && failure != nil:
		err = json.Unmarshal(failure.Details.Data, &items)
	case status != events.StatusTerminated:
		err = fmt.Errorf("a mailbox does not end as %v", status)
	}
	return items, err
}
