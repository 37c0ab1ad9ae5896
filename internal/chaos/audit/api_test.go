package audit_test

import (
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/chaos/ledger"
)

// TestAPI holds short histories of one workflow id against the model. Operations follow each other unless they say
// otherwise.
func TestAPI(t *testing.T) {
	t.Parallel()
	first, second := runOf(box, "start"), runOf(box, "start2")
	op := func(verb ledger.Verb, code string, with ledger.Op) ledger.Op {
		with.Verb, with.Code = verb, code
		if with.Run == "" && code != ledger.Unknown && code != "not_found" {
			with.Run = first
		}
		if verb == ledger.Start && with.Request == "" {
			with.Request = "start"
		}
		return with
	}
	start := op(ledger.Start, ledger.OK, ledger.Op{})
	start2 := op(ledger.Start, ledger.OK, ledger.Op{Request: "start2", Run: second})
	a := op(ledger.Signal, ledger.OK, ledger.Op{Value: "a"})
	end := op(ledger.Signal, ledger.OK, ledger.Op{Value: "end"})
	cancel, terminate := op(ledger.Cancel, ledger.OK, ledger.Op{}), op(ledger.Terminate, ledger.OK, ledger.Op{})
	running := op(ledger.Status, ledger.OK, ledger.Op{State: "running"})
	status := func(state string, items ...string) ledger.Op {
		return op(ledger.Status, ledger.OK, ledger.Op{State: state, Items: items})
	}
	lostSignal := op(ledger.Signal, ledger.Unknown, ledger.Op{Value: "lost", Request: "lost"})
	// What the histories say of the operations whose clients do not know.
	received := map[string][]*audit.Run{box: {{ID: first, Signals: []audit.ReceivedSignal{{Request: "lost"}}}, {ID: second}}}
	lostStart := op(ledger.Start, ledger.Unknown, ledger.Op{Request: "start2"})
	refused := func(verb ledger.Verb, code string) ledger.Op {
		return op(verb, code, ledger.Op{Value: "x", Request: "r"})
	}
	for name, c := range map[string]struct {
		ops   []ledger.Op
		legal bool
		runs  map[string][]*audit.Run
	}{
		"nothing there":                      {[]ledger.Op{refused(ledger.Signal, "not_found"), start, running}, true, nil},
		"not found after the start":          {[]ledger.Op{start, refused(ledger.Signal, "not_found")}, false, nil},
		"the same start again":               {[]ledger.Op{start, start, running}, true, nil},
		"another start while open":           {[]ledger.Op{start, refused(ledger.Start, "already_open")}, true, nil},
		"another start succeeds while open":  {[]ledger.Op{start, start2}, false, nil},
		"another start after the end":        {[]ledger.Op{start, terminate, start2}, true, nil},
		"an old start again":                 {[]ledger.Op{start, terminate, start2, start}, true, nil},
		"already open after the end":         {[]ledger.Op{start, terminate, refused(ledger.Start, "already_open")}, false, nil},
		"signals in order":                   {[]ledger.Op{start, a, end, status("completed", "a", "end")}, true, nil},
		"signal lost":                        {[]ledger.Op{start, a, end, status("completed", "end")}, false, nil},
		"signal twice":                       {[]ledger.Op{start, a, end, status("completed", "a", "a", "end")}, false, nil},
		"signal late":                        {[]ledger.Op{start, a, end, status("completed", "end", "a")}, false, nil},
		"completed without being told":       {[]ledger.Op{start, a, status("completed", "a")}, false, nil},
		"running after it was seen to end":   {[]ledger.Op{start, end, status("completed", "end"), running}, false, nil},
		"signal after it was seen to end":    {[]ledger.Op{start, end, status("completed", "end"), a}, false, nil},
		"ending takes signals":               {[]ledger.Op{start, end, a, running, status("completed", "end", "a")}, true, nil},
		"ending refuses signals":             {[]ledger.Op{start, end, refused(ledger.Signal, "run_completing"), refused(ledger.Signal, "run_ended")}, true, nil},
		"open refuses signals":               {[]ledger.Op{start, refused(ledger.Signal, "run_ended")}, false, nil},
		"cancelled":                          {[]ledger.Op{start, a, cancel, status("cancelled", "a")}, true, nil},
		"cancelled without a cancel":         {[]ledger.Op{start, a, status("cancelled", "a")}, false, nil},
		"terminated":                         {[]ledger.Op{start, a, terminate, status("terminated")}, true, nil},
		"terminated, yet completed":          {[]ledger.Op{start, end, terminate, status("completed", "end")}, false, nil},
		"terminated without a terminate":     {[]ledger.Op{start, status("terminated")}, false, nil},
		"lost signal that happened":          {[]ledger.Op{start, lostSignal, end, status("completed", "lost", "end")}, true, received},
		"lost signal that did not":           {[]ledger.Op{start, lostSignal, end, status("completed", "end")}, true, nil},
		"lost signal that the history has":   {[]ledger.Op{start, lostSignal, end, status("completed", "end")}, false, received},
		"lost cancel that happened":          {[]ledger.Op{start, op(ledger.Cancel, ledger.Unknown, ledger.Op{}), status("cancelled")}, true, nil},
		"lost cancel that did not":           {[]ledger.Op{start, op(ledger.Cancel, ledger.Unknown, ledger.Op{}), end, status("completed", "end")}, true, nil},
		"lost signal that happened twice":    {[]ledger.Op{start, lostSignal, end, status("completed", "lost", "lost", "end")}, false, received},
		"lost start that happened":           {[]ledger.Op{start, terminate, lostStart, op(ledger.Status, ledger.OK, ledger.Op{State: "running", Run: second})}, true, received},
		"run of a start that was not asked":  {[]ledger.Op{start, terminate, op(ledger.Status, ledger.OK, ledger.Op{State: "running", Run: second})}, false, nil},
		"answer of a run that is not newest": {[]ledger.Op{start, terminate, start2, a}, false, nil},
		"a code that no operation answers":   {[]ledger.Op{start, refused(ledger.Signal, "internal")}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ops []ledger.Op
			for i, op := range c.ops {
				op.Workflow, op.Call, op.Return = box, int64(10*i), int64(10*i+5)
				ops = append(ops, op)
			}
			counts, found := audit.API(audit.Evidence{Ops: ops, Runs: c.runs}, time.Minute)
			if legal := counts.Illegal == 0; legal != c.legal || counts.Unknown > 0 || len(found) != counts.Illegal {
				t.Errorf("%+v, %v", counts, found)
			}
		})
	}
}

// TestOverlappingOperationsMayTakeEffectInAnyOrder: what overlaps is not ordered by the calls.
func TestOverlappingOperationsMayTakeEffectInAnyOrder(t *testing.T) {
	t.Parallel()
	run := runOf(box, "start")
	ops := []ledger.Op{
		{Verb: ledger.Start, Request: "start", Call: 1, Return: 2, Code: ledger.OK, Run: run},
		{Verb: ledger.Signal, Value: "a", Call: 3, Return: 9, Code: ledger.OK, Run: run},
		{Verb: ledger.Signal, Value: "end", Call: 4, Return: 8, Code: ledger.OK, Run: run, Client: 1},
		{Verb: ledger.Status, Call: 10, Return: 11, Code: ledger.OK, Run: run, State: "completed", Items: []string{"end", "a"}},
	}
	for i := range ops {
		ops[i].Workflow = box
	}
	if counts, found := audit.API(audit.Evidence{Ops: ops}, time.Minute); counts.Illegal > 0 {
		t.Errorf("%+v, %v", counts, found)
	}
	ops[1].Return = 3 // it was over before the other began
	if counts, _ := audit.API(audit.Evidence{Ops: ops}, time.Minute); counts.Illegal != 1 {
		t.Errorf("%+v", counts)
	}
}
