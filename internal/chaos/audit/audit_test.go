package audit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	workflow = "run/1"
	box      = "mailbox/1"
)

func runOf(workflow, request string) string {
	return events.RunIDFor(events.DefaultNamespace, events.WorkflowID(workflow), events.RequestID(request)).String()
}

// record makes a history of one record for each event, a second apart.
func history(workflow, request string, es ...events.Event) (events.HistoryInfo, []*events.Record) {
	run, err := events.ParseRunID(runOf(workflow, request))
	if err != nil {
		panic(err)
	}
	info := events.HistoryInfo{Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(workflow), RunID: run}
	var records []*events.Record
	for i, e := range es {
		records = append(records, &events.Record{
			Header: events.Header{First: events.EventNumber(i + 1), Time: events.Time(i+1) * 1_000_000}, Events: []events.Event{e},
		})
	}
	return info, records
}

func value(v any) events.Payload {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return events.Payload{Encoding: "json", Data: text}
}

func signal(name, value1, request string, index uint64) events.SignalReceived {
	return events.SignalReceived{Name: events.SignalName(name), Index: index, Input: value(value1), RequestID: events.RequestID(request)}
}

// programHistory is that of a run of plan.
func programHistory() []events.Event {
	return []events.Event{
		events.RunStarted{Type: "chaos.Run"},
		events.TaskScheduled{Step: 1, Name: "chaos.Work"},
		events.TaskAttemptFailed{Step: 1, Attempt: 1, Failure: events.Failure{Code: "task_failed"}},
		events.TaskCompleted{Step: 1, Attempt: 2},
		events.TimerStarted{Step: 2, Due: 6_000_000},
		events.TimerFired{Step: 2},
		signal(program.Signal.Name(), "a", "s1", 1),
		signal(program.Signal.Name(), "b", "s2", 2),
		events.StepRecorded{Step: 3, Attempts: 1},
		events.ViewSet{Name: "chaos.Number", Value: value(4)},
		events.RunCompleted{Result: value(program.Seen{
			Lines: []string{"flaky=7", "slept", "received 2", "step=38", "view 4"}, Signals: []string{"a", "b"},
		})},
	}
}

var plan = program.Program{Ops: []program.Op{
	{Do: program.Flaky, Tries: 2}, {Do: program.Sleep, MS: 1}, {Do: program.Receive, N: 2}, {Do: program.Step, N: 1}, {Do: program.View, N: 4},
}}

// clean is evidence of a run of a program and of a mailbox, without a fault in it.
func clean(t *testing.T) *audit.Evidence {
	t.Helper()
	e := &audit.Evidence{Plans: map[string]program.Program{workflow: plan}, Runs: map[string][]*audit.Run{}}
	id, boxID := runOf(workflow, "start"), runOf(box, "start")
	add := func(workflow string, es []events.Event) {
		run, found := audit.Read(history(workflow, "start", es...))
		if len(found) > 0 {
			t.Fatalf("the clean history has %v", found)
		}
		e.Runs[workflow] = append(e.Runs[workflow], run)
	}
	add(workflow, programHistory())
	add(box, []events.Event{
		events.RunStarted{Type: "chaos.Mailbox"}, signal(program.Item.Name(), "end", "m1", 1), events.RunCompleted{Result: value([]string{"end"})},
	})
	e.Ops = []ledger.Op{
		{Verb: ledger.Start, Workflow: workflow, Request: "start", Call: 1, Return: 2, Code: ledger.OK, Run: id},
		{Verb: ledger.Signal, Workflow: workflow, Request: "s1", Value: "a", Call: 3, Return: 4, Code: ledger.OK, Run: id},
		{Verb: ledger.Signal, Workflow: workflow, Request: "s2", Value: "b", Call: 5, Return: 9, Code: ledger.Unknown},
		{Verb: ledger.Signal, Workflow: workflow, Request: "s2", Value: "b", Call: 10, Return: 11, Code: ledger.OK, Run: id},
		{Verb: ledger.Result, Workflow: workflow, Run: id, Call: 3, Return: 20, Code: ledger.OK, State: "completed", Value: string(e.Runs[workflow][0].Result)},
		{Verb: ledger.Start, Workflow: box, Request: "start", Call: 1, Return: 2, Code: ledger.OK, Run: boxID},
		{Verb: ledger.Signal, Workflow: box, Request: "m1", Value: "end", Call: 3, Return: 4, Code: ledger.OK, Run: boxID},
		{Verb: ledger.Signal, Workflow: box, Request: "m2", Value: "2", Call: 5, Return: 6, Code: "run_ended", Run: boxID},
		{Verb: ledger.Status, Workflow: box, Call: 7, Return: 8, Code: ledger.OK, Run: boxID, State: "completed", Items: []string{"end"}},
	}
	e.Executions = []ledger.Execution{
		{Run: id, Step: 1, Attempt: 1, Worker: "w0.1", Begin: 100, End: 110, Failed: true},
		{Run: id, Step: 1, Attempt: 2, Worker: "w1.1", Begin: 120, End: 130},
		{Run: id, Step: 3, Attempt: 1, Worker: "w0.1", Begin: 140, End: 150, IsStep: true},
	}
	return e
}

func TestCleanEvidenceHasNoViolations(t *testing.T) {
	t.Parallel()
	e := clean(t)
	counts, found := audit.Judge(*e)
	if len(found) > 0 || counts.Runs != 2 || counts.Executions != 2 || counts.Steps != 1 || counts.Repeated != 0 {
		t.Errorf("%+v, %v", counts, found)
	}
	api, found := audit.API(*e, time.Minute)
	if len(found) > 0 || api != (audit.APICounts{Histories: 1, Ops: 4}) {
		t.Errorf("%+v, %v", api, found)
	}
}

// TestFalsifiedEvidenceIsFound breaks one promise at a time.
func TestFalsifiedEvidenceIsFound(t *testing.T) {
	t.Parallel()
	id := runOf(workflow, "start")
	for name, c := range map[string]struct {
		falsify func(*audit.Evidence)
		rule    string
		says    string
	}{
		"run lost": {func(e *audit.Evidence) { e.Runs[workflow] = nil }, audit.RuleLost, "there is no run"},
		"run that nobody started": {func(e *audit.Evidence) {
			e.Runs[box] = append(e.Runs[box], &audit.Run{Workflow: box, ID: runOf(box, "other"), Status: events.StatusTerminated})
		}, audit.RuleTwice, "nobody asked for it"},
		"refused start that ran": {func(e *audit.Evidence) { e.Ops[5].Code = "already_open" }, audit.RuleTwice, "was refused"},
		"start that made another run": {func(e *audit.Evidence) {
			e.Ops = append(e.Ops, ledger.Op{Verb: ledger.Start, Workflow: workflow, Request: "start", Call: 30, Return: 31, Code: ledger.OK, Run: runOf(workflow, "other")})
		}, audit.RuleTwice, "was acknowledged with run"},
		"signal lost":                      {func(e *audit.Evidence) { e.Runs[workflow][0].Signals = e.Runs[workflow][0].Signals[:1] }, audit.RuleLost, "did not receive it"},
		"signal twice":                     {func(e *audit.Evidence) { r := e.Runs[workflow][0]; r.Signals = append(r.Signals, r.Signals[0]) }, audit.RuleTwice, "received 2 times"},
		"signal invented":                  {func(e *audit.Evidence) { e.Runs[workflow][0].Signals[1].Request = "s9" }, audit.RuleTwice, "which nobody sent"},
		"refused signal that was received": {func(e *audit.Evidence) { e.Ops[6].Code = "run_ended" }, audit.RuleTwice, "was refused"},
		"signals out of order": {func(e *audit.Evidence) {
			slices.Reverse(e.Runs[workflow][0].Signals)
		}, audit.RuleOrder, "received after it"},
		"cancel lost": {func(e *audit.Evidence) {
			e.Ops = append(e.Ops, ledger.Op{Verb: ledger.Cancel, Workflow: workflow, Request: "c", Call: 3, Return: 4, Code: ledger.OK, Run: id})
		}, audit.RuleLost, "cancel was acknowledged"},
		"terminate lost": {func(e *audit.Evidence) {
			e.Ops = append(e.Ops, ledger.Op{Verb: ledger.Terminate, Workflow: box, Request: "c", Call: 3, Return: 4, Code: ledger.OK, Run: runOf(box, "start")})
		}, audit.RuleLost, "terminate was acknowledged"},
		"run that did not end":  {func(e *audit.Evidence) { e.Runs[workflow][0].Status = events.StatusRunning }, audit.RuleOpen, "is open"},
		"wrong result":          {func(e *audit.Evidence) { replace(e, "flaky=7", "flaky=8") }, audit.RuleResult, `"flaky=8"`},
		"result without a line": {func(e *audit.Evidence) { replace(e, `"slept",`, "") }, audit.RuleResult, "4 lines"},
		"result without signal": {func(e *audit.Evidence) { replace(e, `"a","b"`, `"a"`) }, audit.RuleResult, "was given"},
		"client told otherwise": {func(e *audit.Evidence) { e.Ops[4].Value = "{}" }, audit.RuleResult, "was told"},
		"view not set":          {func(e *audit.Evidence) { e.Runs[workflow][0].Views = nil }, audit.RuleResult, "published"},
		"mailbox forgot an item": {func(e *audit.Evidence) {
			e.Runs[box][0].Result = []byte(`[]`)
		}, audit.RuleResult, "with the items"},
		"executed again for no reason": {func(e *audit.Evidence) {
			e.Executions = append(e.Executions, ledger.Execution{Run: id, Step: 1, Attempt: 2, Worker: "w0.1", Begin: 150, End: 160})
		}, audit.RuleExecution, "neither that worker nor the server"},
		"executed again while it ran": {func(e *audit.Evidence) {
			e.Executions = append(e.Executions, ledger.Execution{Run: id, Step: 1, Attempt: 2, Worker: "w0.1", Begin: 125, End: 160})
		}, audit.RuleExecution, "neither that worker nor the server"},
		"outcome that nobody made": {func(e *audit.Evidence) { e.Executions[1].End = 0 }, audit.RuleExecution, "no execution made it"},
		"task that no history has": {func(e *audit.Evidence) { delete(e.Runs[workflow][0].Tasks, 1) }, audit.RuleExecution, "no history has it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := clean(t)
			c.falsify(e)
			_, found := audit.Judge(*e)
			if !slices.ContainsFunc(found, func(v audit.Violation) bool { return v.Rule == c.rule && strings.Contains(v.What, c.says) }) {
				t.Errorf("found %v, want %s: %s", found, c.rule, c.says)
			}
		})
	}
}

func replace(e *audit.Evidence, old, new1 string) {
	r := e.Runs[workflow][0]
	r.Result = []byte(strings.Replace(string(r.Result), old, new1, 1))
}

// TestAFaultExplainsARepetition: the same executions are in order when their worker or the server was killed in between.
func TestAFaultExplainsARepetition(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	for _, c := range []struct {
		fault     ledger.Fault
		explained bool
	}{
		{ledger.Fault{Process: "w1.1", From: 125 + second, To: 126 + second}, true},
		{ledger.Fault{Process: ledger.ServerProcess, Pause: true, From: 125 + second, To: 126 + second}, true},
		{ledger.Fault{Process: "w0.1", From: 125 + second, To: 126 + second}, false},
		{ledger.Fault{Process: "w1.1", From: 1, To: 2}, false},
		{ledger.Fault{Process: "w1.1", From: 3 * second, To: 4 * second}, false},
	} {
		e := clean(t)
		e.Faults = []ledger.Fault{c.fault}
		for i := range e.Executions {
			e.Executions[i].Begin += second
			e.Executions[i].End += second
		}
		e.Executions = append(e.Executions, ledger.Execution{Run: e.Executions[0].Run, Step: 1, Attempt: 2, Worker: "w2.1", Begin: 2 * second, End: 2*second + 1})
		counts, found := audit.Judge(*e)
		if explained := len(found) == 0; explained != c.explained || counts.Repeated != 1 || counts.Finished != 1 {
			t.Errorf("%+v: %+v, %v", c.fault, counts, found)
		}
	}
}

// TestAStoppedWorkerBeginsLate: a worker that was stopped before it began an attempt may begin it after another one has.
func TestAStoppedWorkerBeginsLate(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	for _, c := range []struct {
		fault     ledger.Fault
		explained bool
	}{
		{ledger.Fault{Process: "w0.1", Pause: true, From: second / 2, To: 2 * second}, true},
		{ledger.Fault{Process: "w2.1", Pause: true, From: second / 2, To: 2 * second}, false},
		{ledger.Fault{Process: "w0.1", From: second / 2, To: 2 * second}, false}, // killed: it has begun nothing later
		{ledger.Fault{Process: "w0.1", Pause: true, From: second / 4, To: second / 2}, false},
	} {
		e := clean(t)
		e.Faults = []ledger.Fault{c.fault}
		run := e.Executions[0].Run
		e.Executions = slices.DeleteFunc(e.Executions, func(x ledger.Execution) bool { return x.Run == run && x.Step == 1 })
		e.Executions = append(e.Executions, ledger.Execution{Run: run, Step: 1, Attempt: 2, Worker: "w1.1", Begin: second, End: second + 1},
			ledger.Execution{Run: run, Step: 1, Attempt: 1, Worker: "w0.1", Begin: 2*second + 1, End: 2*second + 2})
		if _, found := audit.Judge(*e); (len(found) == 0) != c.explained {
			t.Errorf("%+v: %v", c.fault, found)
		}
	}
}

// TestARepetitionIsOvertaken: after a fault, an attempt is given out again while its outcome is on its way, and the next attempt
// may begin elsewhere a moment before the repetition does. Each is judged by what it follows, not by what began just before it.
func TestARepetitionIsOvertaken(t *testing.T) {
	t.Parallel()
	const second, ms = int64(time.Second), int64(time.Millisecond)
	x := func(attempt uint32, worker string, begin int64, failed bool) ledger.Execution {
		return ledger.Execution{Step: 1, Attempt: attempt, Worker: worker, Begin: begin, End: begin + 10, Failed: failed}
	}
	server := func(from, to int64) []ledger.Fault {
		return []ledger.Fault{{Process: ledger.ServerProcess, From: from, To: to}}
	}
	for name, c := range map[string]struct {
		faults   []ledger.Fault
		all      []ledger.Execution
		codes    []string // of the attempts that failed; none: two of code task_failed
		repeated int
		found    int
	}{
		"overtaken": {
			server(second+1, 6*second),
			[]ledger.Execution{x(1, "w0.1", second, true), x(2, "w0.1", 7*second, true), x(1, "w1.1", 7*second+ms, true), x(3, "w2.1", 10*second, false)},
			nil, 1, 0,
		},
		"so late that it was given out when the next had long begun": {
			server(second+1, 6*second),
			[]ledger.Execution{x(1, "w0.1", second, true), x(2, "w0.1", 7*second, true), x(1, "w1.1", 9*second, true), x(3, "w2.1", 10*second, false)},
			nil, 1, 1,
		},
		"no fault": {
			nil,
			[]ledger.Execution{x(1, "w0.1", second, true), x(2, "w0.1", 7*second, true), x(1, "w1.1", 7*second+ms, true), x(3, "w2.1", 10*second, false)},
			nil, 1, 1,
		},
		"one fault, and repetitions without end": {
			server(5*second, 6*second),
			[]ledger.Execution{
				x(1, "w0.1", second, true), x(2, "w0.1", 2*second, true), x(1, "w1.1", 7*second, true), x(1, "w2.1", 20*second, true), x(1, "w0.1", 40*second, true),
				x(3, "w0.1", 50*second, false),
			},
			nil, 3, 2,
		},
		"an attempt that is no repetition comes late": {
			nil,
			[]ledger.Execution{x(1, "w0.1", second, true), x(3, "w0.1", 3*second, false), x(2, "w1.1", 3*second+ms, true)},
			[]string{"timeout_start_to_close", "task_failed"},
			2, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := clean(t)
			e.Faults = c.faults
			es := slices.Concat(programHistory()[:2], nil)
			codes := c.codes
			if codes == nil {
				codes = []string{"task_failed", "task_failed"}
			}
			for n, code := range codes {
				es = append(es, events.TaskAttemptFailed{Step: 1, Attempt: events.Attempt(n + 1), Failure: events.Failure{Code: code}})
			}
			es = append(es, events.TaskCompleted{Step: 1, Attempt: events.Attempt(len(codes) + 1)})
			run, found := audit.Read(history(workflow, "start", append(es, programHistory()[4:]...)...))
			if len(found) > 0 {
				t.Fatal(found)
			}
			e.Runs[workflow] = []*audit.Run{run}
			for i := range c.all {
				c.all[i].Run = run.ID
			}
			e.Executions = append(e.Executions[2:], c.all...)
			counts, found := audit.Judge(*e)
			if len(found) != c.found || counts.Repeated != c.repeated {
				t.Errorf("%d found, %d repeated: %v", len(found), counts.Repeated, found)
			}
		})
	}
}

// TestStepsAreInOrder: a step's attempts are made by the code of one activation, one after the other, also after a fault.
func TestStepsAreInOrder(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	step := func(attempt uint32, worker string, begin, end int64, failed bool) ledger.Execution {
		return ledger.Execution{Step: 3, Attempt: attempt, Worker: worker, Begin: begin, End: end, Failed: failed, IsStep: true}
	}
	for name, c := range map[string]struct {
		again []ledger.Execution // in another worker, after the first was killed in the second attempt
		found int
	}{
		"in order":                        {[]ledger.Execution{step(1, "w1.1", 13*second, 14*second, true), step(2, "w1.1", 15*second, 16*second, false)}, 0},
		"the second while the first runs": {[]ledger.Execution{step(1, "w1.1", 13*second, 16*second, true), step(2, "w1.1", 15*second, 16*second, false)}, 1},
		"the second after a success":      {[]ledger.Execution{step(1, "w1.1", 13*second, 14*second, false), step(2, "w1.1", 15*second, 16*second, false)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := clean(t)
			e.Faults = []ledger.Fault{{Process: "w0.1", From: 2*second + 2, To: 2*second + 3}}
			run := e.Executions[2].Run
			e.Runs[workflow][0].Tasks[3].Attempt = 2
			e.Executions = append(e.Executions[:2], step(1, "w0.1", second, second+1, true), step(2, "w0.1", 2*second, 0, false))
			e.Executions = append(e.Executions, c.again...)
			for i := range e.Executions {
				e.Executions[i].Run = run
			}
			if _, found := audit.Judge(*e); len(found) != c.found {
				t.Errorf("%v", found)
			}
		})
	}
}

// TestATaskInThePlaceOfARefusedStep: a cancel request came while an activation made a step; the next one scheduled a task there.
func TestATaskInThePlaceOfARefusedStep(t *testing.T) {
	t.Parallel()
	e := clean(t)
	x := e.Executions[0]
	e.Executions = append(e.Executions, ledger.Execution{Run: x.Run, Step: 1, Attempt: 1, Worker: "w0.1", Begin: 90, End: 95, Failed: true, IsStep: true},
		ledger.Execution{Run: x.Run, Step: 1, Attempt: 2, Worker: "w0.1", Begin: 96, End: 97, IsStep: true})
	if counts, found := audit.Judge(*e); len(found) > 0 || counts.Repeated != 0 {
		t.Errorf("%+v, %v", counts, found)
	}
}

// TestALostWorkerExplainsAMissingAttempt: an attempt that began nowhere was given to a worker that was lost before it began.
func TestALostWorkerExplainsAMissingAttempt(t *testing.T) {
	t.Parallel()
	lost := ledger.Fault{Process: "w2.1", From: 112, To: 118}
	for _, c := range []struct {
		code      string
		fault     ledger.Fault
		explained bool
	}{
		{events.CodeWorkerLost, lost, true},
		{events.CodeWorkerLost, ledger.Fault{Process: "w2.1", From: 1, To: 2}, false},
		{"task_failed", lost, false},
	} {
		e := clean(t)
		e.Faults = []ledger.Fault{c.fault}
		e.Executions[1].Attempt = 3
		run, _ := audit.Read(history(workflow, "start", slices.Insert(programHistory(), 3,
			events.Event(events.TaskAttemptFailed{Step: 1, Attempt: 2, Failure: events.Failure{Code: c.code}}))...))
		run.Tasks[1].Attempt = 3
		e.Runs[workflow][0] = run
		if _, found := audit.Judge(*e); (len(found) == 0) != c.explained {
			t.Errorf("%s, %+v: %v", c.code, c.fault, found)
		}
	}
}

// TestBrokenHistoryIsFound breaks one rule of histories at a time.
func TestBrokenHistoryIsFound(t *testing.T) {
	t.Parallel()
	insert := func(at int, e events.Event) func([]events.Event) []events.Event {
		return func(es []events.Event) []events.Event { return slices.Insert(es, at, e) }
	}
	for name, c := range map[string]struct {
		falsify func([]events.Event) []events.Event
		says    string
	}{
		"result twice":          {insert(4, events.TaskCompleted{Step: 1, Attempt: 2}), "task 1 ended a second time"},
		"result after a cancel": {insert(3, events.TaskCancelled{Step: 1, Attempt: 2}), "task 1 ended a second time"},
		"result of an attempt":  {insert(3, events.TaskCompleted{Step: 1, Attempt: 3}), "attempt 3 of task 1 ended after 1 had failed"},
		"scheduled twice":       {insert(2, events.TaskScheduled{Step: 1}), "scheduled twice"},
		"result of nothing":     {insert(2, events.TaskCompleted{Step: 9, Attempt: 1}), "was not scheduled"},
		"timer early": {func(es []events.Event) []events.Event {
			es[4] = events.TimerStarted{Step: 2, Due: 7_000_000}
			return es
		}, "early"},
		"timer twice":  {insert(6, events.TimerFired{Step: 2}), "not armed"},
		"signal twice": {insert(8, signal(program.Signal.Name(), "b", "s2", 3)), "received twice"},
		"signal index": {insert(8, signal(program.Signal.Name(), "b", "s3", 4)), "index 4, and is number 3"},
		"step twice":   {insert(9, events.StepRecorded{Step: 3, Attempts: 1}), "recorded twice"},
		"cancel twice": {func(es []events.Event) []events.Event {
			return slices.Insert(es, 2, events.Event(events.CancelRequested{}), events.Event(events.CancelRequested{}))
		}, "second cancel"},
		"second beginning":     {insert(1, events.RunStarted{}), "is RunStarted"},
		"event after the end":  {insert(11, events.ViewSet{}), "follows the end"},
		"code failed":          {insert(3, events.ActivationFailed{Failure: events.Failure{Code: "non_deterministic"}}), "non_deterministic"},
		"quarantine":           {insert(3, events.RunQuarantined{Reason: "bad"}), "bad"},
		"task open at the end": {insert(2, events.TaskScheduled{Step: 7}), "task 7 was open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, found := audit.Read(history(workflow, "start", c.falsify(programHistory())...))
			if !strings.Contains(fmt.Sprint(found), c.says) {
				t.Errorf("found %v, want %q", found, c.says)
			}
		})
	}
	t.Run("gap", func(t *testing.T) {
		t.Parallel()
		info, records := history(workflow, "start", programHistory()...)
		_, found := audit.Read(info, slices.Delete(records, 4, 5))
		if !strings.Contains(fmt.Sprint(found), "event 6 follows event 4") {
			t.Errorf("found %v", found)
		}
	})
	t.Run("time falls", func(t *testing.T) {
		t.Parallel()
		info, records := history(workflow, "start", programHistory()...)
		records[3].Time = 1
		_, found := audit.Read(info, records)
		if !strings.Contains(fmt.Sprint(found), "before the one ahead of it") {
			t.Errorf("found %v", found)
		}
	})
}

func TestReadModelIsCompared(t *testing.T) {
	t.Parallel()
	run := clean(t).Runs[workflow][0]
	shown := audit.Shown{Status: run.Status, Events: 11, TasksScheduled: 1, Unread: 0, Result: run.Result, Views: 1, View: []byte("4")}
	if found := audit.Compare(run, shown); len(found) > 0 {
		t.Errorf("equal, but %v", found)
	}
	for name, falsify := range map[string]func(*audit.Shown){
		"status": func(s *audit.Shown) { s.Status = events.StatusRunning }, "number of events": func(s *audit.Shown) { s.Events-- },
		"number of tasks": func(s *audit.Shown) { s.TasksScheduled++ }, "number of unread signals": func(s *audit.Shown) { s.Unread = 1 },
		"result": func(s *audit.Shown) { s.Result = nil }, "cancel request": func(s *audit.Shown) { s.CancelRequested = true },
		"what it waits for": func(s *audit.Shown) { s.Pending = 1 }, "view": func(s *audit.Shown) { s.View = []byte("3") },
		"number of views": func(s *audit.Shown) { s.Views = 0 },
	} {
		s := shown
		falsify(&s)
		if found := fmt.Sprint(audit.Compare(run, s)); !strings.Contains(found, name+" is shown") {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
