// Package audit judges a chaos run: it compares what clients were told, what workers executed and what was killed with the
// histories and the read model of the suite. It knows no server and no file, so that it can be tested with evidence that
// was falsified.
package audit

import (
	"fmt"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
)

// Violation is a promise that was not kept.
type Violation struct {
	// Rule is the promise, in a few words; the same for all violations of it.
	Rule string
	// Where is the workflow, run or task.
	Where string
	What  string
}

// String says all of it on one line.
func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Rule, v.Where, v.What) }

// The rules.
const (
	RuleLost      = "acknowledged and lost"
	RuleTwice     = "done twice"
	RuleResult    = "result is not what the program says"
	RuleOrder     = "order"
	RuleOpen      = "did not end in the calm"
	RuleHistory   = "history breaks its rules"
	RuleExecution = "execution without a reason"
	RuleModel     = "read model differs from the history"
	RuleAPI       = "no order of the operations explains the answers"
)

// Evidence is all that there is after a run.
type Evidence struct {
	Ops        []ledger.Op
	Faults     []ledger.Fault
	Executions []ledger.Execution
	// Plans are the programs of the runs, by workflow id.
	Plans map[string]program.Program
	// Runs are all runs there are, by workflow id, oldest first.
	Runs map[string][]*Run
}

// Counts are the figures of the judgement.
type Counts struct {
	Runs int
	// Executions are those of tasks, Steps those of steps. Repeated were executed again though they had not failed;
	// Finished are those among them that had come to their end before, so that their effect happened twice.
	Executions, Steps, Repeated, Finished int
	// Lost and Twice count the violations of these rules.
	Lost, Twice int
}

// Judge applies every rule but that of the API, which takes its own time.
func Judge(e Evidence) (Counts, []Violation) {
	var c Counts
	var found []Violation
	for _, runs := range e.Runs {
		c.Runs += len(runs)
	}
	found = append(found, commands(e)...)
	found = append(found, results(e)...)
	found = append(found, executions(e, &c)...)
	for _, v := range found {
		switch v.Rule {
		case RuleLost:
			c.Lost++
		case RuleTwice:
			c.Twice++
		}
	}
	return c, found
}
