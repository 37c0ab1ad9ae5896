package machine_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// sleeping returns a run that has billed for ten years and waits for the end of a month or a signal.
func sleeping(t testing.TB) *machine.Run {
	r := machine.NewRun(events.Header{Namespace: "default", WorkflowID: "billing/customer-0001234567", RunID: runID(1)})
	at := begin
	do := func(c events.Command) {
		evs, answer := r.Decide(events.Envelope{Namespace: "default", WorkflowID: r.WorkflowID(), RunID: r.ID(), Command: c}, at)
		if answer.Code != events.OK {
			t.Fatal(answer)
		}
		for _, e := range evs {
			must(t, r.Apply(e, r.Next(), at))
		}
		for _, e := range r.Settle(at) {
			must(t, r.Apply(e, r.Next(), at))
		}
	}
	do(events.StartWorkflow{Type: "billing.MonthlyBilling"})
	upto, step := events.EventNumber(1), events.Step(1)
	for month := range uint64(120) {
		do(events.ReportProgress{
			Activation: 2*month + 1, Attempt: 1, Upto: upto, At: at,
			Wait: events.WaitSet{Any: []events.WaitGroup{
				{Steps: []events.Step{step}}, {Signals: []events.SignalWait{{Name: "billing.Unsubscribed", Index: 1}}},
			}},
			Intents: []events.Intent{events.StartTimer{Step: step, Due: at + 1000}},
		})
		if month == 119 {
			break
		}
		at += 1000
		do(events.FireTimer{Timer: events.TimerID{Kind: events.TimerSleep, Step: step}})
		do(events.ReportProgress{
			Activation: 2*month + 2, Attempt: 1, Upto: r.Next() - 2, At: at, Wait: events.WaitSet{Now: true},
			Intents: []events.Intent{events.RecordStep{Step: step + 1}, events.SetView{Name: "months"}},
		})
		upto, step = r.Next()-2, step+2
	}
	return r
}

func TestRunWithoutOpenWorkIsSmall(t *testing.T) {
	t.Parallel()
	r := sleeping(t)
	if !r.Idle() {
		t.Fatalf("it has open work:\n%s", r.Describe())
	}
	if n := len(r.AppendTo(nil)); n > 300 {
		t.Errorf("it takes %d bytes, want at most 300:\n%s", n, r.Describe())
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	t.Parallel()
	row := sleeping(t).AppendTo(nil)
	for n := range row {
		if _, err := machine.Decode(row[:n]); !errors.Is(err, machine.ErrRow) {
			t.Errorf("the first %d bytes of %d: %v", n, len(row), err)
		}
	}
	if _, err := machine.Decode(append(bytes.Clone(row), 0)); !errors.Is(err, machine.ErrRow) {
		t.Errorf("a byte too many: %v", err)
	}
	newer := bytes.Clone(row)
	newer[0]++
	if _, err := machine.Decode(newer); !errors.Is(err, machine.ErrVersion) || errors.Is(err, machine.ErrRow) {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sleeping(f).AppendTo(nil))
	f.Add(wideRun(f, 3).AppendTo(nil))
	f.Add(machine.NewRun(header).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := machine.Decode(b)
		if err != nil {
			return
		}
		once := r.AppendTo(nil)
		again, err := machine.Decode(once)
		if err != nil {
			t.Fatalf("the row of a decoded run does not decode: %v", err)
		}
		if !bytes.Equal(once, again.AppendTo(nil)) {
			t.Fatal("the row of a decoded run is not stable")
		}
		// A run that decodes answers whatever comes, without panic.
		for _, c := range []events.Command{
			events.GetRun{},
			events.CancelWorkflow{},
			events.SignalWorkflow{Name: "go"},
			events.CompleteTask{Step: 1, Attempt: 1},
			events.FireTimer{Timer: events.TimerID{Kind: events.TimerSleep, Step: 1}},
			events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, Intents: []events.Intent{events.ContinueRun{}}},
		} {
			evs, _ := r.Decide(events.Envelope{RunID: r.ID(), Command: c}, r.Time())
			for _, e := range append(evs, r.Settle(r.Time())...) {
				if r.Apply(e, r.Next(), r.Time()) != nil {
					return
				}
			}
		}
	})
}
