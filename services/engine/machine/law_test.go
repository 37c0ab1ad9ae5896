package machine_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// TestLaws drives a run with random commands, most of them from a worker that obeys the rules and some that do not, and
// checks after each batch what must hold whatever happens.
func TestLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			m.at += events.Time(rapid.SampledFrom([]int64{0, 1, 1e6, 30e6, 1000e6}).Draw(t, "pause"))
			var commands []events.Command
			for range rapid.IntRange(1, 3).Draw(t, "commands") {
				commands = append(commands, m.draw())
			}
			m.batch(commands)
			m.check()
		}
	})
}

// model is a run together with what a reader of its records knows: all events, and the work and timers that are open by
// their effects.
type model struct {
	t          *rapid.T
	run        *machine.Run
	at         events.Time
	history    []events.Event
	times      []events.Time
	snapshot   []byte // an encoded state of the past
	snapshotAt int    // and how many events it includes

	flight   events.ActivationScheduled
	open     bool
	step     events.Step
	accepted map[events.Step]int
	read     map[events.SignalName]uint64
	given    map[events.SignalName]uint64 // received up to flight.Upto
	received map[events.SignalName]uint64
	folded   fold
}

// fold is what effects leave open.
type fold struct {
	tasks      map[events.Step]events.Attempt
	timers     map[events.TimerID]events.Time
	activation uint64
	ended      bool
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, run: machine.NewRun(header), at: begin, accepted: map[events.Step]int{},
		read: map[events.SignalName]uint64{}, given: map[events.SignalName]uint64{}, received: map[events.SignalName]uint64{},
		folded: fold{tasks: map[events.Step]events.Attempt{}, timers: map[events.TimerID]events.Time{}},
	}
	m.batch([]events.Command{events.StartWorkflow{
		Type: "w", RunTimeout: rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(t, "run timeout"),
	}})
	return m
}

func (m *model) batch(commands []events.Command) {
	record := &events.Record{Header: header}
	record.First, record.Time = m.run.Next(), m.at
	apply := func(evs []events.Event) {
		for _, e := range evs {
			if err := m.run.Apply(e, m.run.Next(), m.at); err != nil {
				m.t.Fatalf("a decided event does not fit: %v", err)
			}
			m.note(e)
			record.Events = append(record.Events, e)
		}
	}
	for _, c := range commands {
		env := events.Envelope{Namespace: header.Namespace, WorkflowID: header.WorkflowID, RunID: header.RunID, Command: c}
		before := m.run.AppendTo(nil)
		evs, answer := m.run.Decide(env, m.at)
		again, answerAgain := m.run.Decide(env, m.at)
		if !reflect.DeepEqual(evs, again) || answer != answerAgain {
			m.t.Fatalf("%#v decides differently the second time", c)
		}
		if !bytes.Equal(before, m.run.AppendTo(nil)) {
			m.t.Fatalf("%#v: deciding changed the run", c)
		}
		if answer.Code == "" {
			m.t.Fatalf("%#v has no answer", c)
		}
		apply(evs)
	}
	settled := m.run.Settle(m.at)
	apply(settled)
	if len(settled) > 1 || m.run.Settle(m.at) != nil {
		m.t.Fatalf("settling is not at rest: %v", settled)
	}
	for _, e := range events.Effects(nil, record) {
		m.folded.effect(e)
	}
}

// note keeps what a worker and a reader learn from an event.
func (m *model) note(e events.Event) {
	m.history, m.times = append(m.history, e), append(m.times, m.at)
	if uint64(len(m.history)) != uint64(m.run.Next())-1 {
		m.t.Fatalf("event %d was numbered %d", len(m.history), m.run.Next()-1)
	}
	switch e := e.(type) {
	case events.ActivationScheduled:
		m.flight, m.open = e, true
		m.given = map[events.SignalName]uint64{}
		for _, old := range m.history[:e.Upto] {
			if s, ok := old.(events.SignalReceived); ok {
				m.given[s.Name] = s.Index
			}
		}
	case events.ProgressMade:
		m.open = false
		for _, r := range e.Reads {
			m.read[r.Name] = r.Count
		}
	case events.ProgressRefused, events.ActivationFailed, events.ActivationTimedOut:
		m.open = false
	case events.SignalReceived:
		m.received[e.Name]++
	case events.TaskCompleted:
		m.end(e.Step)
	case events.TaskFailed:
		m.end(e.Step)
	case events.TaskCancelled:
		m.end(e.Step)
	case events.TaskScheduled:
		m.step = max(m.step, e.Step)
	case events.TimerStarted:
		m.step = max(m.step, e.Step)
	case events.StepRecorded:
		m.step = max(m.step, e.Step)
	case events.StepBackedOff:
		m.step = max(m.step, e.Step)
	}
}

func (m *model) end(s events.Step) {
	m.accepted[s]++
	if m.accepted[s] > 1 {
		m.t.Fatalf("task %d ended twice", s)
	}
}

func (f *fold) effect(e events.Effect) {
	switch e := e.(type) {
	case events.OpenTask:
		f.tasks[e.Task.Step] = e.Attempt
	case events.CloseTask:
		delete(f.tasks, e.Task.Step)
	case events.OpenActivation:
		f.activation = e.Activation.Activation
	case events.CloseActivation:
		f.activation = 0
	case events.ArmTimer:
		f.timers[e.Timer] = e.Due
	case events.DisarmTimer:
		delete(f.timers, e.Timer)
	case events.EndRun:
		*f = fold{tasks: map[events.Step]events.Attempt{}, timers: map[events.TimerID]events.Time{}, ended: true}
	}
}

// draw returns the next command.
func (m *model) draw() events.Command {
	t := m.t
	step := events.Step(rapid.IntRange(1, int(m.step)+1).Draw(t, "step"))
	attempt := m.folded.tasks[step]
	if attempt == 0 || rapid.IntRange(0, 9).Draw(t, "wrong attempt") == 0 {
		attempt = events.Attempt(rapid.IntRange(1, 3).Draw(t, "attempt"))
	}
	name := rapid.SampledFrom([]events.SignalName{"stop", "go"}).Draw(t, "name")
	switch rapid.IntRange(0, 20).Draw(t, "kind") {
	case 0:
		return events.CancelWorkflow{}
	case 1:
		if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
			return events.TerminateWorkflow{}
		}
		return events.GetRun{}
	case 2, 3:
		return events.SignalWorkflow{Name: name, Input: events.Payload{Data: []byte("x")}}
	case 4, 5:
		return events.CompleteTask{Step: step, Attempt: attempt}
	case 6:
		return events.FailTask{Step: step, Attempt: attempt, RetryAfter: -1}
	case 7:
		code := rapid.SampledFrom([]string{events.CodeWorkerLost, events.CodeStartToClose}).Draw(t, "code")
		return events.TimeoutTask{Step: step, Attempt: attempt, Code: code}
	case 8:
		return events.RecordHeartbeat{Step: step, Attempt: attempt, Details: events.Payload{Data: []byte("half")}}
	case 9, 10, 11:
		kind := events.TimerKind(rapid.IntRange(1, 5).Draw(t, "timer"))
		id := events.TimerID{Kind: kind, Step: step}
		switch kind {
		case events.TimerScheduleToStart:
			id.Attempt = attempt
		case events.TimerRunTimeout:
			id.Step = 0
		case events.TimerSleep, events.TimerStepRetry, events.TimerScheduleToClose:
		}
		return events.FireTimer{Timer: id}
	case 12:
		return events.FailActivation{Activation: m.flight.Activation, Attempt: m.flight.Attempt}
	case 13:
		return events.TimeoutActivation{Activation: m.flight.Activation, Attempt: m.flight.Attempt}
	default:
		return m.progress()
	}
}

func (m *model) progress() events.Command {
	t := m.t
	p := events.ReportProgress{Activation: m.flight.Activation, Attempt: m.flight.Attempt, Upto: m.flight.Upto, At: m.at}
	for _, name := range []events.SignalName{"go", "stop"} {
		if rapid.Bool().Draw(t, "read") && m.given[name] >= m.read[name] {
			n := rapid.Uint64Range(m.read[name], m.given[name]).Draw(t, "count")
			p.Reads = append(p.Reads, events.SignalRead{Name: name, Count: n})
		}
	}
	next := m.step
	for range rapid.IntRange(0, 4).Draw(t, "intents") {
		old := events.Step(rapid.IntRange(1, int(next)+1).Draw(t, "old step"))
		if rapid.IntRange(0, 30).Draw(t, "hole") == 0 {
			next++
		}
		switch rapid.IntRange(0, 7).Draw(t, "intent") {
		case 0, 1:
			next++
			p.Intents = append(p.Intents, events.ScheduleTask{Step: next, Name: "task", Options: m.options()})
		case 2:
			next++
			p.Intents = append(p.Intents, events.StartTimer{Step: next, Due: m.at + 5_000_000})
		case 3:
			next++
			p.Intents = append(p.Intents, events.BackOffStep{Step: next, Until: m.at + 1_000_000})
		case 4:
			p.Intents = append(p.Intents, events.RecordStep{Step: old})
		case 5:
			p.Intents = append(p.Intents, events.CancelTask{Step: old})
		case 6:
			p.Intents = append(p.Intents, events.CancelTimer{Step: old})
		case 7:
			p.Intents = append(p.Intents, events.SetView{Name: "state"})
		}
	}
	switch rapid.IntRange(0, 25).Draw(t, "end") {
	case 0:
		p.Intents = append(p.Intents, events.CompleteRun{})
	case 1:
		p.Intents = append(p.Intents, events.CancelRun{})
	case 2, 3, 4:
		p.Intents = append(p.Intents, events.ContinueRun{})
	}
	p.Wait.Now = rapid.IntRange(0, 5).Draw(t, "now") == 0
	for range rapid.IntRange(0, 2).Draw(t, "groups") {
		var g events.WaitGroup
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			if rapid.IntRange(0, 3).Draw(t, "signal") == 0 {
				g.Signals = append(g.Signals, events.SignalWait{Name: "stop", Index: m.received["stop"] + 1})
			} else {
				g.Steps = append(g.Steps, events.Step(rapid.IntRange(1, int(next)+1).Draw(t, "waited")))
			}
		}
		p.Wait.Any = append(p.Wait.Any, g)
	}
	return p
}

func (m *model) options() events.TaskOptions {
	return events.TaskOptions{
		Retry:           events.RetryPolicy{MaxAttempts: rapid.SampledFrom([]uint32{0, 1, 2}).Draw(m.t, "attempts")},
		ScheduleToStart: rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(m.t, "start"),
		ScheduleToClose: rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Second}).Draw(m.t, "close"),
	}
}

// check holds the run against what its history says.
func (m *model) check() {
	live := m.run.AppendTo(nil)
	replayed := machine.NewRun(header)
	for i, e := range m.history {
		must(m.t, replayed.Apply(e, events.EventNumber(i+1), m.times[i]))
	}
	if !bytes.Equal(live, replayed.AppendTo(nil)) {
		m.t.Fatalf("replayed:\n%slive:\n%s", replayed.Describe(), m.run.Describe())
	}
	if m.snapshot != nil {
		tail, err := machine.Decode(m.snapshot)
		must(m.t, err)
		for i := m.snapshotAt; i < len(m.history); i++ {
			must(m.t, tail.Apply(m.history[i], events.EventNumber(i+1), m.times[i]))
		}
		if !bytes.Equal(live, tail.AppendTo(nil)) {
			m.t.Fatalf("snapshot and tail:\n%slive:\n%s", tail.Describe(), m.run.Describe())
		}
	}
	if m.snapshot == nil || rapid.Bool().Draw(m.t, "snapshot") {
		m.snapshot, m.snapshotAt = live, len(m.history)
	}
	decoded, err := machine.Decode(live)
	must(m.t, err)
	if again := decoded.AppendTo(nil); !bytes.Equal(live, again) || decoded.Describe() != m.run.Describe() {
		m.t.Fatalf("decoded:\n%slive:\n%s", decoded.Describe(), m.run.Describe())
	}
	m.checkEnd()
	m.checkOpen()
}

// checkEnd: nothing follows the end, and an ended run holds nothing.
func (m *model) checkEnd() {
	for i, e := range m.history {
		if events.EndsRun(e) && (i != len(m.history)-1 || m.run.Status().Open() || !m.run.Idle()) {
			m.t.Fatalf("the end at event %d of %d left the run %s", i+1, len(m.history), m.run.Describe())
		}
	}
}

// checkOpen: the effects of all records leave open exactly what the run holds open, and an open run either has an
// activation or waits.
func (m *model) checkOpen() {
	status := events.StatusUnknown
	for _, e := range m.history {
		status = events.StatusAfter(status, e)
	}
	if status != m.run.Status() || m.folded.ended == status.Open() {
		m.t.Fatalf("the history says %s, the run %s", status, m.run.Status())
	}
	if (m.folded.activation != 0) != (m.open && status.Open()) {
		m.t.Fatalf("activation %d is open by effects, by history %t", m.folded.activation, m.open)
	}
	if idle := m.folded.activation == 0 && len(m.folded.tasks) == 0; idle != m.run.Idle() {
		m.t.Fatalf("idle by effects %t, run:\n%s", idle, m.run.Describe())
	}
	// Each open task takes the result of its attempt, each armed timer fires when due; all others are stale.
	far := m.at + 1e15
	ask := func(c events.Command) bool {
		env := events.Envelope{Namespace: header.Namespace, WorkflowID: header.WorkflowID, RunID: header.RunID, Command: c}
		_, answer := m.run.Decide(env, far)
		return answer.Code == events.OK
	}
	for s := events.Step(0); s <= m.step+1; s++ {
		if open := ask(events.CompleteTask{Step: s, Attempt: max(1, m.folded.tasks[s])}); open != (m.folded.tasks[s] != 0) {
			m.t.Fatalf("task %d takes a result: %t, by effects %d", s, open, m.folded.tasks[s])
		}
		for kind := events.TimerSleep; kind <= events.TimerRunTimeout; kind++ {
			id := events.TimerID{Kind: kind, Step: s}
			if kind == events.TimerScheduleToStart {
				id.Attempt = m.folded.tasks[s]
			}
			if kind == events.TimerRunTimeout && s != 0 {
				continue
			}
			_, armed := m.folded.timers[id]
			if kind == events.TimerScheduleToStart || kind == events.TimerScheduleToClose {
				armed = armed && m.folded.tasks[s] != 0 // closing the task forgets them
			}
			if fires := ask(events.FireTimer{Timer: id}); fires != armed {
				m.t.Fatalf("timer %+v fires: %t, by effects %t\n%s", id, fires, armed, m.run.Describe())
			}
		}
	}
	if status.Open() && !m.open && !m.waits() {
		m.t.Fatalf("the run is stuck:\n%s", m.run.Describe())
	}
}

// waits reports whether the last accepted progress waits for something that has not come, computed from the history alone.
func (m *model) waits() bool {
	var made events.ProgressMade
	var upto events.EventNumber
	signals := map[events.SignalName]uint64{}
	for i, e := range m.history {
		switch e := e.(type) {
		case events.ProgressMade:
			made = e
		case events.SignalReceived:
			signals[e.Name] = e.Index
		case events.CancelRequested:
			upto = events.EventNumber(i + 1)
		}
	}
	if made.Wait.Now || upto > made.Upto {
		return false
	}
	for _, g := range made.Wait.Any {
		ended := true
		for _, s := range g.Steps {
			_, timer := m.folded.timers[events.TimerID{Kind: events.TimerSleep, Step: s}]
			_, backoff := m.folded.timers[events.TimerID{Kind: events.TimerStepRetry, Step: s}]
			ended = ended && m.folded.tasks[s] == 0 && !timer && !backoff
		}
		for _, s := range g.Signals {
			ended = ended && signals[s.Name] >= s.Index
		}
		if ended {
			return false
		}
	}
	return true
}

func must(t interface{ Fatal(...any) }, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// TestApplyNeverPanics gives random events to a run in a random state: they fit or are refused, and a refusal changes
// nothing.
func TestApplyNeverPanics(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(0, 10).Draw(t, "batches") {
			m.batch([]events.Command{m.draw()})
		}
		for range 20 {
			e := drawEvent(t)
			before := m.run.AppendTo(nil)
			n := m.run.Next() + events.EventNumber(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "gap"))
			if err := m.run.Apply(e, n, m.at); err != nil && !bytes.Equal(before, m.run.AppendTo(nil)) {
				t.Fatalf("%T was refused (%v) and changed the run", e, err)
			}
			m.run.Settle(m.at)
		}
	})
}

func drawEvent(t *rapid.T) events.Event {
	step := events.Step(rapid.IntRange(0, 5).Draw(t, "step"))
	attempt := events.Attempt(rapid.IntRange(0, 2).Draw(t, "attempt"))
	number := rapid.Uint64Range(0, 4).Draw(t, "number")
	at := events.Time(rapid.Int64Range(-1, 5).Draw(t, "time"))
	wait := events.WaitSet{Any: []events.WaitGroup{{Steps: []events.Step{step, step}, Signals: []events.SignalWait{{Name: "go", Index: number}}}, {}}}
	all := []events.Event{
		events.RunStarted{},
		events.ActivationScheduled{Activation: number, Attempt: attempt},
		events.ProgressMade{
			Activation: number, Attempt: attempt, Upto: events.EventNumber(number), Wait: wait,
			Reads: []events.SignalRead{{Name: "go", Count: number}, {Name: "?", Count: 1}},
		},
		events.ProgressRefused{Activation: number, Attempt: attempt},
		events.ActivationFailed{Activation: number, Attempt: attempt},
		events.ActivationTimedOut{Activation: number, Attempt: attempt},
		events.TaskScheduled{Step: step},
		events.TaskAttemptFailed{Step: step, Attempt: attempt},
		events.TaskCompleted{Step: step, Attempt: attempt},
		events.TaskFailed{Step: step, Attempt: attempt},
		events.TaskCancelled{Step: step, Attempt: attempt},
		events.HeartbeatRecorded{Step: step, Attempt: attempt},
		events.TimerStarted{Step: step, Due: at},
		events.TimerFired{Step: step},
		events.TimerCancelled{Step: step},
		events.StepRecorded{Step: step},
		events.StepBackedOff{Step: step, Until: at},
		events.StepRetryDue{Step: step},
		events.ViewSet{},
		events.SignalReceived{Name: "go", Index: number},
		events.CancelRequested{},
		events.RunContinued{},
		events.RunCompleted{},
		events.RunQuarantined{},
		events.RunReleased{},
		events.RunPurged{},
		events.EpochStarted{},
		nil,
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "event")]
}

// TestJoinIsCheap measures that the end of one of many awaited tasks costs the same for a wide join as for a narrow one.
//
//nolint:paralleltest // testing.AllocsPerRun counts for the whole process
func TestJoinIsCheap(t *testing.T) {
	allocs := func(width int) float64 {
		r := wideRun(t, width)
		step := events.Step(0)
		return testing.AllocsPerRun(50, func() {
			step++
			env := events.Envelope{RunID: header.RunID, Command: events.CompleteTask{Step: step, Attempt: 1}}
			evs, _ := r.Decide(env, begin)
			for _, e := range append(evs, r.Settle(begin)...) {
				must(t, r.Apply(e, r.Next(), begin))
			}
		})
	}
	if narrow, wide := allocs(60), allocs(5000); wide > narrow+1 {
		t.Errorf("a task of 5000 costs %v allocations, one of 60 costs %v", wide, narrow)
	}
}

func wideRun(t testing.TB, width int) *machine.Run {
	r := machine.NewRun(header)
	do := func(c events.Command) {
		evs, answer := r.Decide(events.Envelope{Namespace: header.Namespace, WorkflowID: header.WorkflowID, RunID: header.RunID, Command: c}, begin)
		if answer.Code != events.OK {
			t.Fatal(answer)
		}
		for _, e := range evs {
			must(t, r.Apply(e, r.Next(), begin))
		}
		for _, e := range r.Settle(begin) {
			must(t, r.Apply(e, r.Next(), begin))
		}
	}
	do(events.StartWorkflow{Type: "wide"})
	p := events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, Wait: events.WaitSet{Any: []events.WaitGroup{{}}}}
	for s := events.Step(1); s <= events.Step(width); s++ {
		p.Intents = append(p.Intents, events.ScheduleTask{Step: s, Name: "task"})
		p.Wait.Any[0].Steps = append(p.Wait.Any[0].Steps, s)
	}
	do(p)
	return r
}

// BenchmarkJoin is the cost of one completed task of a wide join.
func BenchmarkJoin(b *testing.B) {
	for _, width := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			b.ReportAllocs()
			var r *machine.Run
			step := events.Step(width)
			for b.Loop() {
				if int(step) == width {
					b.StopTimer()
					r, step = wideRun(b, width), 0
					b.StartTimer()
				}
				step++
				evs, _ := r.Decide(events.Envelope{RunID: header.RunID, Command: events.CompleteTask{Step: step, Attempt: 1}}, begin)
				for _, e := range append(evs, r.Settle(begin)...) {
					must(b, r.Apply(e, r.Next(), begin))
				}
			}
		})
	}
}
