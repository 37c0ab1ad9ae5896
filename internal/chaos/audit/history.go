package audit

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Run is what the history of a run says.
type Run struct {
	Workflow string
	ID       string
	Type     string
	Status   events.Status
	Events   uint64
	// Result is that of a completed run, Failure that of a failed or cancelled one.
	Result  json.RawMessage
	Failure *events.Failure
	Signals []ReceivedSignal // in order
	Views   []json.RawMessage
	// Tasks are the calls of tasks and steps, by step.
	Tasks     map[uint64]*Task
	Scheduled uint64
	// Unread are the signals that its code had not read when it ended.
	Unread          uint64
	CancelRequested bool
	// Refused counts progress that did not count, because a signal had come: its steps are executed again.
	Refused int
}

// ReceivedSignal is a signal in the inbox of a run.
type ReceivedSignal struct{ Name, Value, Request string }

// Task is a task or step of a run.
type Task struct {
	IsStep bool
	// Failed are the codes of the attempts that were followed by another.
	Failed []string
	Ended  bool
	// Attempt is the one whose outcome was accepted, Code that of its failure; empty when it succeeded.
	Attempt   uint32
	Code      string
	Cancelled bool
}

// reader folds a history.
type reader struct {
	run    *Run
	found  []Violation
	next   events.EventNumber
	at     events.Time
	ended  bool
	reads  uint64                      // signals read so far
	timers map[events.Step]events.Time // due; 0 when it is over
	names  map[events.SignalName]uint64
	ids    map[events.RequestID]bool
}

// Read folds the history of a run and tells where it breaks the rules that every history keeps.
func Read(info events.HistoryInfo, records []*events.Record) (*Run, []Violation) {
	r := &reader{
		run:  &Run{Workflow: string(info.WorkflowID), ID: info.RunID.String(), Tasks: map[uint64]*Task{}},
		next: 1, timers: map[events.Step]events.Time{}, names: map[events.SignalName]uint64{}, ids: map[events.RequestID]bool{},
	}
	for _, rec := range records {
		if rec.First != r.next {
			r.wrong("event %d follows event %d", rec.First, r.next-1)
		}
		if rec.Time < r.at {
			r.wrong("event %d is of %v, before the one ahead of it", rec.First, rec.Time.Std())
		}
		r.at = rec.Time
		for _, e := range rec.Events {
			r.event(e)
			r.next++
		}
	}
	r.run.Events = uint64(r.next) - 1
	if !r.ended {
		r.run.Unread = uint64(len(r.run.Signals)) - r.reads
	}
	for step, t := range r.run.Tasks {
		if r.ended && r.run.Status == events.StatusCompleted && !t.Ended {
			r.wrong("task %d was open when the run completed", step)
		}
	}
	return r.run, r.found
}

func (r *reader) wrong(format string, args ...any) {
	r.found = append(r.found, Violation{RuleHistory, r.run.Workflow + " " + r.run.ID, fmt.Sprintf(format, args...)})
}

func (r *reader) twice(format string, args ...any) {
	r.found = append(r.found, Violation{RuleTwice, r.run.Workflow + " " + r.run.ID, fmt.Sprintf(format, args...)})
}

// event folds one event.
func (r *reader) event(e events.Event) {
	if r.ended {
		r.wrong("event %d, %s, follows the end", r.next, events.EventName(e))
	}
	if (r.next == 1) != isStart(e) {
		r.wrong("event %d is %s", r.next, events.EventName(e))
	}
	r.run.Status = events.StatusAfter(r.run.Status, e)
	switch e := e.(type) {
	case events.RunStarted:
		r.run.Type = string(e.Type)
	case events.SignalReceived:
		r.signal(e)
	case events.CancelRequested:
		if r.run.CancelRequested {
			r.twice("a second cancel request is event %d", r.next)
		}
		r.run.CancelRequested = true
	case events.ProgressMade:
		r.reads = 0
		for _, read := range e.Reads {
			r.reads += read.Count
		}
	case events.ProgressRefused:
		r.run.Refused++
	case events.ViewSet:
		r.run.Views = append(r.run.Views, e.Value.Data)
	case events.ActivationFailed:
		r.wrong("the code failed in event %d: %v", r.next, e.Failure.Error())
	case events.RunQuarantined:
		r.wrong("quarantined in event %d: %s", r.next, e.Reason)
	case events.RunCompleted:
		r.end(e.Result, nil, e.Unread)
	case events.RunFailed:
		r.end(events.Payload{}, &e.Failure, e.Unread)
	case events.RunCancelled:
		r.end(events.Payload{}, &e.Failure, e.Unread)
	case events.RunTerminated, events.RunTimedOut:
		r.end(events.Payload{}, nil, uint64(len(r.run.Signals))-r.reads)
	default:
		r.work(e)
	}
}

func isStart(e events.Event) bool {
	_, is := e.(events.RunStarted)
	return is
}

func (r *reader) end(result events.Payload, failure *events.Failure, unread uint64) {
	r.ended, r.run.Result, r.run.Failure, r.run.Unread = true, result.Data, failure, unread
}

func (r *reader) signal(e events.SignalReceived) {
	if r.names[e.Name]++; e.Index != r.names[e.Name] {
		r.wrong("signal %s has the index %d, and is number %d", e.Name, e.Index, r.names[e.Name])
	}
	if e.RequestID != "" && r.ids[e.RequestID] {
		r.twice("the signal of request %s was received twice", e.RequestID)
	}
	r.ids[e.RequestID] = true
	var value string
	if err := json.Unmarshal(e.Input.Data, &value); err != nil {
		r.wrong("signal %s carries %q", e.Name, e.Input.Data)
	}
	r.run.Signals = append(r.run.Signals, ReceivedSignal{string(e.Name), value, string(e.RequestID)})
}

// work folds events of tasks, steps and timers.
func (r *reader) work(e events.Event) {
	switch e := e.(type) {
	case events.TaskScheduled:
		r.run.Scheduled++
		if r.run.Tasks[uint64(e.Step)] != nil {
			r.twice("task %d was scheduled twice", e.Step)
		}
		r.run.Tasks[uint64(e.Step)] = &Task{}
	case events.TaskAttemptFailed:
		if t := r.open(e.Step, e.Attempt); t != nil {
			t.Failed = append(t.Failed, e.Failure.Code)
		}
	case events.TaskCompleted:
		r.accept(e.Step, e.Attempt, "")
	case events.TaskFailed:
		r.accept(e.Step, e.Attempt, e.Failure.Code)
	case events.TaskCancelled:
		if t := r.open(e.Step, e.Attempt); t != nil {
			t.Ended, t.Cancelled, t.Attempt = true, true, uint32(e.Attempt)
		}
	case events.StepRecorded:
		t := r.step(e.Step)
		if t.Ended {
			r.twice("step %d was recorded twice", e.Step)
		}
		t.Ended, t.Attempt = true, uint32(e.Attempts)
		if e.Failure != nil {
			t.Code = e.Failure.Code
		}
	case events.StepBackedOff:
		r.step(e.Step)
	case events.TimerStarted:
		if _, known := r.timers[e.Step]; known {
			r.twice("timer %d was started twice", e.Step)
		}
		r.timers[e.Step] = e.Due
	case events.TimerFired:
		switch due := r.timers[e.Step]; {
		case due == 0:
			r.twice("timer %d fired, but is not armed", e.Step)
		case r.at < due:
			r.wrong("timer %d fired %v early", e.Step, due.Sub(r.at))
		}
		r.timers[e.Step] = 0
	case events.TimerCancelled:
		r.timers[e.Step] = 0
	default:
	}
}

func (r *reader) step(n events.Step) *Task {
	t := r.run.Tasks[uint64(n)]
	if t == nil {
		t = &Task{IsStep: true}
		r.run.Tasks[uint64(n)] = t
	}
	return t
}

// open returns a task whose attempt can end now, nil when that breaks the rules.
func (r *reader) open(step events.Step, attempt events.Attempt) *Task {
	t := r.run.Tasks[uint64(step)]
	switch {
	case t == nil:
		r.wrong("task %d ended an attempt, but was not scheduled", step)
		return nil
	case t.Ended:
		r.twice("task %d ended a second time, in event %d", step, r.next)
		return nil
	case int(attempt) != len(t.Failed)+1:
		r.wrong("attempt %d of task %d ended after %d had failed", attempt, step, len(t.Failed))
	}
	return t
}

func (r *reader) accept(step events.Step, attempt events.Attempt, code string) {
	if t := r.open(step, attempt); t != nil {
		t.Ended, t.Attempt, t.Code = true, uint32(attempt), code
	}
}

// Shown is a run as the read model shows it.
type Shown struct {
	Status          events.Status
	Events          uint64
	TasksScheduled  uint64
	Unread          uint64
	Result          json.RawMessage
	CancelRequested bool
	Pending         int // tasks, timers, signals and activations that it waits for
	Views           int
	// View is the newest value, nil when none is shown.
	View json.RawMessage
}

// Compare tells where the read model differs from the history.
func Compare(run *Run, s Shown) []Violation {
	var found []Violation
	differs := func(what string, shown, is any) {
		if fmt.Sprint(shown) != fmt.Sprint(is) {
			found = append(found, Violation{RuleModel, run.Workflow + " " + run.ID, fmt.Sprintf("%s is shown as %v and is %v", what, shown, is)})
		}
	}
	differs("status", s.Status, run.Status)
	differs("number of events", s.Events, run.Events)
	differs("number of tasks", s.TasksScheduled, run.Scheduled)
	differs("number of unread signals", s.Unread, run.Unread)
	differs("result", string(s.Result), string(run.Result))
	differs("cancel request", s.CancelRequested, run.CancelRequested)
	if !run.Status.Open() {
		differs("what it waits for", s.Pending, 0)
	}
	var view json.RawMessage
	if len(run.Views) > 0 {
		view = run.Views[len(run.Views)-1]
	}
	differs("view", string(s.View), string(view))
	differs("number of views", s.Views, min(len(run.Views), 1))
	return found
}

// values returns what was received under a name.
func (r *Run) values(name string) []string {
	var values []string
	for _, s := range r.Signals {
		if s.Name == name {
			values = append(values, s.Value)
		}
	}
	return values
}

// position of a value in what was received, -1 when it was not.
func position(values []string, value string) int { return slices.Index(values, value) }
