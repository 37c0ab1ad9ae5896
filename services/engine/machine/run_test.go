package machine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// decide decides and applies one command.
func decide(t *testing.T, r *machine.Run, c events.Command) events.Answer {
	t.Helper()
	evs, answer := r.Decide(events.Envelope{
		Namespace: header.Namespace, WorkflowID: header.WorkflowID, RunID: header.RunID, Command: c,
	}, begin)
	for _, e := range evs {
		must(t, r.Apply(e, r.Next(), begin))
	}
	return answer
}

func TestInboxIsBounded(t *testing.T) {
	t.Parallel()
	send := func(r *machine.Run, name events.SignalName, p events.Payload) events.Code {
		return decide(t, r, events.SignalWorkflow{Name: name, Input: p}).Code
	}
	for _, test := range []struct {
		what  string
		fits  int
		name  func(n int) events.SignalName
		input events.Payload
	}{
		{"signals", machine.MaxUnreadSignals, func(int) events.SignalName { return "go" }, events.Payload{}},
		{"inline bytes", 8, func(int) events.SignalName { return "go" }, events.Payload{Data: make([]byte, 128<<10)}},
		{"spilled payloads", machine.MaxUnreadSignals, func(int) events.SignalName { return "go" }, events.Payload{Blob: "default/run/hash", BlobBytes: 1 << 21}},
		{"names", machine.MaxSignalNames, func(n int) events.SignalName { return events.SignalName(fmt.Sprint("n", n)) }, events.Payload{}},
	} {
		r := startedRun(t, 1)
		for n := range test.fits {
			if code := send(r, test.name(n), test.input); code != events.OK {
				t.Fatalf("%s: signal %d of %d is answered %s", test.what, n+1, test.fits, code)
			}
		}
		if code := send(r, test.name(test.fits), test.input); code != events.InboxFull {
			t.Errorf("%s: one more than %d is answered %s", test.what, test.fits, code)
		}
		decoded, err := machine.Decode(r.AppendTo(nil))
		must(t, err)
		if code := send(decoded, test.name(test.fits), test.input); code != events.InboxFull {
			t.Errorf("%s: after decoding one more is answered %s", test.what, code)
		}
	}
}

func TestWaitForTooManyNames(t *testing.T) {
	t.Parallel()
	r := startedRun(t, 1)
	for _, e := range r.Settle(begin) {
		must(t, r.Apply(e, r.Next(), begin))
	}
	p := events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1}
	for n := range machine.MaxSignalNames + 1 {
		p.Wait.Any = append(p.Wait.Any, events.WaitGroup{Signals: []events.SignalWait{{Name: events.SignalName(fmt.Sprint("n", n)), Index: 1}}})
	}
	if a := decide(t, r, p); a.Code != events.InvalidArgument || !strings.Contains(a.Message, "signal names") {
		t.Errorf("answered %+v", a)
	}
}

func TestTooManyIntents(t *testing.T) {
	t.Parallel()
	r := startedRun(t, 1)
	for _, e := range r.Settle(begin) {
		must(t, r.Apply(e, r.Next(), begin))
	}
	p := events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1}
	for range machine.MaxIntents + 1 {
		p.Intents = append(p.Intents, events.SetView{Name: "state"})
	}
	if a := decide(t, r, p); a.Code != events.InvalidArgument || !strings.Contains(a.Message, "intents") {
		t.Errorf("answered %+v", a)
	}
}

func TestWhatARunTells(t *testing.T) {
	t.Parallel()
	r := startedRun(t, 1)
	if r.ID() != runID(1) || r.Namespace() != header.Namespace || r.WorkflowID() != header.WorkflowID || r.Status() != events.StatusRunning ||
		r.Next() != 2 || r.Time() != begin || r.Ended() != 0 || r.EndedAt() != 0 || r.Purged() || !r.Idle() {
		t.Errorf("a new run:\n%s", r.Describe())
	}
	must(t, r.Apply(events.RunQuarantined{Reason: "broken"}, 2, begin+1))
	if reason, ok := r.Quarantined(); !ok || reason != "broken" {
		t.Errorf("quarantined %t: %q", ok, reason)
	}
	must(t, r.Apply(events.RunReleased{}, 3, begin+1))
	must(t, r.Apply(events.RunTerminated{}, 4, begin+2))
	if _, ok := r.Quarantined(); ok || r.Status() != events.StatusTerminated || r.Ended() != 4 || r.EndedAt() != begin+2 || r.Next() != 5 {
		t.Errorf("an ended run:\n%s", r.Describe())
	}
	must(t, r.Apply(events.RunPurged{}, 5, begin+3))
	if !r.Purged() {
		t.Error("a purged run does not tell")
	}
}
