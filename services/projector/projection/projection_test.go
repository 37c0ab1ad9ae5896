package projection

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// TestScripts runs testdata/scripts: each block is one record of one run, its lines are events; the answer is the row.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var run row.Run
		next := events.EventNumber(1)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			at := 0
			d.ScanArgs(t, "at", &at)
			r := &events.Record{Header: events.Header{
				Time: events.Time(at), Namespace: "default", WorkflowID: "wf", RunID: events.RunID{1}, First: next, Partition: 3,
			}}
			for line := range strings.Lines(d.Input) {
				r.Events = append(r.Events, parse(t, strings.TrimSpace(line)))
			}
			next += events.EventNumber(len(r.Events))
			Fold(&run, r)
			return show(run)
		})
	})
}

// parse reads "Kind key=value …".
func parse(t *testing.T, line string) events.Event {
	fields := strings.Fields(line)
	a := map[string]string{}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		a[key] = value
	}
	n := func(key string) uint64 {
		if a[key] == "" {
			return 0
		}
		v, err := strconv.ParseUint(a[key], 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return v
	}
	step, attempt := events.Step(n("step")), events.Attempt(max(n("attempt"), 1))
	failure := events.Failure{Code: a["code"]}
	switch fields[0] {
	case "RunStarted":
		return events.RunStarted{Type: events.WorkflowType(a["type"]), Queue: "q"}
	case "ActivationScheduled":
		return events.ActivationScheduled{Activation: n("n"), Attempt: attempt, NotBefore: events.Time(n("after"))}
	case "ActivationFailed":
		return events.ActivationFailed{Activation: n("n"), Attempt: attempt, Failure: failure}
	case "ActivationTimedOut":
		return events.ActivationTimedOut{Activation: n("n"), Attempt: attempt}
	case "ProgressMade":
		p := events.ProgressMade{Activation: n("n")}
		if a["wait"] != "" {
			p.Wait.Any = []events.WaitGroup{{Signals: []events.SignalWait{{Name: events.SignalName(a["wait"]), Index: n("index")}}}}
		}
		if a["read"] != "" {
			p.Reads = []events.SignalRead{{Name: events.SignalName(a["read"]), Count: n("count")}}
		}
		return p
	case "ProgressRefused":
		return events.ProgressRefused{Activation: n("n")}
	case "TaskScheduled":
		return events.TaskScheduled{Step: step, Name: events.TaskName(a["name"]), Queue: "q"}
	case "TaskAttemptFailed":
		return events.TaskAttemptFailed{Step: step, Attempt: attempt, Name: events.TaskName(a["name"]), Queue: "q", NotBefore: events.Time(n("after")), Failure: failure}
	case "TaskCompleted":
		return events.TaskCompleted{Step: step}
	case "TaskFailed":
		return events.TaskFailed{Step: step}
	case "TaskCancelled":
		return events.TaskCancelled{Step: step}
	case "HeartbeatRecorded":
		return events.HeartbeatRecorded{Step: step}
	case "TimerStarted":
		return events.TimerStarted{Step: step, Due: events.Time(n("due"))}
	case "TimerFired":
		return events.TimerFired{Step: step}
	case "TimerCancelled":
		return events.TimerCancelled{Step: step}
	case "StepBackedOff":
		return events.StepBackedOff{Step: step, Label: a["label"], Until: events.Time(n("due")), Failure: failure}
	case "StepRetryDue":
		return events.StepRetryDue{Step: step}
	case "StepRecorded":
		return events.StepRecorded{Step: step}
	case "ViewSet":
		return events.ViewSet{Name: events.ViewName(a["name"]), Value: events.Payload{Encoding: "json", Data: []byte(a["value"])}}
	case "SignalReceived":
		return events.SignalReceived{Name: events.SignalName(a["name"]), Index: n("index")}
	case "CancelRequested":
		return events.CancelRequested{}
	case "RunContinued":
		return events.RunContinued{Reads: []events.SignalRead{{Name: events.SignalName(a["read"]), Count: n("count")}}}
	case "RunCompleted":
		return events.RunCompleted{Result: events.Payload{Encoding: "json", Data: []byte(a["result"])}, Unread: n("unread")}
	case "RunFailed":
		return events.RunFailed{Failure: failure}
	case "RunCancelled":
		return events.RunCancelled{Failure: failure}
	case "RunTerminated":
		return events.RunTerminated{Reason: a["reason"]}
	case "RunTimedOut":
		return events.RunTimedOut{}
	case "RunQuarantined":
		return events.RunQuarantined{Reason: a["reason"]}
	case "RunReleased":
		return events.RunReleased{}
	}
	t.Fatalf("unknown event %q", line)
	return nil
}

func show(r row.Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s version %d", r.Type, r.Status, r.Version)
	if r.Ended != 0 {
		fmt.Fprintf(&b, " ended %d", r.Ended)
	}
	if r.CancelRequested != 0 {
		fmt.Fprintf(&b, " cancel requested %d", r.CancelRequested)
	}
	if r.Quarantine != "" {
		fmt.Fprintf(&b, " quarantined: %s", r.Quarantine)
	}
	if r.Unread > 0 {
		fmt.Fprintf(&b, " unread %d", r.Unread)
	}
	if r.Continued > 0 {
		fmt.Fprintf(&b, " continued %d", r.Continued)
	}
	if r.TasksScheduled > 0 {
		fmt.Fprintf(&b, " tasks %d", r.TasksScheduled)
	}
	b.WriteByte('\n')
	if !r.Result.IsZero() {
		fmt.Fprintf(&b, "result %s\n", r.Result.Data)
	}
	last := func(f *events.Failure) string {
		if f == nil {
			return ""
		}
		return " after " + f.Code
	}
	if r.Failure != nil {
		fmt.Fprintf(&b, "failure %s\n", r.Failure.Error())
	}
	if a := r.Activation; a != nil {
		fmt.Fprintf(&b, "activation %d#%d since %d not before %d%s\n", a.Activation, a.Attempt, a.Since, a.NotBefore, last(a.LastFailure))
	}
	for _, t := range r.Tasks {
		fmt.Fprintf(&b, "task %d %s#%d scheduled %d next %d%s\n", t.Step, t.Name, t.Attempt, t.Scheduled, t.NextAttempt, last(t.LastFailure))
	}
	for _, t := range r.Timers {
		fmt.Fprintf(&b, "timer %d due %d %s%s\n", t.Step, t.Due, t.Label, last(t.LastFailure))
	}
	for _, s := range r.Signals {
		fmt.Fprintf(&b, "waits for signal %s %d\n", s.Name, s.Index)
	}
	for _, n := range r.Inbox {
		fmt.Fprintf(&b, "signals %s: %d of %d read\n", n.Name, n.Read, n.Received)
	}
	for _, v := range r.Views {
		fmt.Fprintf(&b, "view %s = %s (version %d, %d)\n", v.Name, v.Value.Data, v.Version, v.Updated)
	}
	return b.String()
}

// history draws the records of a few runs, mixed as a log mixes them. It need not be one that an engine would write: the
// fold must hold for all.
func history(t *rapid.T) []*events.Record {
	kinds := []func(n uint64) events.Event{
		func(n uint64) events.Event {
			return events.ActivationScheduled{Activation: n, Attempt: events.Attempt(n%3 + 1)}
		},
		func(n uint64) events.Event {
			return events.ActivationFailed{Activation: n, Failure: events.Failure{Code: fmt.Sprint(n)}}
		},
		func(n uint64) events.Event { return events.ActivationTimedOut{Activation: n} },
		func(n uint64) events.Event {
			return events.ProgressMade{
				Reads: []events.SignalRead{{Name: "s", Count: n}},
				Wait:  events.WaitSet{Any: []events.WaitGroup{{Signals: []events.SignalWait{{Name: "s", Index: n}, {Name: "r", Index: 1}}}}},
			}
		},
		func(n uint64) events.Event { return events.TaskScheduled{Step: events.Step(n), Name: "t"} },
		func(n uint64) events.Event {
			return events.TaskAttemptFailed{Step: events.Step(n), Attempt: 1, Failure: events.Failure{Code: fmt.Sprint(n)}}
		},
		func(n uint64) events.Event { return events.TaskCompleted{Step: events.Step(n)} },
		func(n uint64) events.Event { return events.TimerStarted{Step: events.Step(n), Due: events.Time(n)} },
		func(n uint64) events.Event { return events.TimerFired{Step: events.Step(n)} },
		func(n uint64) events.Event { return events.StepBackedOff{Step: events.Step(n), Label: "l"} },
		func(n uint64) events.Event { return events.StepRecorded{Step: events.Step(n)} },
		func(n uint64) events.Event {
			return events.ViewSet{Name: events.ViewName(fmt.Sprint(n % 3)), Value: events.Payload{Data: []byte{byte(n)}}}
		},
		func(n uint64) events.Event { return events.SignalReceived{Name: "s", Index: n} },
		func(n uint64) events.Event {
			return events.RunContinued{Reads: []events.SignalRead{{Name: "s", Count: n}}}
		},
		func(uint64) events.Event { return events.CancelRequested{} },
		func(uint64) events.Event { return events.RunQuarantined{Reason: "r"} },
		func(uint64) events.Event { return events.RunReleased{} },
		func(n uint64) events.Event { return events.RunCompleted{Unread: n} },
		func(uint64) events.Event { return events.RunPurged{} },
	}
	var log []*events.Record
	next, purged := map[events.RunID]events.EventNumber{}, map[events.RunID]bool{}
	for seq := range rapid.IntRange(1, 30).Draw(t, "records") {
		run := events.RunID{15: byte(rapid.IntRange(1, 4).Draw(t, "run"))}
		r := &events.Record{Header: events.Header{Seq: events.Seq(seq + 1), RunID: run, WorkflowID: "w", Time: events.Time(seq + 1)}}
		if purged[run] {
			continue // a run id is used once
		}
		if next[run] == 0 {
			next[run] = 1
			r.Events = append(r.Events, events.RunStarted{Type: "T"})
		}
		r.First = next[run]
		for range rapid.IntRange(0, 4).Draw(t, "events") {
			e := kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")](uint64(rapid.IntRange(1, 5).Draw(t, "n")))
			if _, purged := e.(events.RunPurged); purged && len(r.Events) > 0 {
				continue // it is alone in its record
			}
			r.Events = append(r.Events, e)
			if _, purged := e.(events.RunPurged); purged {
				break
			}
		}
		next[run] += events.EventNumber(len(r.Events))
		purged[run] = Purges(r)
		log = append(log, r)
	}
	return log
}

// model is what batches are written to.
type model map[events.RunID]row.Run

func (m model) apply(t *rapid.T, b *Batch) {
	var stored []row.Run
	for _, id := range b.Wanted() {
		if r, ok := m[id]; ok {
			stored = append(stored, cloneLists(r))
		}
	}
	if gaps := b.Gaps(stored); len(gaps) > 0 {
		t.Fatalf("gaps %v in a whole log", gaps)
	}
	rows, _, deletes := b.Rows(stored)
	for _, r := range rows {
		if old, ok := m[r.RunID]; ok && r.Version < old.Version {
			t.Fatalf("run %v went back from version %d to %d", r.RunID, old.Version, r.Version)
		}
		m[r.RunID] = r
	}
	for _, id := range deletes {
		delete(m, id)
	}
}

func cloneLists(r row.Run) row.Run {
	r.Tasks, r.Timers, r.Signals = slices.Clone(r.Tasks), slices.Clone(r.Timers), slices.Clone(r.Signals)
	r.Inbox, r.Views = slices.Clone(r.Inbox), slices.Clone(r.Views)
	return r
}

func TestBatchesDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := history(t)
		var all Batch
		whole := model{}
		one := model{}
		for _, r := range log {
			all.Add(r)
			var b Batch
			b.Add(r)
			one.apply(t, &b)
		}
		split := model{}
		var some Batch
		for _, r := range log {
			some.Add(r)
			if rapid.Bool().Draw(t, "write") {
				split.apply(t, &some)
			}
		}
		split.apply(t, &some)
		whole.apply(t, &all)
		if !reflect.DeepEqual(whole, one) {
			t.Fatalf("one batch:\n%v\none record at a time:\n%v", whole, one)
		}
		if !reflect.DeepEqual(split, one) {
			t.Fatalf("in batches:\n%v\none record at a time:\n%v", split, one)
		}
	})
}

func TestReadingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var run row.Run
		var of []*events.Record
		for _, r := range history(t) {
			if r.RunID == (events.RunID{15: 1}) && !Purges(r) {
				of = append(of, r)
			}
		}
		for i, r := range of {
			Fold(&run, r)
			again := cloneLists(run)
			for _, old := range of[:i+1] {
				Fold(&again, old)
			}
			if !reflect.DeepEqual(again, run) {
				t.Fatalf("read again:\n%+v\nonce:\n%+v", again, run)
			}
		}
	})
}

func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	r := &events.Record{Header: events.Header{RunID: events.RunID{1}, First: 1}, Events: []events.Event{events.RunStarted{}}}
	for i := range 3 * MaxListed {
		n := uint64(i + 1)
		r.Events = append(r.Events, events.TaskScheduled{Step: events.Step(n)}, events.TimerStarted{Step: events.Step(n + 1e6)},
			events.SignalReceived{Name: events.SignalName(fmt.Sprint(n)), Index: 1})
	}
	var run row.Run
	Fold(&run, r)
	if len(run.Tasks) != MaxListed || len(run.Timers) != MaxListed || len(run.Inbox) != MaxListed {
		t.Errorf("%d tasks, %d timers, %d names are listed", len(run.Tasks), len(run.Timers), len(run.Inbox))
	}
	if run.TasksScheduled != 3*MaxListed || run.Unread != 3*MaxListed {
		t.Errorf("%d tasks and %d signals are counted", run.TasksScheduled, run.Unread)
	}
}

func TestGapsAreNamed(t *testing.T) {
	t.Parallel()
	var b Batch
	b.Add(&events.Record{Header: events.Header{RunID: events.RunID{1}, First: 5, Partition: 2}, Events: []events.Event{events.RunReleased{}}})
	b.Add(&events.Record{Header: events.Header{RunID: events.RunID{2}, First: 5}, Events: []events.Event{events.RunReleased{}}})
	b.Add(&events.Record{Header: events.Header{RunID: events.RunID{3}, First: 9}, Events: []events.Event{events.RunPurged{}}})
	b.Add(&events.Record{Header: events.Header{RunID: events.RunID{4}, First: 1}, Events: []events.Event{events.RunStarted{}}})
	if got, want := b.Wanted(), []events.RunID{{1}, {2}, {3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("wanted %v, want %v", got, want)
	}
	got := b.Gaps([]row.Run{{RunID: events.RunID{1}, Version: 2}, {RunID: events.RunID{2}, Version: 4}})
	if want := []Gap{{Partition: 2, RunID: events.RunID{1}, From: 3, To: 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("gaps %v, want %v", got, want)
	}
}
