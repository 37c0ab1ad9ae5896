package machine_test

import (
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

func startedRun(t *testing.T, id byte) *machine.Run {
	h := header
	h.RunID = runID(id)
	r := machine.NewRun(h)
	must(t, r.Apply(events.RunStarted{Type: "w", Queue: "q"}, 1, begin))
	return r
}

func TestStartWhenTheIDIsTaken(t *testing.T) {
	t.Parallel()
	open := startedRun(t, 1)
	quarantined := startedRun(t, 1)
	must(t, quarantined.Apply(events.RunQuarantined{Reason: "broken"}, 2, begin))
	running := &machine.KnownRun{RunID: runID(1), Status: events.StatusRunning}
	completed := &machine.KnownRun{RunID: runID(1), Status: events.StatusCompleted}
	for _, test := range []struct {
		name              string
		policy            events.IDPolicy
		open              *machine.Run
		newest            *machine.KnownRun
		code              events.Code
		run               events.RunID
		started           bool
		terminate, begins int
	}{
		{"free", events.IDRejectOpen, nil, nil, events.OK, runID(2), true, 0, 1},
		{"open, reject", events.IDRejectOpen, open, running, events.AlreadyOpen, runID(1), false, 0, 0},
		{"open, reject any", events.IDRejectAny, open, running, events.AlreadyOpen, runID(1), false, 0, 0},
		{"open, attach", events.IDAttachOpen, open, running, events.OK, runID(1), false, 0, 0},
		{"open, terminate", events.IDTerminateOpen, open, running, events.OK, runID(2), true, 1, 1},
		{"quarantined, terminate", events.IDTerminateOpen, quarantined, running, events.Quarantined, runID(1), false, 0, 0},
		{"ended, reject", events.IDRejectOpen, nil, completed, events.OK, runID(2), true, 0, 1},
		{"ended, attach", events.IDAttachOpen, nil, completed, events.OK, runID(2), true, 0, 1},
		{"ended, terminate", events.IDTerminateOpen, nil, completed, events.OK, runID(2), true, 0, 1},
		{"ended, reject any", events.IDRejectAny, nil, completed, events.IDTaken, runID(1), false, 0, 0},
	} {
		env := events.Envelope{
			Namespace: "default", WorkflowID: "billing/17", RunID: runID(2),
			Command: events.StartWorkflow{Type: "w", IDPolicy: test.policy},
		}
		d := machine.Start(env, begin, test.open, test.newest)
		if d.Answer.Code != test.code || d.Answer.RunID != test.run || d.Answer.Started != test.started {
			t.Errorf("%s: answer %+v", test.name, d.Answer)
		}
		if len(d.Terminate) != test.terminate || len(d.Begin) != test.begins {
			t.Errorf("%s: %v, then %v", test.name, d.Terminate, d.Begin)
		}
	}
}

func TestStartRepeated(t *testing.T) {
	t.Parallel()
	for _, status := range []events.Status{events.StatusRunning, events.StatusFailed} {
		env := events.Envelope{Namespace: "default", WorkflowID: "billing/17", RunID: runID(1), Command: events.StartWorkflow{Type: "w"}}
		d := machine.Start(env, begin, nil, &machine.KnownRun{RunID: runID(1), Status: status})
		a := d.Answer
		if len(d.Begin) != 0 || a.Code != events.OK || !a.Duplicate || !a.Started || a.RunID != runID(1) || a.Status != status {
			t.Errorf("%s: %+v", status, d)
		}
	}
}

func TestStartRefusesBadInput(t *testing.T) {
	t.Parallel()
	good := events.Envelope{Namespace: "default", WorkflowID: "w", RunID: runID(1)}
	for _, test := range []struct {
		name    string
		change  func(*events.Envelope)
		command events.Command
		code    events.Code
	}{
		{"no type", nil, events.StartWorkflow{}, events.BadIDCode},
		{"bad queue", nil, events.StartWorkflow{Type: "w", Queue: "a b"}, events.BadIDCode},
		{"no workflow id", func(e *events.Envelope) { e.WorkflowID = "" }, events.StartWorkflow{Type: "w"}, events.BadIDCode},
		{"no run id", func(e *events.Envelope) { e.RunID = events.RunID{} }, events.StartWorkflow{Type: "w"}, events.InvalidArgument},
		{"negative timeout", nil, events.StartWorkflow{Type: "w", RunTimeout: -1}, events.InvalidArgument},
		{"unknown policy", nil, events.StartWorkflow{Type: "w", IDPolicy: 99}, events.InvalidArgument},
		{"no start", nil, events.GetRun{}, events.InvalidArgument},
	} {
		env := good
		env.Command = test.command
		if test.change != nil {
			test.change(&env)
		}
		if d := machine.Start(env, begin, nil, nil); d.Answer.Code != test.code || d.Answer.Message == "" || len(d.Begin) != 0 {
			t.Errorf("%s: %+v", test.name, d)
		}
	}
}
