package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// driver drives the core of one partition over the memory adapter, turn by turn, with a clock moved by hand.
type driver struct {
	t       fataler
	store   *memory.Store
	whole   bool // the log is never trimmed
	owner   journal.Owner
	core    *partition
	now     events.Time
	options Options
	n       uint64 // stamps of the driver's session
	records []*events.Record
}

func newDriver(t fataler) *driver {
	d := &driver{t: t, store: memory.New(memory.Options{Partitions: 1}), now: events.TimeOf(begin)}
	d.recover()
	return d
}

func (d *driver) deps() Deps {
	var log Log = d.store.Journal()
	if d.whole {
		log = untrimmed{log}
	}
	return Deps{
		Log: log, Runs: d.store.RunStore(), Archive: d.store.Archive(), Blobs: d.store.Blobs(),
		Clock: clocktest.NewManual(begin), Logger: slog.New(slog.DiscardHandler), Observer: nobody{},
	}
}

// tryRecover acquires the partition and builds its state, as a start does.
func (d *driver) tryRecover() error {
	ctx := context.Background()
	o, err := d.options.withDefaults()
	d.must(err)
	d.owner, err = d.store.Journal().Acquire(ctx, 0)
	d.must(err)
	d.core, err = recoverPartition(ctx, 0, d.owner, d.deps(), o)
	if err != nil {
		return err
	}
	step := d.core.begin(d.now)
	if err := d.owner.Commit(ctx, step); err != nil {
		return err
	}
	return d.core.committed(ctx, step)
}

func (d *driver) recover() {
	d.t.Helper()
	d.must(d.tryRecover())
}

func (d *driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// crash ends the process and starts it again; keep is how many writes of rows survive.
func (d *driver) crash(keep int) {
	d.t.Helper()
	d.store = d.store.Crash(keep)
	d.recover()
}

// turn hands commands over and handles them in one turn. The error is that of the commit.
func (d *driver) turn(commands ...events.Envelope) ([]*events.Record, error) {
	d.t.Helper()
	ctx := context.Background()
	for _, c := range commands {
		d.must(d.store.Journal().Send(c, nil))
	}
	step, err := d.core.Turn(ctx, d.now, d.owner.Take(1000))
	d.must(err)
	if err := d.owner.Commit(ctx, step); err != nil {
		return nil, err
	}
	d.must(d.core.committed(ctx, step))
	d.records = append(d.records, step.Records...)
	return step.Records, nil
}

// do is turn for commands that must succeed; it returns their answers in the order of the records.
func (d *driver) do(commands ...events.Envelope) []events.Answer {
	d.t.Helper()
	records, err := d.turn(commands...)
	d.must(err)
	var answers []events.Answer
	for _, r := range records {
		answers = append(answers, r.Answers...)
	}
	return answers
}

// one handles one command and returns its answer.
func (d *driver) one(env events.Envelope) events.Answer {
	d.t.Helper()
	answers := d.do(env)
	if len(answers) != 1 {
		d.t.Fatalf("%T has %d answers: %v", env.Command, len(answers), answers)
	}
	return answers[0]
}

// advance moves the time.
func (d *driver) advance(by time.Duration) { d.now = d.now.Add(by) }

// stamped gives a command the next stamp of the driver's session.
func (d *driver) stamped(env events.Envelope) events.Envelope {
	d.n++
	env.Session, env.N = 7, d.n
	return env
}

func runID(n int) events.RunID {
	return events.MakeRunID(begin.UnixMilli(), [10]byte{8: byte(n >> 8), 9: byte(n)})
}

// to addresses a command to the workflow that run n belongs to.
func to(n int, c events.Command) events.Envelope {
	return events.Envelope{Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprintf("w%d", n)), RunID: runID(n), Command: c}
}

func start(n int) events.Envelope { return to(n, events.StartWorkflow{Type: "w"}) }

func signal(n int, name string) events.Envelope {
	return to(n, events.SignalWorkflow{Name: events.SignalName(name)})
}

// sleep is the progress of a first activation that waits for a signal.
func sleep(n int) events.Envelope {
	return to(n, events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, Wait: events.WaitSet{
		Any: []events.WaitGroup{{Signals: []events.SignalWait{{Name: "go", Index: 1}}}},
	}})
}

func requested(env events.Envelope, id string) events.Envelope {
	env.RequestID = events.RequestID(id)
	return env
}

// history returns the kinds of a run's events, from the archive.
func (d *driver) history(n int) string {
	d.t.Helper()
	records, _, err := d.store.Archive().History(context.Background(), 0, runID(n), 1, 0, 1<<30)
	d.must(err)
	return kinds(records...)
}

func kinds(records ...*events.Record) string {
	var names []string
	for _, r := range records {
		for _, e := range r.Events {
			names = append(names, strings.TrimPrefix(fmt.Sprintf("%T", e), "events."))
		}
	}
	return strings.Join(names, " ")
}

func codes(answers []events.Answer) string {
	var all []string
	for _, a := range answers {
		code := string(a.Code)
		if a.Duplicate {
			code += "+"
		}
		all = append(all, code)
	}
	return strings.Join(all, " ")
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
