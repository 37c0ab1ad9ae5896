package machine_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// pieces cuts an input into parts that are led by their lengths; a length beyond the end takes what is left.
func pieces(b []byte) [][]byte {
	var parts [][]byte
	for len(b) >= 2 {
		n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2)
		parts = append(parts, b[2:2+n])
		b = b[2+n:]
	}
	return parts
}

func joined(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// FuzzDecide gives a run whatever commands pass the edge: each has an answer, its events fit the run, deciding changes
// nothing, and the encoded run is the same run.
func FuzzDecide(f *testing.F) {
	seed := func(commands ...events.Command) {
		var parts [][]byte
		for _, c := range commands {
			parts = append(parts, events.AppendCommand(nil, c))
		}
		f.Add(joined(parts...))
	}
	seed(
		events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, At: begin, Intents: []events.Intent{
			events.ScheduleTask{Step: 1, Name: "a"},
			events.StartTimer{Step: 2, Due: begin},
			events.SetView{Name: "v"},
			events.BackOffStep{Step: 3, Until: begin, Failure: events.Failure{Code: "x"}},
		}, Wait: events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1, 2}}, {Signals: []events.SignalWait{{Name: "go", Index: 1}}}}}},
		events.FailTask{Step: 1, Attempt: 1, RetryAfter: -1}, events.FireTimer{Timer: events.TimerID{Kind: events.TimerSleep, Step: 2}},
		events.CompleteTask{Step: 1, Attempt: 2},
		events.ReportProgress{Activation: 2, Attempt: 1, Upto: 10, At: begin, Intents: []events.Intent{events.ContinueRun{}}},
	)
	seed(
		events.SignalWorkflow{Name: "go"}, events.CancelWorkflow{Reason: "r"},
		events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, At: begin, Reads: []events.SignalRead{{Name: "go", Count: 1}}, Wait: events.WaitSet{Now: true}},
		events.FailActivation{Activation: 1, Attempt: 1}, events.TimeoutActivation{Activation: 1, Attempt: 2}, events.TerminateWorkflow{},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := startedRun(t, 1)
		apply := func(evs []events.Event) {
			for _, e := range evs {
				if err := r.Apply(e, r.Next(), begin); err != nil {
					t.Fatalf("a decided event does not fit: %v\n%s", err, r.Describe())
				}
			}
		}
		apply(r.Settle(begin))
		for _, part := range pieces(b) {
			c, err := events.DecodeCommand(part)
			if err != nil {
				continue
			}
			env := events.Envelope{Namespace: r.Namespace(), WorkflowID: "w", RunID: r.ID(), Command: c}
			if env.Validate() != nil {
				continue
			}
			before := r.AppendTo(nil)
			evs, answer := r.Decide(env, begin)
			if answer.Code == "" || !bytes.Equal(before, r.AppendTo(nil)) {
				t.Fatalf("%#v: answered %+v; it changed the run: %t", c, answer, !bytes.Equal(before, r.AppendTo(nil)))
			}
			apply(evs)
			apply(r.Settle(begin))
		}
		row := r.AppendTo(nil)
		decoded, err := machine.Decode(row)
		if err != nil || !bytes.Equal(row, decoded.AppendTo(nil)) {
			t.Fatalf("the encoded run is another one: %v", err)
		}
	})
}

// FuzzApply gives a run whatever events a log could have: each is applied, or refused and the run unchanged.
func FuzzApply(f *testing.F) {
	seed := func(evs ...events.Event) {
		var parts [][]byte
		for _, e := range evs {
			parts = append(parts, events.AppendEvent(nil, e))
		}
		f.Add(joined(parts...))
	}
	seed(
		events.RunStarted{Type: "w", Queue: "q"}, events.ActivationScheduled{Activation: 1, Attempt: 1, ReplayFrom: 1, Upto: 1},
		events.ProgressMade{Activation: 1, Attempt: 1, Upto: 1}, events.TaskScheduled{Step: 1, Name: "a", Queue: "q"},
		events.TaskCompleted{Step: 1, Attempt: 1}, events.RunCompleted{}, events.RunPurged{},
	)
	seed(
		events.RunStarted{Type: "w", Queue: "q"}, events.SignalReceived{Name: "s", Index: 1}, events.RunQuarantined{Reason: "r"}, events.RunReleased{},
		events.ActivationScheduled{Activation: 1, Attempt: 1, ReplayFrom: 1, Upto: 4}, events.ActivationFailed{Activation: 1, Attempt: 1},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := machine.NewRun(header)
		for _, part := range pieces(b) {
			e, err := events.DecodeEvent(part)
			if err != nil {
				continue
			}
			before := r.AppendTo(nil)
			if r.Apply(e, r.Next(), begin) != nil && !bytes.Equal(before, r.AppendTo(nil)) {
				t.Fatalf("%#v was refused and changed the run:\n%s", e, r.Describe())
			}
		}
		row := r.AppendTo(nil)
		decoded, err := machine.Decode(row)
		if err != nil || !bytes.Equal(row, decoded.AppendTo(nil)) {
			t.Fatalf("the encoded run is another one: %v\n%s", err, r.Describe())
		}
	})
}
