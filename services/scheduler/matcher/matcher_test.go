package matcher

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/continuo-dev/continuo/pkg/events"
)

// TestScripts runs testdata/scripts: who gets what in situations a reader can follow. Times are in milliseconds.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{m: New(Limits{Lane: 4, Total: 8, Floor: 2})}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type script struct {
	m   *Matcher
	seq events.Seq
}

func millis(n int) events.Time {
	return events.Time(n) * events.Time(time.Millisecond/time.Microsecond)
}

func runID(n int) events.RunID { return events.RunID{15: byte(n)} }

// run executes the lines of one command, each "verb key=value …", at the command's at=.
func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	at := 0
	d.MaybeScanArgs(t, "at", &at)
	now := millis(at)
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		verb, args := parse(line)
		if verb == "" {
			continue
		}
		if said := s.do(t, now, verb, args); said != "" {
			fmt.Fprintln(&out, said)
		}
	}
	if d.Cmd == "match" || d.Cmd == "then" {
		for _, given := range s.m.Match(now, nil) {
			fmt.Fprintf(&out, "%s -> %s/%d", describe(given.Item), given.Worker, given.Session)
			if given.Number > 1 {
				fmt.Fprintf(&out, " again (%d)", given.Number)
			}
			out.WriteByte('\n')
		}
	}
	if d.Cmd == "lanes" {
		for _, l := range s.m.Lanes() {
			fmt.Fprintf(&out, "%s %s %s: waiting %d later %d held %d workers %d\n", l.Queue, l.Kind, l.Name, l.Waiting, l.Later, l.Held, l.Workers)
		}
		fmt.Fprintf(&out, "hungry %v\n", s.m.Hungry())
	}
	if next, ok := s.m.Next(); ok && d.Cmd != "lanes" {
		fmt.Fprintf(&out, "next at %d\n", next/1000)
	}
	return out.String()
}

func describe(i Item) string {
	if i.Task != nil {
		return fmt.Sprintf("task %s %d.%d#%d", i.Task.Name, i.ID().Run[15], i.ID().Step, i.Attempt())
	}
	return fmt.Sprintf("activation %s %d#%d", i.Activation.Activation.Type, i.ID().Run[15], i.Attempt())
}

type args map[string]string

func parse(line string) (verb string, a args) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return "", nil
	}
	a = args{}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		a[key] = value
	}
	return fields[0], a
}

func (a args) n(key string, byDefault int) int {
	if a[key] == "" {
		return byDefault
	}
	n, err := strconv.Atoi(a[key])
	if err != nil {
		panic(err)
	}
	return n
}

func (a args) list(key string) []string {
	if a[key] == "" {
		return nil
	}
	return strings.Split(a[key], ",")
}

func (s *script) item(now events.Time, verb string, a args) Item {
	s.seq++
	item := Item{From: s.seq, Opened: now}
	if opened := a.n("opened", -1); opened >= 0 {
		item.Opened = millis(opened)
	}
	attempt := events.Attempt(a.n("attempt", 1))
	var notBefore events.Time
	if a["after"] != "" {
		notBefore = millis(a.n("after", 0))
	}
	queue := events.TaskQueue(a["queue"])
	if queue == "" {
		queue = "q"
	}
	if verb == "task" {
		item.Task = &events.OpenTask{
			Task: events.TaskID{Run: runID(a.n("run", 0)), Step: events.Step(a.n("step", 1))}, Attempt: attempt, Name: events.TaskName(a["name"]),
			Queue: queue, NotBefore: notBefore, OfferTo: events.SessionID(a.n("offer", 0)), OfferUntil: millis(a.n("until", 0)),
		}
		return item
	}
	item.Activation = &events.OpenActivation{RunID: runID(a.n("run", 0)), Activation: events.ActivationScheduled{
		Activation: uint64(a.n("activation", 1)), Attempt: attempt, Type: events.WorkflowType(a["type"]), Queue: queue, NotBefore: notBefore,
		FailedBuild: events.BuildID(a["failed"]), OfferTo: events.SessionID(a.n("offer", 0)), OfferUntil: millis(a.n("until", 0)),
	}}
	return item
}

func (s *script) do(t *testing.T, now events.Time, verb string, a args) string {
	session, w := events.SessionID(a.n("session", 1)), events.WorkerID(a["worker"])
	id := ID{Run: runID(a.n("run", 0)), Step: events.Step(a.n("step", 0))}
	held := Held{
		Worker: w, Run: id.Run, Step: id.Step, Attempt: events.Attempt(a.n("attempt", 1)), Activation: uint64(a.n("activation", 0)),
	}
	switch verb {
	case "task", "activation":
		if s.m.Open(now, s.item(now, verb, a)) {
			return "held"
		}
	case "join":
		queue := events.TaskQueue(a["queue"])
		if queue == "" {
			queue = "q"
		}
		s.m.Join(now, Worker{
			Session: session, ID: w, Build: events.BuildID(a["build"]), Queue: queue, Tasks: a.list("tasks"), Workflows: a.list("workflows"),
		})
		s.m.Credit(session, w, a.n("credit", 0), a.n("acredit", 0))
	case "credit":
		s.m.Credit(session, w, a.n("tasks", 0), a.n("activations", 0))
	case "leave":
		s.m.Leave(now, session, w)
	case "gone":
		s.m.Gone(now, session)
	case "close":
		if _, ok := s.m.Close(id); !ok {
			return "not in memory"
		}
	case "running":
		return fmt.Sprintf("known %v", s.m.Running(session, held))
	case "doubt":
		s.m.Doubt(now)
	case "refuse":
		s.m.Refuse(now, session, held)
	case "return":
		return fmt.Sprintf("known %v", s.m.Return(now, session, held))
	case "live", "evicted":
		s.m.Live(session, w, id.Run, verb == "evicted")
	case "saved":
		return fmt.Sprintf("let go %v", s.m.Saved(id, now.Add(time.Minute)))
	case "load":
		item := s.item(now, "task", a)
		taken := s.m.Loads(rowOf(item))
		if taken {
			s.m.Add(now, item)
		}
		return fmt.Sprintf("taken %v", taken)
	case "refill":
		item := s.item(now, "task", a)
		taken := s.m.Refills(rowOf(item))
		if taken {
			s.m.Add(now, item)
		}
		return fmt.Sprintf("taken %v", taken)
	case "begin":
		s.m.BeginSweep()
	case "end":
		s.m.EndSweep()
	default:
		t.Fatalf("unknown verb %q", verb)
	}
	return ""
}

func TestRendezvousKeepsRunsWhereTheyWere(t *testing.T) {
	t.Parallel()
	// Of 1,000 runs spread over four workers, losing one worker moves only its own runs.
	workers := func(ids ...string) []*worker {
		var out []*worker
		for _, id := range ids {
			out = append(out, &worker{id: events.WorkerID(id), credit: [2]int{1000, 1000}})
		}
		return out
	}
	all, fewer := workers("a", "b", "c", "d"), workers("a", "b", "c")
	counts := map[events.WorkerID]int{}
	for i := range 1000 {
		run := events.RunID{14: byte(i >> 8), 15: byte(i)}
		was := rendezvous(run, all)
		counts[was.id]++
		if is := rendezvous(run, fewer); was.id != "d" && is.id != was.id {
			t.Fatalf("run %d moved from %s to %s although %s stayed", i, was.id, is.id, was.id)
		}
	}
	for id, n := range counts {
		if n < 180 || n > 320 {
			t.Errorf("worker %s got %d of 1000 runs", id, n)
		}
	}
}

func TestLanesOfManyNamesAreForgotten(t *testing.T) {
	t.Parallel()
	m := New(Limits{})
	for i := range 10_000 {
		item := Item{Task: &events.OpenTask{Task: events.TaskID{Run: runID(1), Step: 1}, Attempt: 1, Name: events.TaskName(fmt.Sprint("n", i)), Queue: events.TaskQueue(fmt.Sprint("q", i))}}
		m.Open(1, item)
		m.Close(item.ID())
		m.Match(1, nil)
	}
	if n := len(m.groups); n > 2*minPrune {
		t.Errorf("%d groups are kept of 10,000 queues without work", n)
	}
	if lanes := m.Lanes(); len(lanes) > 0 {
		t.Errorf("idle lanes are reported: %v", lanes[0])
	}
}

// rowOf is what the index tells of an item at first.
func rowOf(item Item) Row {
	return Row{ID: item.ID(), Kind: item.Kind(), Queue: item.queue(), Name: item.name(), Begun: item.Begun(), Start: item.Start()}
}
