package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/pkg/events"
)

// taskKey names a task or step. The two are apart: where a completion was refused for what came meanwhile, the steps that the
// activation had made are refused with it, and the next one may take another way and schedule a task in such a step's place.
type taskKey struct {
	run    string
	step   uint64
	isStep bool
}

// executions checks that code ran again only where that has a reason, and that every accepted outcome was made by an
// execution of its attempt.
func executions(e Evidence, c *Counts) []Violation {
	var found []Violation
	byTask := map[taskKey][]ledger.Execution{}
	for _, x := range e.Executions {
		if x.IsStep {
			c.Steps++
		} else {
			c.Executions++
		}
		k := taskKey{x.Run, x.Step, x.IsStep}
		byTask[k] = append(byTask[k], x)
	}
	faults := faultsOf(e.Faults)
	for _, runs := range e.Runs {
		for _, run := range runs {
			for step, t := range run.Tasks {
				k := taskKey{run.ID, step, t.IsStep}
				found = append(found, ofTask(run, k, t, byTask[k], faults, c)...)
				delete(byTask, k)
			}
		}
	}
	for k, all := range byTask {
		found = append(found, unrecorded(e, k, all, faults, c)...)
	}
	slices.SortFunc(found, func(a, b Violation) int { return cmp.Compare(a.Where+a.What, b.Where+b.What) })
	return found
}

// ofTask checks the executions of one task.
func ofTask(run *Run, k taskKey, t *Task, all []ledger.Execution, faults faults, c *Counts) []Violation {
	where := fmt.Sprintf("%s %s/%d", run.Workflow, k.run, k.step)
	found := repeats(where, run, t, all, faults, c)
	lost := t.Code == events.CodeWorkerLost || t.Code == events.CodeOutcomeUnknown || strings.HasPrefix(t.Code, "timeout_")
	if !t.Ended || t.Cancelled || lost {
		return found
	}
	made := slices.ContainsFunc(all, func(x ledger.Execution) bool {
		return x.Attempt == t.Attempt && x.End != 0 && x.Failed == (t.Code != "")
	})
	if !made {
		found = append(found, Violation{RuleExecution, where, fmt.Sprintf(
			"the outcome of attempt %d was accepted (failure %q), but no execution made it", t.Attempt, t.Code)})
	}
	return found
}

// unrecorded checks executions that no history knows: of a step whose outcome was not recorded before the run ended or its
// worker was lost. A task is in the history before it is executed.
func unrecorded(e Evidence, k taskKey, all []ledger.Execution, faults faults, c *Counts) []Violation {
	for workflow, runs := range e.Runs {
		for _, run := range runs {
			if run.ID == k.run && all[0].IsStep {
				return repeats(workflow+" "+k.run, run, &Task{IsStep: true}, all, faults, c)
			}
		}
	}
	return []Violation{{RuleExecution, fmt.Sprintf("%s/%d", k.run, k.step), "it was executed, but no history has it"}}
}

// repeats checks each execution that follows another of the same task.
func repeats(where string, run *Run, t *Task, all []ledger.Execution, faults faults, c *Counts) []Violation {
	slices.SortFunc(all, func(a, b ledger.Execution) int { return cmp.Compare(a.Begin, b.Begin) })
	var found []Violation
	for i := 1; i < len(all); i++ {
		before, x := followed(all[:i], all[i]), all[i]
		if before.Failed && before.End <= x.Begin && faults.retried(t, before, x) {
			continue
		}
		c.Repeated++
		if before.End != 0 && before.End <= x.Begin && !before.Failed {
			c.Finished++
		}
		if t.timedOut(before.Attempt) && x.Attempt > before.Attempt || t.IsStep && run.Refused > 0 {
			continue
		}
		// A worker that was stopped with an attempt it had not begun may begin it after the attempt was given to another or timed
		// out, when it goes on.
		late := x.Attempt <= before.Attempt && faults.stopped(x.Worker, before.Begin)
		if !late && !faults.between(before.Worker, before.Begin-underway(before), x.Begin) {
			found = append(found, Violation{RuleExecution, where, fmt.Sprintf(
				"attempt %d began in worker %s (end %d, failed %v), and attempt %d %v later in worker %s, but neither that worker nor the server was killed or stopped",
				before.Attempt, before.Worker, before.End, before.Failed, x.Attempt, nanoseconds(x.Begin-before.Begin), x.Worker)})
		}
	}
	return found
}

// followed returns which of the executions that began before x it is judged by: for a task, the last one of its own attempt or a
// newer one, and else of the newest before it. After a fault an attempt is given out again while its outcome is read, and what
// follows from the outcome may overtake it on its way to a worker: a newer attempt that began just before a repetition does not
// count. Steps are not given out: their attempts are in the order in which the code of an activation made them. There is at
// least one before x.
func followed(before []ledger.Execution, x ledger.Execution) ledger.Execution {
	if x.IsStep {
		return before[len(before)-1]
	}
	again := slices.ContainsFunc(before, func(y ledger.Execution) bool { return y.Attempt == x.Attempt })
	var last ledger.Execution
	for _, y := range before {
		overtook := again && y.Attempt > x.Attempt && x.Begin-y.Begin <= underway(x)
		if !overtook && min(y.Attempt, x.Attempt) >= min(last.Attempt, x.Attempt) {
			last = y
		}
	}
	return last
}

// retried reports whether an attempt follows a failed one in order. Attempts that began nowhere may lie between them: those
// whose workers were lost, as the history says, ahead of their code.
func (f faults) retried(t *Task, failed, next ledger.Execution) bool {
	if next.Attempt <= failed.Attempt+1 {
		return next.Attempt == failed.Attempt+1
	}
	if int(next.Attempt) > len(t.Failed)+1 {
		return false
	}
	for _, code := range t.Failed[failed.Attempt : next.Attempt-1] {
		if code != events.CodeWorkerLost {
			return false
		}
	}
	for process := range f {
		if f.between(process, failed.End, next.Begin) {
			return true
		}
	}
	return false
}

// underway is how long before its beginning an execution may have been given to its worker, by a server that is gone: a task
// begins when it comes, a step where the code of its activation gets to.
func underway(x ledger.Execution) int64 {
	if x.IsStep {
		return int64(10 * time.Second)
	}
	return int64(250 * time.Millisecond)
}

// timedOut reports whether the history has a timeout of an attempt.
func (t *Task) timedOut(attempt uint32) bool {
	return attempt > 0 && int(attempt) <= len(t.Failed) && strings.HasPrefix(t.Failed[attempt-1], "timeout_")
}

// faults are the faults of each process.
type faults map[string][]ledger.Fault

func faultsOf(all []ledger.Fault) faults {
	of := faults{}
	for _, f := range all {
		of[f.Process] = append(of[f.Process], f)
	}
	return of
}

// between reports whether the worker or the server was down or stopped at some time between two moments.
func (f faults) between(worker string, from, to int64) bool {
	for _, process := range []string{worker, ledger.ServerProcess} {
		if slices.ContainsFunc(f[process], func(one ledger.Fault) bool { return one.From <= to && one.To >= from }) {
			return true
		}
	}
	return false
}

// stopped reports whether a worker was stopped at a moment, and went on later.
func (f faults) stopped(worker string, at int64) bool {
	return slices.ContainsFunc(f[worker], func(one ledger.Fault) bool { return one.Pause && one.From <= at && one.To >= at })
}

type nanoseconds int64

// String gives milliseconds.
func (n nanoseconds) String() string { return fmt.Sprintf("%.1f ms", float64(n)/1e6) }
