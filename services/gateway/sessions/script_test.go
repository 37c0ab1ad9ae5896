package sessions_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// Each line of a turn is one input; the outputs are printed in order. Runs are named r1, r2 …; all are of workflow w and
// in partition 0. testdata/scripts has a script for each topic.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := script{core: sessions.New(sessions.Config{Session: 7, Partitions: 1})}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				config := sessions.Config{Session: 7, Partitions: 1}
				d.MaybeScanArgs(t, "calls", &config.MaxCalls)
				d.MaybeScanArgs(t, "ring", &config.RingRuns)
				s = script{core: sessions.New(config)}
				return ""
			case "turn":
				var at string
				d.ScanArgs(t, "at", &at)
				return s.turn(t, at, d.Input)
			case "wake":
				return sinceEpoch(s.core.Wake()) + "\n"
			case "stats":
				return fmt.Sprintf("%+v\n", s.core.Stats())
			default:
				d.Fatalf(t, "unknown directive %s", d.Cmd)
				return ""
			}
		})
	})
}

const epoch = events.Time(1_000_000_000)

func sinceEpoch(t events.Time) string {
	if t == 0 {
		return "never"
	}
	return t.Sub(epoch).String()
}

type script struct {
	core *sessions.Core
	seq  events.Seq
	now  events.Time
}

func (s *script) turn(t *testing.T, at, text string) string {
	t.Helper()
	d, err := time.ParseDuration(at)
	if err != nil {
		t.Fatal(err)
	}
	s.now = epoch.Add(d)
	var in []sessions.Input
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			in = append(in, s.input(t, line))
		}
	}
	var b strings.Builder
	for _, o := range s.core.Turn(s.now, in) {
		b.WriteString(show(o))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// args are the words of a line: the verb, plain ones in order, and those with a name.
type args struct {
	t     *testing.T
	verb  string
	plain []string
	named map[string]string
}

func parse(t *testing.T, line string) args {
	words := strings.Fields(line)
	a := args{t: t, verb: words[0], named: make(map[string]string)}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			a.named[k] = v
		} else {
			a.plain = append(a.plain, w)
		}
	}
	return a
}

func (a args) number(name string) int {
	v, ok := a.named[name]
	if !ok {
		return 0
	}
	return a.integer(v)
}

func (a args) integer(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		a.t.Fatalf("%s: %v", a.verb, err)
	}
	return n
}

func (a args) duration(name string) time.Duration {
	v, ok := a.named[name]
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		a.t.Fatalf("%s: %v", a.verb, err)
	}
	return d
}

func (a args) conn() sessions.Conn { return sessions.Conn(a.integer(a.plain[0])) }

func runOf(name string) events.RunID {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "r"))
	if err != nil {
		panic("a run is named like r1, not " + name)
	}
	return events.MakeRunID(int64(n), [10]byte{})
}

func runName(id events.RunID) string { return fmt.Sprintf("r%d", id[5]) }

// attempt reads r1/2.3: run, step, attempt.
func attempt(text string) sessions.Attempt {
	run, rest, _ := strings.Cut(text, "/")
	step, n, _ := strings.Cut(rest, ".")
	s, _ := strconv.Atoi(step)
	k, _ := strconv.Atoi(n)
	return sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: runOf(run), Step: events.Step(s)}, Attempt: events.Attempt(k)}
}

// activation reads r1#2.3: run, activation, attempt.
func activation(text string) sessions.Activation {
	run, rest, _ := strings.Cut(text, "#")
	number, n, _ := strings.Cut(rest, ".")
	s, _ := strconv.Atoi(number)
	k, _ := strconv.Atoi(n)
	return sessions.Activation{WorkflowID: "w", RunID: runOf(run), Activation: uint64(s), Attempt: events.Attempt(k)}
}

func (s *script) input(t *testing.T, line string) sessions.Input {
	a := parse(t, line)
	switch a.verb {
	case "join":
		return s.join(a)
	case "grant":
		return sessions.Grant{Conn: a.conn(), Tasks: a.number("tasks"), Activations: a.number("activations")}
	case "drain":
		return sessions.Drain{Conn: a.conn()}
	case "leave":
		return sessions.Leave{Conn: a.conn()}
	case "deliver":
		d := sessions.Delivery{Worker: events.WorkerID(a.plain[0]), Number: 1}
		if strings.Contains(a.plain[1], "#") {
			ref := activation(a.plain[1])
			d.Activation = &events.OpenActivation{
				Namespace: "default", WorkflowID: ref.WorkflowID, RunID: ref.RunID,
				Activation: events.ActivationScheduled{Activation: ref.Activation, Attempt: ref.Attempt},
			}
		} else {
			ref := attempt(a.plain[1])
			d.Task = &events.OpenTask{Namespace: "default", WorkflowID: ref.WorkflowID, Task: ref.Task, Attempt: ref.Attempt, Name: "Pay"}
		}
		return d
	case "started":
		if strings.Contains(a.plain[1], "#") {
			return sessions.ActivationStarted{Conn: a.conn(), Activation: activation(a.plain[1])}
		}
		return sessions.Started{Conn: a.conn(), Attempt: attempt(a.plain[1]), StartToClose: a.duration("limit"), Heartbeat: a.duration("heartbeat")}
	case "not-started":
		if strings.Contains(a.plain[1], "#") {
			in := sessions.ActivationNotStarted{Conn: a.conn(), Activation: activation(a.plain[1]), Void: a.named["void"] != ""}
			if base, ok := a.named["base"]; ok {
				in.Base = activation(base)
			}
			return in
		}
		return sessions.NotStarted{Conn: a.conn(), Attempt: attempt(a.plain[1]), Void: a.named["void"] != ""}
	case "heartbeat":
		if strings.Contains(a.plain[1], "#") {
			return sessions.ActivationHeartbeat{Conn: a.conn(), Activation: activation(a.plain[1])}
		}
		return sessions.Heartbeat{Conn: a.conn(), Attempt: attempt(a.plain[1]), Details: text(a.named["details"])}
	case "done":
		if strings.Contains(a.plain[1], "#") {
			ref := activation(a.plain[1])
			progress := events.ReportProgress{Activation: ref.Activation, Attempt: ref.Attempt}
			for name := range strings.SplitSeq(a.named["schedules"], ",") {
				if name != "" {
					progress.Intents = append(progress.Intents, events.ScheduleTask{Step: 1, Name: events.TaskName(name)})
				}
			}
			return sessions.ActivationDone{Conn: a.conn(), Activation: ref, Live: a.named["live"] != "", Command: progress}
		}
		ref := attempt(a.plain[1])
		return sessions.TaskDone{Conn: a.conn(), Attempt: ref, Command: events.CompleteTask{Step: ref.Task.Step, Attempt: ref.Attempt}}
	case "failed":
		ref := attempt(a.plain[1])
		return sessions.TaskDone{Conn: a.conn(), Attempt: ref, Command: events.FailTask{Step: ref.Task.Step, Attempt: ref.Attempt}}
	case "evicted":
		return sessions.Evicted{Conn: a.conn(), Runs: []events.RunID{runOf(a.plain[1])}}
	case "record":
		return sessions.Recorded{Record: s.record(a)}
	case "tail":
		return sessions.TailFrom{Next: events.Seq(a.number("next"))}
	case "ask":
		return sessions.Ask{Call: sessions.Call(a.integer(a.plain[0])), Envelope: events.Envelope{Namespace: "default", WorkflowID: "w", Command: events.GetRun{}}}
	case "await":
		return sessions.Await{Call: sessions.Call(a.integer(a.plain[0])), WorkflowID: "w", RunID: runOf(a.plain[1])}
	case "forget":
		return sessions.Forget{Call: sessions.Call(a.integer(a.plain[0]))}
	case "kept", "lost", "refused":
		r := sessions.SendResult{N: uint64(a.integer(a.plain[0])), Fate: map[string]sessions.Fate{"kept": sessions.Kept, "lost": sessions.Lost, "refused": sessions.Refused}[a.verb]}
		if r.Fate == sessions.Refused {
			r.Err = &events.Error{Code: events.Overloaded, Message: "full"}
		}
		return r
	default:
		t.Fatalf("unknown input %q", line)
		return nil
	}
}

func text(s string) events.Payload {
	if s == "" {
		return events.Payload{}
	}
	return events.Payload{Encoding: "text", Data: []byte(s)}
}

func (s *script) join(a args) sessions.Input {
	j := sessions.Join{Conn: a.conn(), Worker: sessions.Worker{
		Namespace: "default", ID: events.WorkerID(a.plain[1]), Identity: a.plain[1], Queue: "q", Build: events.BuildID(a.named["build"]),
		TaskSlots: a.number("slots"), ActivationSlots: a.number("slots"),
	}}
	for o := range strings.SplitSeq(a.named["offers"], ",") {
		if name, signature, _ := strings.Cut(o, ":"); name != "" {
			j.Worker.Tasks = append(j.Worker.Tasks, sessions.Offer{Name: name, Signature: signature})
		}
	}
	for h := range strings.SplitSeq(a.named["holds"], ",") {
		switch {
		case h == "":
		case strings.Contains(h, "#"):
			j.Activations = append(j.Activations, activation(h))
		default:
			name, over := strings.CutSuffix(h, "!")
			j.Tasks = append(j.Tasks, sessions.HeldTask{Attempt: attempt(name), StartToClose: time.Minute, Over: over})
		}
	}
	return j
}

// record makes a record of a run; its words are events, and answers as answer:N.
func (s *script) record(a args) *events.Record {
	s.seq++
	r := &events.Record{Header: events.Header{Namespace: "default", WorkflowID: "w", RunID: runOf(a.plain[0]), Seq: s.seq, First: 1}}
	r.Time = s.now.Add(-a.duration("age"))
	r.First = events.EventNumber(max(1, a.number("first")))
	for _, w := range a.plain[1:] {
		kind, rest, _ := strings.Cut(w, ":")
		switch kind {
		case "started":
			r.Events = append(r.Events, events.RunStarted{})
		case "completed":
			r.Events = append(r.Events, events.RunCompleted{})
		case "task-completed":
			ref := attempt(a.plain[0] + "/" + rest)
			r.Events = append(r.Events, events.TaskCompleted{Step: ref.Task.Step, Attempt: ref.Attempt})
		case "task-cancelled":
			ref := attempt(a.plain[0] + "/" + rest)
			r.Events = append(r.Events, events.TaskCancelled{Step: ref.Task.Step, Attempt: ref.Attempt})
		case "task-attempt-failed":
			ref := attempt(a.plain[0] + "/" + rest)
			r.Events = append(r.Events, events.TaskAttemptFailed{Step: ref.Task.Step, Attempt: ref.Attempt})
		case "progress":
			ref := activation(a.plain[0] + "#" + rest)
			r.Events = append(r.Events, events.ProgressMade{Activation: ref.Activation, Attempt: ref.Attempt, Worker: events.WorkerID(a.named["by"])})
		case "offers": // to session 7, or to=
			until := r.Time.Add(events.OfferFor)
			to := events.SessionID(7)
			if n := a.number("to"); n != 0 {
				to = events.SessionID(n)
			}
			if strings.Contains(rest, ".") {
				ref := activation(a.plain[0] + "#" + rest)
				r.Events = append(r.Events, events.ActivationScheduled{
					Activation: ref.Activation, Attempt: ref.Attempt, OfferTo: to, OfferUntil: until,
					Base: events.EventNumber(a.number("base")), BaseUpto: events.EventNumber(a.number("given")),
				})
			} else {
				r.Events = append(r.Events, events.TaskScheduled{
					Step: events.Step(a.integer(rest)), Name: "Pay", Queue: "q", OfferTo: to, OfferUntil: until,
				})
			}
		case "answer":
			r.Answers = append(r.Answers, events.Answer{Session: 7, N: uint64(a.integer(rest)), Code: events.OK, RunID: r.RunID})
		default:
			a.t.Fatalf("unknown event %q", w)
		}
	}
	return r
}

func showAttempt(a sessions.Attempt) string {
	return fmt.Sprintf("%s/%d.%d", runName(a.Task.Run), a.Task.Step, a.Attempt)
}

func showActivation(a sessions.Activation) string {
	return fmt.Sprintf("%s#%d.%d", runName(a.RunID), a.Activation, a.Attempt)
}

func show(o sessions.Output) string {
	switch o := o.(type) {
	case sessions.Send:
		return fmt.Sprintf("send %d: %s\n", o.Envelope.N, showCommand(o.Envelope))
	case sessions.Reply:
		if o.Err != nil {
			return fmt.Sprintf("reply %d: %v\n", o.Call, o.Err)
		}
		return fmt.Sprintf("reply %d: %s at %d\n", o.Call, o.Answer.Code, o.Seq)
	case sessions.Waiting:
		return fmt.Sprintf("waiting %d: open=%v from=%d\n", o.Call, o.Open, o.From)
	case sessions.RunOver:
		if o.Err != nil {
			return fmt.Sprintf("over %d: %v\n", o.Call, o.Err)
		}
		return fmt.Sprintf("over %d: %s %s at %d\n", o.Call, runName(o.Run.RunID), o.Run.Status, o.Run.Seq)
	case sessions.Welcome:
		return fmt.Sprintf("welcome %d\n", o.Conn)
	case sessions.Refuse:
		return fmt.Sprintf("refuse %d: %v\n", o.Conn, o.Err)
	case sessions.Hand:
		if d := o.Delivery.Task; d != nil {
			return fmt.Sprintf("hand %d: %s\n", o.Conn, showAttempt(sessions.Attempt{Task: d.Task, Attempt: d.Attempt}))
		}
		d := o.Delivery.Activation
		text := fmt.Sprintf("hand %d: %s live=%v", o.Conn,
			showActivation(sessions.Activation{RunID: d.RunID, Activation: d.Activation.Activation, Attempt: d.Activation.Attempt}), o.Live)
		if o.Base.Activation != 0 {
			text += fmt.Sprintf(" base=%s nothing-new=%v", showActivation(o.Base), o.NothingNew)
		}
		return text + "\n"
	case sessions.StopTask:
		return fmt.Sprintf("stop %d: %s\n", o.Conn, showAttempt(o.Attempt))
	case sessions.AckTask:
		return fmt.Sprintf("ack %d: %s\n", o.Conn, showAttempt(o.Attempt))
	case sessions.AckActivation:
		return fmt.Sprintf("ack %d: %s\n", o.Conn, showActivation(o.Activation))
	case sessions.DropRun:
		return fmt.Sprintf("drop %d: %s\n", o.Conn, runName(o.RunID))
	case sessions.Report:
		return showReport(o)
	case sessions.Inspection:
		return fmt.Sprintf("inspection %d: %d workers\n", o.Call, len(o.Workers))
	}
	return fmt.Sprintf("%T\n", o)
}

func showCommand(e events.Envelope) string {
	switch c := e.Command.(type) {
	case events.CompleteTask:
		return fmt.Sprintf("CompleteTask %s/%d.%d", runName(e.RunID), c.Step, c.Attempt)
	case events.FailTask:
		return fmt.Sprintf("FailTask %s/%d.%d", runName(e.RunID), c.Step, c.Attempt)
	case events.TimeoutTask:
		return fmt.Sprintf("TimeoutTask %s/%d.%d %s %s", runName(e.RunID), c.Step, c.Attempt, c.Code, c.Details.Data)
	case events.RecordHeartbeat:
		return fmt.Sprintf("RecordHeartbeat %s/%d.%d %s", runName(e.RunID), c.Step, c.Attempt, c.Details.Data)
	case events.ReportProgress:
		wants := ""
		if c.OfferActivation {
			wants += " wants activations"
		}
		if c.OfferTask {
			wants += " wants task"
		}
		return fmt.Sprintf("ReportProgress %s#%d.%d%s", runName(e.RunID), c.Activation, c.Attempt, wants)
	case events.TimeoutActivation:
		return fmt.Sprintf("TimeoutActivation %s#%d.%d", runName(e.RunID), c.Activation, c.Attempt)
	default:
		return events.CommandName(c)
	}
}

func showReport(r sessions.Report) string {
	var b strings.Builder
	for _, w := range r.Joined {
		fmt.Fprintf(&b, "report joined %s\n", w.ID)
	}
	for _, id := range r.Left {
		fmt.Fprintf(&b, "report left %s\n", id)
	}
	held := func(what string, list []sessions.Held) {
		for _, h := range list {
			if h.Step != 0 {
				fmt.Fprintf(&b, "report %s %s %s/%d.%d\n", what, h.Worker, runName(h.RunID), h.Step, h.Attempt)
			} else {
				fmt.Fprintf(&b, "report %s %s %s#%d.%d\n", what, h.Worker, runName(h.RunID), h.Activation, h.Attempt)
			}
		}
	}
	held("running", r.Running)
	for _, c := range r.Credits {
		fmt.Fprintf(&b, "report credit %s tasks=%+d activations=%+d\n", c.Worker, c.Tasks, c.Activations)
	}
	held("returned", r.Returned)
	held("refused", r.Refused)
	held("over", r.Over)
	for _, l := range r.Live {
		fmt.Fprintf(&b, "report live %s %s evicted=%v\n", l.Worker, runName(l.RunID), l.Evicted)
	}
	return b.String()
}

func TestEveryTopicHasAScript(t *testing.T) {
	t.Parallel()
	var topics []string
	datadriven.Walk(t, "testdata/scripts", func(_ *testing.T, path string) { topics = append(topics, path[strings.LastIndex(path, "/")+1:]) })
	for _, want := range []string{"activations", "commands", "deadlines", "offers", "reconnect", "results", "runs", "workers"} {
		if !slices.Contains(topics, want) {
			t.Errorf("testdata/scripts/%s is missing", want)
		}
	}
}
