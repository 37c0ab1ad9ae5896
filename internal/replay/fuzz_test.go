package replay_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

// versatile uses every primitive, and does what it does next because of what came before.
func versatile(r *replay.Run, input events.Payload) events.Intent {
	_ = r.SetView("state", input)
	task := call(r, "a")
	timer := r.Timer(r.Root(), r.Now().Add(1e9))
	signal := r.Next("go")
	step := r.Step(r.Root(), "s", replay.StepOptions{}, nil)
	other := r.Go(func() { _ = r.All(r.Root(), call(r, "b"), r.Next("go")) })
	if _, err := r.First(r.Root(), task, timer, signal); err != nil {
		return events.FailRun{Failure: replay.Failure(err)}
	}
	if p, ok, _ := r.TryNext("more"); ok {
		return events.ContinueRun{Input: p}
	}
	scope, cancel := r.WithTimeout(r.Root(), 5e9)
	defer cancel()
	if err := r.All(scope, step, other); err != nil {
		return events.FailRun{Failure: replay.Failure(err)}
	}
	return events.CompleteRun{}
}

// FuzzReplay gives code histories that no engine has written: it goes on or the run says why it cannot, the same way each
// time, and nothing panics or hangs.
func FuzzReplay(f *testing.F) {
	seed := func(s *story) {
		var b []byte
		for _, e := range s.events {
			one := events.AppendEvent(nil, e)
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(one))), one...)
		}
		f.Add(b, byte(0))
		f.Add(b, byte(3))
	}
	seed(begin())
	seed(begin().progress(false, events.ViewSet{Name: "state", Value: text("in")}, events.TaskScheduled{Step: 1, Name: "a"},
		events.TimerStarted{Step: 2, Due: 1e9 + 1e6}, events.TaskScheduled{Step: 4, Name: "b"}).
		add(events.SignalReceived{Name: "go", Index: 1}, events.TaskCompleted{Step: 1, Attempt: 1}, events.TimerFired{Step: 2}))
	seed(begin().add(events.CancelRequested{}, events.SignalReceived{Name: "more", Index: 1}, events.SignalReceived{Name: "go", Index: 1}))
	f.Fuzz(func(t *testing.T, b []byte, cut byte) {
		var s story
		for len(b) >= 2 && len(s.events) < 200 {
			n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2)
			e, err := events.DecodeEvent(b[2 : 2+n])
			b = b[2+n:]
			if err == nil {
				s.add(e)
			}
		}
		a := s.activation()
		a.Upto -= min(a.Upto, events.EventNumber(cut))
		if a.Base > a.Upto {
			a.Base = 0
		}
		first, err := outcomeOf(a)
		second, again := outcomeOf(a)
		if first != second || (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("the same history gives %q, %v and then %q, %v", first, err, second, again)
		}
	})
}

// outcomeOf runs the code once, with every step it starts done at once, and returns what it reports.
func outcomeOf(a replay.Activation) (progress string, err error) {
	r := newRun(versatile)
	defer r.Close()
	turn, err := r.Activate(a)
	for err == nil && turn.Progress == nil {
		if len(turn.Start) == 0 {
			return "", errors.New("it neither reports nor starts a step")
		}
		var done []replay.StepOutcome
		for _, s := range turn.Start {
			done = append(done, replay.StepOutcome{Step: s.Task.Step, Attempts: 1, Result: text("done")})
		}
		turn, err = r.StepsDone(done...)
	}
	if err != nil {
		return "", err
	}
	return string(events.AppendReportProgress(nil, turn.Progress)), nil
}
