package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a scheduler over memory, with a log that the test writes itself.
type lab struct {
	t       *testing.T
	store   *memory.Store
	parts   int
	options Options
	owners  []journal.Owner
	last    []events.Seq
	numbers map[events.RunID]events.EventNumber
	fired   []events.Envelope // commands taken from the log, in order
	s       *Scheduler
	stop    func()
	kill    func()
}

// inLab runs a test in a bubble of virtual time, with a scheduler that runs.
func inLab(t *testing.T, parts int, o Options, test func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, store: memory.New(memory.Options{Partitions: parts}), parts: parts, options: o, numbers: map[events.RunID]events.EventNumber{}}
		l.own()
		l.start()
		test(l)
		l.stop()
		l.store.Close()
	})
}

func (l *lab) own() {
	l.owners, l.last = nil, nil
	for p := range l.parts {
		o, err := l.store.Journal().Acquire(l.t.Context(), events.Partition(p))
		if err != nil {
			l.t.Fatal(err)
		}
		l.owners = append(l.owners, o)
		l.last = append(l.last, o.Last())
	}
}

// start runs a scheduler; stop ends it in good order.
func (l *lab) start() {
	var partitions []events.Partition
	for p := range l.parts {
		partitions = append(partitions, events.Partition(p))
	}
	l.s = New(Deps{
		Log: l.store.Journal(), Commands: l.store.Journal(), Index: l.store.DueIndex(), Inbox: l.store.Inbox(), Clock: clocktest.Bubble(),
		Logger: slog.New(slog.DiscardHandler), Partitions: partitions,
	}, l.options)
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	s := l.s
	go func() { done <- s.Run(ctx) }()
	l.kill = func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Logf("the scheduler noticed the death of its store: %v", err)
		}
	}
	l.stop = func() {
		l.t.Helper()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("the scheduler ended with %v", err)
		}
	}
	synctest.Wait()
}

// crash ends store and scheduler as kill -9 does and starts the next life with the oldest keep writes of the index that no
// commit has followed.
func (l *lab) crash(keep int) {
	l.t.Helper()
	old := l.store
	l.store = old.Crash(keep)
	l.kill() // its store is dead: it cannot save
	l.own()
	l.start()
}

func workflow(n int) events.WorkflowID { return events.WorkflowID(fmt.Sprint("wf-", n)) }

func runOf(n int) events.RunID {
	return events.RunID{0: 1, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

// record appends events of run n to the log, time being now.
func (l *lab) record(n int, evs ...events.Event) {
	l.t.Helper()
	p := events.PartitionOf(events.DefaultNamespace, workflow(n), l.parts)
	l.last[p]++
	run := runOf(n)
	if l.numbers[run] == 0 {
		l.numbers[run] = 1
	}
	r := &events.Record{Events: evs, Header: events.Header{
		Partition: p, Epoch: l.owners[p].Epoch(), Owner: l.owners[p].ID(), Seq: l.last[p], Time: events.TimeOf(time.Now()), Schema: events.Schema,
		Namespace: events.DefaultNamespace, WorkflowID: workflow(n), RunID: run, First: l.numbers[run],
	}}
	l.numbers[run] += events.EventNumber(len(evs))
	commands := l.owners[p].Take(1 << 20)
	l.fired = append(l.fired, commands...)
	if err := l.owners[p].Commit(l.t.Context(), journal.Step{Records: []*events.Record{r}, Consumed: len(commands)}); err != nil {
		l.t.Fatal(err)
	}
}

// commands takes what was sent since.
func (l *lab) commands() []events.Envelope {
	l.t.Helper()
	synctest.Wait()
	for p, o := range l.owners {
		taken := o.Take(1 << 20)
		l.fired = append(l.fired, taken...)
		if len(taken) > 0 {
			if err := o.Commit(l.t.Context(), journal.Step{Consumed: len(taken)}); err != nil {
				l.t.Fatalf("partition %d: %v", p, err)
			}
		}
	}
	fired := l.fired
	l.fired = nil
	return fired
}

// fires lists the timers asked for since, as run/step.
func (l *lab) fires() []string {
	l.t.Helper()
	var out []string
	for _, c := range l.commands() {
		out = append(out, fmt.Sprintf("%d/%d", runNumber(c.RunID), c.Command.(events.FireTimer).Timer.Step))
	}
	slices.Sort(out)
	return out
}

func runNumber(id events.RunID) int { return int(id[13])<<16 | int(id[14])<<8 | int(id[15]) }

// gateway is a session with one worker.
type gateway struct {
	l    *lab
	id   events.SessionID
	box  inbox.Mailbox
	name events.WorkerID
}

// gateway opens a session with a worker that offers the names as tasks and as workflows.
func (l *lab) gateway(id events.SessionID, credits int, queue string, names ...string) *gateway {
	l.t.Helper()
	box, err := l.store.Inbox().Open(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	g := &gateway{l: l, id: id, box: box, name: events.WorkerID(fmt.Sprint("worker-", id))}
	w := inbox.Worker{Session: id, ID: g.name, Queue: events.TaskQueue(queue), TaskSlots: credits, ActivationSlots: credits}
	for _, n := range names {
		w.Tasks = append(w.Tasks, inbox.Offer{Name: n})
		w.Workflows = append(w.Workflows, inbox.Offer{Name: n})
	}
	g.report(inbox.Report{Joined: []inbox.Worker{w}})
	g.credit(credits)
	return g
}

func (g *gateway) report(r inbox.Report) {
	g.l.t.Helper()
	r.Session = g.id
	if err := g.l.store.Inbox().Report(r); err != nil {
		g.l.t.Fatal(err)
	}
}

func (g *gateway) credit(n int) {
	g.report(inbox.Report{Credits: []inbox.Credit{{Worker: g.name, Tasks: n, Activations: n}}})
}

// take returns what was delivered, as "task 1/2#1" and "activation 1#1", without letting time pass.
func (g *gateway) take() []string {
	g.l.t.Helper()
	synctest.Wait()
	var out []string
	for _, d := range g.box.Take(1 << 20) {
		var what string
		if t := d.Task; t != nil {
			what = fmt.Sprintf("task %d/%d#%d", runNumber(t.Task.Run), t.Task.Step, t.Attempt)
		} else {
			what = fmt.Sprintf("activation %d#%d", runNumber(d.Activation.RunID), d.Activation.Activation.Attempt)
		}
		if d.Number > 1 {
			what += fmt.Sprintf(" again(%d)", d.Number)
		}
		out = append(out, what)
	}
	return out
}

func (l *lab) want(what string, got []string, want ...string) {
	l.t.Helper()
	if !slices.Equal(got, want) {
		l.t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func started() events.Event { return events.RunStarted{Type: "W", Queue: "q"} }

func activation(n uint64) events.Event {
	return events.ActivationScheduled{Activation: n, Attempt: 1, Type: "W", Queue: "q", ReplayFrom: 1, Upto: 1}
}

func task(step int, name string) events.Event {
	return events.TaskScheduled{Step: events.Step(step), Name: events.TaskName(name), Queue: "q"}
}

func sleep(step int, d time.Duration) events.Event {
	return events.TimerStarted{Step: events.Step(step), Due: events.TimeOf(time.Now().Add(d))}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
