package sim

import (
	"fmt"
	"strconv"

	"github.com/continuo-dev/continuo/pkg/events"
)

// judge holds the outcome of a run against what its program can come to.
func (a *auditor) judge(c *client, run *runAudit) {
	if problem := outcomeProblem(a.w, c, run); problem != "" {
		a.w.violate("results", "run %s of %s (%s): %s", run.id, run.workflow, a.w.programs[c.program], problem)
	}
}

func outcomeProblem(w *world, c *client, run *runAudit) string {
	p := w.programs[c.program]
	switch e := run.end.(type) {
	case events.RunTerminated:
		if w.tuning.features.has(fewNames) {
			return "" // by another start, perhaps
		}
		for _, r := range c.requests {
			if _, ok := r.command.(events.TerminateWorkflow); ok {
				return ""
			}
		}
		return "it was terminated and nobody asked for that"
	case events.RunTimedOut:
		if c.timeout == 0 {
			return "it timed out and has no limit"
		}
		return ""
	case events.RunCancelled:
		if run.cancelled == 0 {
			return "it was cancelled and nobody asked for that"
		}
		return ""
	case events.RunFailed:
		if !p.fails || e.Failure.Code != "sim_failed" {
			return fmt.Sprintf("it failed: %s: %s", e.Failure.Code, e.Failure.Message)
		}
		return ""
	case events.RunCompleted:
		if p.fails {
			return "it should have failed"
		}
		var all [][]seen
		if err := payloads.Decode(e.Result, &all); err != nil {
			return "its result cannot be read: " + err.Error()
		}
		return p.judge(all, run)
	default:
		return fmt.Sprintf("it ended by %T", e)
	}
}

// judging walks a program and what its operations came to.
type judging struct {
	run   *runAudit
	taken map[int64]int // signals, by value: what the log has is unique per run
}

func (p *program) judge(all [][]seen, run *runAudit) string {
	if p.collects {
		return judgeCollected(all, run)
	}
	if len(all) != p.continues+1 {
		return fmt.Sprintf("it went through %d generations of %d", len(all), p.continues+1)
	}
	j := judging{run: run, taken: map[int64]int{}}
	for _, generation := range all {
		if problem := j.ops(p.ops, generation, run.cancelled > 0, false); problem != "" {
			return problem
		}
	}
	return ""
}

// judgeCollected wants every signal up to the one to stop, in the order of the log.
func judgeCollected(all [][]seen, run *runAudit) string {
	if len(all) != 1 {
		return "it has no result"
	}
	var got [2][]int64
	for _, s := range all[0] {
		if s.Op == opNext {
			got[0] = append(got[0], s.Value)
		} else {
			got[1] = append(got[1], s.Value)
		}
	}
	for i, name := range [2]events.SignalName{"sim.A", "sim.B"} {
		for k, signal := range run.signals[name] {
			if k >= len(got[i]) {
				if i == 0 {
					return fmt.Sprintf("signal %s %d (%s) is not among those it took", name, k+1, signal.input)
				}
				return fmt.Sprintf("signal %s %d (%s) was not taken", name, k+1, signal.input)
			}
			if strconv.FormatInt(got[i][k], 10) != signal.input {
				return fmt.Sprintf("it took %d as signal %s %d, the log has %s", got[i][k], name, k+1, signal.input)
			}
			if i == 0 && got[i][k] == stopCollecting {
				break
			}
		}
	}
	return ""
}

// ops judges operations in order. Cancelled says that waiting calls may have been cancelled, timed that the time of a scope
// may have ended them.
func (j *judging) ops(ops []op, got []seen, cancelled, timed bool) string {
	for i, o := range ops {
		if i >= len(got) {
			return fmt.Sprintf("%s%d did not happen", o.kind, o.n)
		}
		s := got[i]
		if s.Op == "stop" {
			return j.stopped(s, cancelled, timed)
		}
		if s.Op != o.kind {
			return fmt.Sprintf("operation %d is %s instead of %s", i, s.Op, o.kind)
		}
		if problem := j.op(o, int64(i), s, cancelled, timed); problem != "" {
			return fmt.Sprintf("%s%d: %s (%+v)", o.kind, o.n, problem, s)
		}
	}
	if len(got) > len(ops) {
		if s := got[len(ops)]; s.Op == "stop" && len(got) == len(ops)+1 {
			return j.stopped(s, cancelled, timed)
		}
		return "there is more than the program does"
	}
	return ""
}

func (j *judging) stopped(s seen, cancelled, timed bool) string {
	if s.Err == "cancelled" && cancelled || s.Err == "timeout" && timed {
		return ""
	}
	return "it stopped: " + s.Err
}

func (j *judging) op(o op, i int64, s seen, cancelled, timed bool) string {
	if s.Err == "cancelled" && cancelled || s.Err == "timeout" && timed {
		return ""
	}
	wants := func(v int64) string {
		if s.Err != "" || s.Value != v {
			return fmt.Sprintf("%d was to come out", v)
		}
		return ""
	}
	switch o.kind {
	case opCall, opFlaky, opStep, opFlakyStep:
		return wants(valueOf(i))
	case opBeating, opOnce, opBounded:
		if len(s.Err) > 5 && s.Err[:5] == "task " {
			return "" // lost, late or failed: it may be
		}
		return wants(valueOf(i))
	case opPermanent:
		if len(s.Err) < 6 || s.Err[:5] != "task " {
			return "it was to fail"
		}
	case opJoin, opSteps:
		sum := int64(0)
		for k := range int64(o.n + 1) {
			sum += valueOf(k)
		}
		return wants(sum)
	case opSleep:
		return wants(0)
	case opNext, opTry, opSignalRace:
		if s.Values != "" {
			return ""
		}
		return j.signal(o, s)
	case opTimeout:
		return j.ops(o.inner, s.Inner, cancelled, true)
	case opCancel:
		if s.Inner == nil {
			return ""
		}
		return j.ops(o.inner, s.Inner, true, true)
	case opShield:
		return j.ops(o.inner, s.Inner, false, false)
	default:
	}
	return ""
}

// signal wants a value that the log has under the name, and that nobody else took.
func (j *judging) signal(o op, s seen) string {
	if s.Err != "" {
		return "it was to be a signal"
	}
	name := [2]events.SignalName{"sim.A", "sim.B"}[o.n%2]
	value := strconv.FormatInt(s.Value, 10)
	for _, signal := range j.run.signals[name] {
		if signal.input != value {
			continue
		}
		if j.taken[s.Value]++; j.taken[s.Value] > 1 {
			return fmt.Sprintf("signal %d was taken twice", s.Value)
		}
		return ""
	}
	return fmt.Sprintf("the log has no signal %s %d", name, s.Value)
}
