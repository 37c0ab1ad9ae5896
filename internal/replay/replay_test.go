package replay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var runID = events.MakeRunID(1, [10]byte{9: 1})

type main = func(r *replay.Run, input events.Payload) events.Intent

func newRun(code main) *replay.Run { return replay.New(replay.Options{RunID: runID, Main: code}) }

// story is a history under construction.
type story struct{ events []events.Event }

func begin() *story {
	s := &story{}
	return s.add(events.RunStarted{Type: "w", Input: text("in")})
}

func (s *story) add(es ...events.Event) *story {
	s.events = append(s.events, es...)
	return s
}

func (s *story) last() events.EventNumber { return events.EventNumber(len(s.events)) }

// progress records that the code was given all events so far, and did what follows.
func (s *story) progress(now bool, es ...events.Event) *story {
	upto := s.last()
	s.add(events.ActivationScheduled{Activation: uint64(upto), Attempt: 1, Upto: upto})
	s.add(events.ProgressMade{Activation: uint64(upto), Attempt: 1, At: events.Time(upto) * 1e6, Upto: upto, Wait: events.WaitSet{Now: now}})
	return s.add(es...)
}

// activation is what the engine would schedule now.
func (s *story) activation() replay.Activation {
	a := replay.Activation{
		Number: uint64(s.last()), Attempt: 1, At: events.Time(s.last()) * 1e6, ReplayFrom: 1, Upto: s.last(),
		Records: []*events.Record{{Header: events.Header{First: 1}, Events: append([]events.Event(nil), s.events...)}},
	}
	for i, e := range s.events {
		if _, ok := e.(events.ProgressMade); ok {
			a.Base = events.EventNumber(i + 1)
		}
	}
	return a
}

func text(s string) events.Payload { return events.Payload{Encoding: "text", Data: []byte(s)} }

func activate(t *testing.T, r *replay.Run, a replay.Activation) replay.Turn {
	t.Helper()
	turn, err := r.Activate(a)
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

// call is a task of the run's own scope.
func call(r *replay.Run, name string) *replay.Future {
	return r.Call(r.Root(), events.ScheduleTask{Name: events.TaskName(name)})
}

func result(f *replay.Future) string {
	p, failure, err := f.Outcome()
	if failure != nil || err != nil {
		return fmt.Sprint(failure, err)
	}
	return string(p.Data)
}

func twoCalls(r *replay.Run, input events.Payload) events.Intent {
	a := call(r, "a")
	if err := r.Await(r.Root(), a); err != nil {
		return events.FailRun{Failure: events.Failure{Message: err.Error()}}
	}
	b := call(r, "b")
	_ = r.Await(r.Root(), b)
	p, _, _ := b.Outcome()
	return events.CompleteRun{Result: text(string(input.Data) + string(p.Data))}
}

func TestProgressNamesWhatTheCodeWantsAndWaitsFor(t *testing.T) {
	t.Parallel()
	r := newRun(twoCalls)
	defer r.Close()
	s := begin()
	turn := activate(t, r, s.activation())
	want := &events.ReportProgress{
		Activation: 1, Attempt: 1, At: 1e6, Upto: 1,
		Wait:    events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}},
		Intents: []events.Intent{events.ScheduleTask{Step: 1, Name: "a"}},
	}
	if diff := cmp.Diff(want, turn.Progress); diff != "" {
		t.Error(diff)
	}
	if r.Fibers() != 1 || r.Bytes() < 8<<10 || turn.Ended {
		t.Errorf("%d fibers, %d bytes, ended %v", r.Fibers(), r.Bytes(), turn.Ended)
	}
	s.progress(false, events.TaskScheduled{Step: 1, Name: "a"}).add(events.TaskCompleted{Step: 1})
	s.progress(false, events.TaskScheduled{Step: 2, Name: "b"}).add(events.TaskCompleted{Step: 2, Result: text("put")})
	full := newRun(twoCalls)
	defer full.Close()
	turn = activate(t, full, s.activation())
	if diff := cmp.Diff([]events.Intent{events.CompleteRun{Result: text("input")}}, turn.Progress.Intents); diff != "" || !turn.Ended {
		t.Error(diff)
	}
	if _, err := full.Activate(s.activation()); !errors.Is(err, replay.ErrNotLive) {
		t.Errorf("an activation after the end: %v", err)
	}
}

func TestLiveRunGoesOnOnlyFromItsOwnProgress(t *testing.T) {
	t.Parallel()
	s := begin()
	r := newRun(twoCalls)
	defer r.Close()
	first := activate(t, r, s.activation())
	s.progress(false, events.TaskScheduled{Step: 1, Name: "a"}).add(events.TaskCompleted{Step: 1})
	good := s.activation()
	delta := good
	delta.Records = []*events.Record{{Header: events.Header{First: first.Progress.Upto + 1}, Events: s.events[first.Progress.Upto:]}}
	for name, change := range map[string]func(*replay.Activation){
		"second attempt": func(a *replay.Activation) { a.Attempt = 2 },
		"other base":     func(a *replay.Activation) { a.Base++ },
		"continued":      func(a *replay.Activation) { a.ReplayFrom = 3 },
		"events missing": func(a *replay.Activation) { a.Records = a.Records[:0] },
		"a gap": func(a *replay.Activation) {
			a.Records = []*events.Record{{Header: events.Header{First: 3}, Events: s.events[2:]}}
		},
		"other attempt": func(a *replay.Activation) {
			es := append([]events.Event(nil), s.events...)
			es[a.Base-1] = events.ProgressMade{Activation: 1, Attempt: 2, Upto: 1}
			a.Records = []*events.Record{{Header: events.Header{First: 1}, Events: es}}
		},
	} {
		a := delta
		change(&a)
		if _, err := r.Activate(a); !errors.Is(err, replay.ErrNotLive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if turn := activate(t, r, delta); len(turn.Progress.Intents) != 1 {
		t.Errorf("the fitting delta: %+v", turn.Progress)
	}
}

func TestDamagedHistoryIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*replay.Activation){
		"empty":     func(a *replay.Activation) { a.Records = nil },
		"ends soon": func(a *replay.Activation) { a.Upto += 3 },
		"a gap":     func(a *replay.Activation) { a.Records[0].First = 2 },
		"no start":  func(a *replay.Activation) { a.Records[0].Events[0] = events.RunReleased{} },
	} {
		a := begin().progress(false).activation()
		change(&a)
		r := newRun(twoCalls)
		_, err := r.Activate(a)
		if damaged := new(replay.HistoryError); !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := r.Activate(a); !errors.Is(again, err) {
			t.Errorf("%s: the second time it says %v", name, again)
		}
	}
}

// TestEvictionRunsDefersWithoutEffect holds what user code can rely on when its run leaves memory.
func TestEvictionRunsDefersWithoutEffect(t *testing.T) {
	t.Parallel()
	var seen []string
	see := func(format string, args ...any) { seen = append(seen, fmt.Sprintf(format, args...)) }
	code := func(r *replay.Run, _ events.Payload) events.Intent {
		defer func() {
			see("main recovers %v", recover())
			f := call(r, "undo")
			_, _, err := f.Outcome()
			see("call %v", errors.Is(err, replay.ErrDead))
			see("await %v", errors.Is(r.Await(r.Root(), f), replay.ErrDead))
			see("view %v", errors.Is(r.SetView("v", text("x")), replay.ErrDead))
			_, _, err = r.Go(func() { see("never") }).Outcome()
			see("go %v", errors.Is(err, replay.ErrDead))
			see("replaying %v", r.Replaying())
		}()
		for range 2 {
			r.Go(func() {
				defer see("fiber is over")
				func() { // a recover around the call does not swallow the end
					defer func() { see("fiber recovers %v", recover()) }()
					_ = r.Await(r.Root(), call(r, "a"))
					see("never")
				}()
				see("never")
			})
		}
		_ = r.Await(r.Root(), call(r, "b"))
		see("never")
		return events.CompleteRun{}
	}
	r := newRun(code)
	activate(t, r, begin().activation())
	if r.Fibers() != 3 {
		t.Errorf("%d fibers, want 3", r.Fibers())
	}
	r.Close()
	r.Close()
	want := "fiber recovers <nil>|fiber is over|fiber recovers <nil>|fiber is over|" +
		"main recovers <nil>|call true|await true|view true|go true|replaying true"
	if got := strings.Join(seen, "|"); got != want || r.Fibers() != 0 {
		t.Errorf("%d fibers are left, and the defers saw\n%s, want\n%s", r.Fibers(), got, want)
	}
	if _, err := r.Activate(begin().activation()); !errors.Is(err, replay.ErrNotLive) {
		t.Errorf("an activation after Close: %v", err)
	}
}

func TestCloseOfARunThatNeverBegan(t *testing.T) {
	t.Parallel()
	r := newRun(twoCalls)
	r.Close()
	if r.Fibers() != 0 {
		t.Errorf("%d fibers", r.Fibers())
	}
}

func TestFailureOfOneFiberEndsAll(t *testing.T) {
	t.Parallel()
	over := 0
	r := newRun(func(r *replay.Run, _ events.Payload) events.Intent {
		defer func() { over++ }()
		r.Go(func() {
			defer func() { over++ }()
			_ = r.Await(r.Root(), call(r, "a"))
		})
		r.Go(func() { panic(errors.New("ouch")) })
		return events.CompleteRun{}
	})
	_, err := r.Activate(begin().activation())
	failure := replay.Failure(err)
	if failure.Code != events.CodeWorkflowPanicked || !strings.Contains(failure.Message, "ouch at ") || !strings.Contains(failure.Message, "goroutine ") {
		t.Errorf("%s: %s", failure.Code, failure.Message)
	}
	if over != 2 || r.Fibers() != 0 {
		t.Errorf("%d defers ran, %d fibers are left", over, r.Fibers())
	}
}

func TestBlockedTellsWhereTheCodeIs(t *testing.T) {
	t.Parallel()
	hang, reached := make(chan struct{}), make(chan struct{})
	r := newRun(func(r *replay.Run, _ events.Payload) events.Intent {
		r.Go(func() { _ = r.Await(r.Root(), call(r, "a")) })
		thisIsWhereItHangs(reached, hang)
		return events.CompleteRun{}
	})
	done := make(chan error)
	go func() {
		_, err := r.Activate(begin().activation())
		done <- err
	}()
	<-reached
	if stack := r.Blocked(); !strings.Contains(stack, "thisIsWhereItHangs") {
		t.Errorf("Blocked: %q", stack)
	}
	close(hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if stack := r.Blocked(); stack != "" {
		t.Errorf("Blocked, while nothing runs: %q", stack)
	}
	r.Close()
}

func thisIsWhereItHangs(reached, hang chan struct{}) {
	close(reached)
	<-hang
}

func TestStepsRunAfterWhatWasBeforeIsDurable(t *testing.T) {
	t.Parallel()
	code := func(r *replay.Run, _ events.Payload) events.Intent {
		call(r, "a")
		x := r.Step(r.Root(), "x", replay.StepOptions{}, "work")
		r.Go(func() { _ = r.Await(r.Root(), r.Step(r.Root(), "y", replay.StepOptions{}, "other")) })
		_ = r.Await(r.Root(), x)
		_ = r.Await(r.Root(), r.Step(r.Root(), "z", replay.StepOptions{}, nil))
		return events.CompleteRun{Result: text(result(x))}
	}
	s := begin()
	r := newRun(code)
	defer r.Close()
	turn := activate(t, r, s.activation())
	if len(turn.Start) != 0 || turn.Progress == nil || !turn.Progress.Wait.Now || len(turn.Progress.Intents) != 1 {
		t.Fatalf("the call is reported first: %+v", turn)
	}
	s.progress(true, events.TaskScheduled{Step: 1, Name: "a"})
	turn = activate(t, r, s.activation())
	if len(turn.Start) != 2 || turn.Progress != nil || turn.Start[0].Work != "work" || turn.Start[1].Task.Step != 3 || turn.Start[0].Attempt != 1 {
		t.Fatalf("then the steps begin: %+v", turn)
	}
	turn, err := r.StepsDone(replay.StepOutcome{Step: 2, Result: text("done"), Attempts: 1}, replay.StepOutcome{Step: 99})
	if err != nil || turn.Progress == nil || !turn.Progress.Wait.Now {
		t.Fatalf("the first outcome is reported: %+v, %v", turn, err)
	}
	s.progress(true, events.StepRecorded{Step: 2, Label: "x", Result: text("done"), Attempts: 1})
	turn = activate(t, r, s.activation())
	if len(turn.Start) != 1 || turn.Start[0].Label != "z" {
		t.Fatalf("the next step begins after that: %+v", turn)
	}
	fresh := newRun(code)
	defer fresh.Close()
	if turn = activate(t, fresh, s.activation()); len(turn.Start) != 2 || turn.Start[0].Label != "y" {
		t.Errorf("a worker that replays begins both open steps: %+v", turn)
	}
}

func TestTimePassesWhileAStepRuns(t *testing.T) {
	t.Parallel()
	const after = events.Time(60e6)
	code := func(r *replay.Run, _ events.Payload) events.Intent {
		_ = r.Await(r.Root(), r.Step(r.Root(), "x", replay.StepOptions{}, nil))
		_ = r.Await(r.Root(), r.Timer(r.Root(), r.Now().Add(time.Second)))
		return events.CompleteRun{}
	}
	s := begin()
	r := newRun(code)
	defer r.Close()
	activate(t, r, s.activation())
	turn, err := r.StepsDone(replay.StepOutcome{Step: 1, Attempts: 1, At: after})
	if err != nil {
		t.Fatal(err)
	}
	due := events.StartTimer{Step: 2, Due: after.Add(time.Second)}
	if diff := cmp.Diff(events.Intent(due), turn.Progress.Intents[1]); diff != "" || turn.Progress.At >= after {
		t.Errorf("the timer begins when the step has ended: %s, shown %d at first", diff, turn.Progress.At)
	}
	s.progress(false, events.StepRecorded{Step: 1, Label: "x", Attempts: 1, At: after}, events.TimerStarted(due)).add(events.TimerFired{Step: 2})
	fresh := newRun(code)
	defer fresh.Close()
	if turn := activate(t, fresh, s.activation()); !turn.Ended {
		t.Errorf("replay is shown the same time: %+v", turn)
	}
}

func TestStepThatBacksOffIsTriedAgainByTheEngine(t *testing.T) {
	t.Parallel()
	code := func(r *replay.Run, _ events.Payload) events.Intent {
		_ = r.Await(r.Root(), r.Step(r.Root(), "x", replay.StepOptions{}, nil))
		return events.CompleteRun{}
	}
	s := begin()
	r := newRun(code)
	defer r.Close()
	activate(t, r, s.activation())
	turn, err := r.StepsDone(replay.StepOutcome{Step: 1, Attempts: 4, Until: 9e6, Failure: &events.Failure{Code: "no"}})
	want := events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{1}}}}
	if diff := cmp.Diff(want, turn.Progress.Wait); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	s.progress(false, events.StepBackedOff{Step: 1, Label: "x", Attempt: 4, Until: 9e6}).add(events.StepRetryDue{Step: 1})
	if turn = activate(t, r, s.activation()); len(turn.Start) != 1 || turn.Start[0].Attempt != 5 {
		t.Errorf("%+v", turn)
	}
}

func TestNextTry(t *testing.T) {
	t.Parallel()
	c := replay.StepCall{Task: events.TaskID{Run: runID, Step: 1}}
	f := &events.Failure{Code: "no"}
	if _, delay, again := replay.NextTry(c, 1, f, -1, 0, 0); !again || delay < 900*time.Millisecond || delay > time.Second {
		t.Errorf("the first retry comes in the worker after %v, %v", delay, again)
	}
	if o, _, again := replay.NextTry(c, 4, f, -1, 7*time.Second, 1e6); again || o.Until < events.Time(8e6) {
		t.Errorf("beyond 10 s the engine wakes the step: %+v", o)
	}
	if o, _, again := replay.NextTry(c, 1, f, time.Minute, 0, 1e6); again || o.Until != events.Time(61e6) {
		t.Errorf("the step's own delay counts: %+v", o)
	}
	c.Retry.MaxAttempts = 2
	if o, _, again := replay.NextTry(c, 2, f, -1, 0, 0); again || o.Until != 0 || o.Failure != f || o.Attempts != 2 {
		t.Errorf("the last attempt: %+v", o)
	}
}

func TestCheckReplaysEveryGeneration(t *testing.T) {
	t.Parallel()
	code := func(r *replay.Run, input events.Payload) events.Intent {
		a := call(r, "a"+string(input.Data))
		_ = r.Await(r.Root(), a)
		next := r.Next("s")
		_ = r.Await(r.Root(), next)
		if string(input.Data) == "in" {
			return events.ContinueRun{Input: text("2")}
		}
		return events.CompleteRun{}
	}
	s := begin().add(events.SignalReceived{Name: "s", Index: 1}, events.SignalReceived{Name: "s", Index: 2})
	s.progress(false, events.TaskScheduled{Step: 1, Name: "ain"}).add(events.TaskCompleted{Step: 1})
	s.progress(false, events.RunContinued{Input: text("2"), LastStep: 1, Reads: []events.SignalRead{{Name: "s", Count: 1}}, OldestUnread: 3})
	s.progress(false, events.TaskScheduled{Step: 2, Name: "a2"}).add(events.TaskCompleted{Step: 2})
	s.progress(false, events.RunCompleted{})
	records := s.activation().Records
	if err := replay.Check(records, func() *replay.Run { return newRun(code) }); err != nil {
		t.Error(err)
	}
	other := func(r *replay.Run, input events.Payload) events.Intent {
		if string(input.Data) == "2" {
			call(r, "b")
		}
		return code(r, input)
	}
	err := replay.Check(records, func() *replay.Run { return newRun(other) })
	var mismatch *replay.Mismatch
	if !errors.As(err, &mismatch) || mismatch.Position != 13 || !strings.Contains(mismatch.Wanted, `"a2" (step 2)`) || !strings.Contains(mismatch.Found, `"b"`) {
		t.Errorf("%v", err)
	}
	if f := replay.Failure(err); f.Code != events.CodeNonDeterministic {
		t.Errorf("code %s", f.Code)
	}
}

// TestReadsTellWhatWasLookedFor: a run must not end before it has seen the signals of every name that its code asked for.
func TestReadsTellWhatWasLookedFor(t *testing.T) {
	t.Parallel()
	r := newRun(func(r *replay.Run, _ events.Payload) events.Intent {
		_, _, _ = r.TryNext("looked")
		_, _ = r.Next("asked"), r.Await(r.Root(), call(r, "a"))
		return events.CompleteRun{}
	})
	defer r.Close()
	s := begin().add(events.SignalReceived{Name: "ignored", Index: 1})
	turn := activate(t, r, s.activation())
	want := []events.SignalRead{{Name: "asked"}, {Name: "looked"}}
	if diff := cmp.Diff(want, turn.Progress.Reads); diff != "" {
		t.Error(diff)
	}
}

// TestReplayBeginsAtTheLastContinuation gives a new run what a worker gets of a long one: the signals that had not been
// read, and all since the continuation.
func TestReplayBeginsAtTheLastContinuation(t *testing.T) {
	t.Parallel()
	continued := events.RunContinued{Input: text("2"), LastStep: 41, Reads: []events.SignalRead{{Name: "s", Count: 1}}, OldestUnread: 5}
	record := func(first events.EventNumber, es ...events.Event) *events.Record {
		return &events.Record{Header: events.Header{First: first}, Events: es}
	}
	before := []*events.Record{record(5,
		events.SignalReceived{Name: "s", Index: 2, Input: text("second")}, events.TaskCompleted{Step: 3},
		events.SignalReceived{Name: "s", Index: 1, Input: text("first")})}
	var seen []string
	r := newRun(func(r *replay.Run, input events.Payload) events.Intent {
		seen = append(seen, string(input.Data))
		for {
			p, ok, err := r.TryNext("s")
			if err != nil || !ok {
				break
			}
			seen = append(seen, string(p.Data))
		}
		_ = r.Await(r.Root(), call(r, "a"))
		return events.CompleteRun{}
	})
	defer r.Close()
	turn := activate(t, r, replay.Activation{
		Number: 9, Attempt: 1, ReplayFrom: 90, Upto: 91,
		Records: append(events.UnreadSignals(continued, before), record(90, continued, events.SignalReceived{Name: "s", Index: 3, Input: text("third")})),
	})
	if got := fmt.Sprint(seen); got != "[2 second third]" {
		t.Errorf("the code saw %s", got)
	}
	want := []events.Intent{events.ScheduleTask{Step: 42, Name: "a"}}
	if diff := cmp.Diff(want, turn.Progress.Intents); diff != "" || turn.Progress.Reads[0].Count != 3 || r.Generation() != 90 {
		t.Errorf("%s, reads %v", diff, turn.Progress.Reads)
	}
}

// TestCancelOutlivesAContinuation: the code that begins again in a run that was asked to cancel finds its context cancelled.
func TestCancelOutlivesAContinuation(t *testing.T) {
	t.Parallel()
	r := newRun(func(r *replay.Run, _ events.Payload) events.Intent {
		a := call(r, "a")
		_ = r.Await(r.Root(), a)
		if _, _, err := a.Outcome(); !errors.Is(err, replay.ErrCancelled) || !r.CancelRequested() {
			t.Errorf("the call ended with %v, cancel requested %v", err, r.CancelRequested())
		}
		return events.CancelRun{}
	})
	defer r.Close()
	turn := activate(t, r, replay.Activation{
		Number: 9, Attempt: 1, ReplayFrom: 90, Upto: 90,
		Records: []*events.Record{{Header: events.Header{First: 90}, Events: []events.Event{events.RunContinued{CancelRequested: true}}}},
	})
	if !turn.Ended {
		t.Errorf("the code goes on: %+v", turn.Progress)
	}
}

func TestFailureOfADriver(t *testing.T) {
	t.Parallel()
	given := &events.Failure{Code: events.CodeWorkflowBlocked, Message: "it hangs"}
	for want, err := range map[string]error{
		events.CodeWorkflowBlocked:    given,
		string(events.NotImplemented): &events.Error{Code: events.NotImplemented},
		events.CodeWorkflowFailed:     errors.New("else"),
	} {
		if f := replay.Failure(fmt.Errorf("wrapped: %w", err)); f.Code != want {
			t.Errorf("%v has code %s, want %s", err, f.Code, want)
		}
	}
}
