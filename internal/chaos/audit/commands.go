package audit

import (
	"fmt"
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/pkg/events"
)

// request is all that was asked with one request id.
type request struct {
	ledger.Op // the first
	acks      []ledger.Op
	unknown   bool
	// late says that the newest answer was that the run had ended: what had not happened until then never will.
	late  bool
	first int64 // when it was acknowledged first; Never when it was not
}

// requests groups operations that change something, by workflow and request id, in the order of their first call.
func requests(ops []ledger.Op) []*request {
	type key struct{ workflow, request string }
	known := map[key]*request{}
	var all []*request
	sorted := slices.Clone(ops)
	slices.SortStableFunc(sorted, func(a, b ledger.Op) int { return int(min(max(a.Call-b.Call, -1), 1)) })
	for _, op := range sorted {
		if !op.Changes() {
			continue
		}
		r := known[key{op.Workflow, op.Request}]
		if r == nil {
			r = &request{Op: op, first: ledger.Never}
			known[key{op.Workflow, op.Request}] = r
			all = append(all, r)
		}
		switch {
		case op.Acked():
			r.acks = append(r.acks, op)
			r.first = min(r.first, op.Return)
		case op.Code == ledger.Unknown:
			r.unknown = true
		case op.Code == string(events.RunEnded):
			r.late = true
		}
	}
	return all
}

// commands checks that what was acknowledged happened, once, and that nothing happened that nobody asked for.
func commands(e Evidence) []Violation {
	var found []Violation
	received := map[string]map[string][]string{} // workflow, request: runs
	for _, w := range slices.Sorted(maps.Keys(e.Runs)) {
		received[w] = map[string][]string{}
		for _, run := range e.Runs[w] {
			for _, s := range run.Signals {
				received[w][s.Request] = append(received[w][s.Request], run.ID)
			}
		}
	}
	started := map[string]string{} // run: workflow
	for _, r := range requests(e.Ops) {
		switch r.Verb {
		case ledger.Start:
			found = append(found, start(e, r, started)...)
		case ledger.Signal, ledger.Extra:
			found = append(found, signal(r, received[r.Workflow][r.Request])...)
			delete(received[r.Workflow], r.Request)
		case ledger.Cancel, ledger.Terminate:
			found = append(found, ended(e, r)...)
		case ledger.Status, ledger.Result:
		}
	}
	for _, w := range slices.Sorted(maps.Keys(received)) {
		for _, request := range slices.Sorted(maps.Keys(received[w])) {
			found = append(found, Violation{RuleTwice, w, fmt.Sprintf("received a signal of request %q, which nobody sent", request)})
		}
		for _, run := range e.Runs[w] {
			if started[run.ID] != w {
				found = append(found, Violation{RuleTwice, w, fmt.Sprintf("run %s exists, but nobody asked for it", run.ID)})
			}
		}
	}
	return found
}

// start checks one start: all acknowledgements name one run, which exists.
func start(e Evidence, r *request, started map[string]string) []Violation {
	run := events.RunIDFor(events.DefaultNamespace, events.WorkflowID(r.Workflow), events.RequestID(r.Request)).String()
	started[run] = r.Workflow
	exists := slices.ContainsFunc(e.Runs[r.Workflow], func(known *Run) bool { return known.ID == run })
	for _, ack := range r.acks {
		switch {
		case ack.Run != run:
			return []Violation{{RuleTwice, r.Workflow, fmt.Sprintf("the start %s was acknowledged with run %s, and makes run %s", r.Request, ack.Run, run)}}
		case !exists:
			return []Violation{{RuleLost, r.Workflow, fmt.Sprintf("the start %s was acknowledged, but there is no run %s", r.Request, run)}}
		}
	}
	if exists && len(r.acks) == 0 && !r.unknown {
		return []Violation{{RuleTwice, r.Workflow, fmt.Sprintf("the start %s was refused, but there is run %s", r.Request, run)}}
	}
	return nil
}

// signal checks one signal: it is in one inbox when it was acknowledged, and in none when it was refused.
func signal(r *request, runs []string) []Violation {
	switch {
	case len(runs) > 1:
		return []Violation{{RuleTwice, r.Workflow, fmt.Sprintf("the signal of request %s was received %d times, by %v", r.Request, len(runs), runs)}}
	case len(r.acks) > 0 && len(runs) == 0:
		return []Violation{{RuleLost, r.Workflow, fmt.Sprintf("the signal of request %s was acknowledged by run %s, which did not receive it", r.Request, r.acks[0].Run)}}
	case len(r.acks) > 0 && r.acks[0].Run != "" && runs[0] != r.acks[0].Run:
		return []Violation{{RuleTwice, r.Workflow, fmt.Sprintf("the signal of request %s was acknowledged by run %s and received by %s", r.Request, r.acks[0].Run, runs[0])}}
	case len(r.acks) == 0 && (!r.unknown || r.late) && len(runs) > 0:
		return []Violation{{RuleTwice, r.Workflow, fmt.Sprintf("the signal of request %s was refused, but run %s received it", r.Request, runs[0])}}
	}
	return nil
}

// ended checks that an acknowledged cancel or terminate is in the history of its run.
func ended(e Evidence, r *request) []Violation {
	for _, ack := range r.acks {
		i := slices.IndexFunc(e.Runs[r.Workflow], func(run *Run) bool { return run.ID == ack.Run })
		if i < 0 {
			return []Violation{{RuleLost, r.Workflow, fmt.Sprintf("%s was acknowledged by run %s, which does not exist", r.Verb, ack.Run)}}
		}
		run := e.Runs[r.Workflow][i]
		if r.Verb == ledger.Cancel && !run.CancelRequested || r.Verb == ledger.Terminate && run.Status != events.StatusTerminated {
			return []Violation{{RuleLost, r.Workflow, fmt.Sprintf("%s was acknowledged by run %s, which is %v without it", r.Verb, ack.Run, run.Status)}}
		}
	}
	return nil
}

// inOrder checks that a signal acknowledged before another was sent comes before it.
func inOrder(run *Run, sent []*request, name string) []Violation {
	values := run.values(name)
	for _, a := range sent {
		for _, b := range sent {
			if a.first >= b.Call {
				continue
			}
			pa, pb := position(values, a.Value), position(values, b.Value)
			if pa > pb && pb >= 0 {
				return []Violation{{RuleOrder, run.Workflow, fmt.Sprintf(
					"signal %s was acknowledged before %s was sent, and received after it", a.Request, b.Request)}}
			}
		}
	}
	return nil
}

// names of the signals, by verb.
var names = map[ledger.Verb]string{ledger.Signal: program.Signal.Name(), ledger.Extra: program.Extra.Name()} //nolint:gochecknoglobals // a fixed table
