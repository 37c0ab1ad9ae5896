package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// untrimmed is a log that keeps everything, so that its whole past can be folded.
type untrimmed struct{ Log }

func (untrimmed) Trim(events.Partition, events.Seq) error { return nil }

const lawRuns = 4

// TestRecoveryLaws sends random commands through commits that fail, crashes and restarts, and checks after each that the
// partition's memory is what the whole log says, that a repeated command has the same answer and no second effect, and
// that nothing acknowledged is lost.
func TestRecoveryLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &lawDriver{driver: newDriver(t), t: t, answered: map[uint64]events.Answer{}}
		l.whole = true
		l.core.deps.Log = l.deps().Log
		for range rapid.IntRange(5, 40).Draw(t, "turns") {
			l.step()
		}
		l.crash(rapid.IntRange(0, 3).Draw(t, "keep"))
		l.compare()
		l.checkOnce()
	})
}

type lawDriver struct {
	*driver
	t        *rapid.T
	answered map[uint64]events.Answer // by stamp
	requests int
	sent     []events.Envelope
}

func (l *lawDriver) restart(next func()) {
	next()
	l.compare()
}

func (l *lawDriver) step() {
	l.advance(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 11 * time.Second, time.Minute}).Draw(l.t, "pause"))
	switch rapid.IntRange(0, 15).Draw(l.t, "what") {
	case 0:
		l.restart(func() { l.crash(rapid.IntRange(0, 2).Draw(l.t, "keep")) })
	case 1:
		l.restart(func() { l.store = l.store.Reopen(); l.recover() })
	case 2:
		l.must(l.core.flush(context.Background()))
	case 3:
		if len(l.sent) > 0 {
			again := rapid.SampledFrom(l.sent).Draw(l.t, "again")
			l.check(l.do(again))
		}
	default:
		var batch []events.Envelope
		for range rapid.IntRange(1, 4).Draw(l.t, "commands") {
			batch = append(batch, l.stamped(l.command()))
		}
		l.sent = append(l.sent, batch...)
		if rapid.IntRange(0, 5).Draw(l.t, "twice") == 0 {
			batch = append(batch, batch[0])
		}
		l.batch(batch)
	}
}

// batch handles commands with a commit that may fail; then the sender repeats them.
func (l *lawDriver) batch(batch []events.Envelope) {
	fault := rapid.SampledFrom([]memory.CommitFault{
		memory.CommitOK, memory.CommitOK, memory.CommitOK, memory.CommitLost, memory.CommitUnknown,
	}).Draw(l.t, "fault")
	l.store.SetFaults(memory.Faults{Commit: func(events.Partition, []*events.Record) memory.CommitFault { return fault }})
	records, err := l.turn(batch...)
	l.store.SetFaults(memory.Faults{})
	if err != nil {
		if !errors.Is(err, journal.ErrLost) {
			l.t.Fatalf("commit: %v", err)
		}
		l.restart(l.recover)
		if rapid.Bool().Draw(l.t, "newer first") {
			newer := l.stamped(l.command())
			l.sent = append(l.sent, newer)
			l.check(l.do(newer))
		}
		if records, err = l.turn(batch...); err != nil {
			l.t.Fatal(err)
		}
	}
	var answers []events.Answer
	for _, r := range records {
		answers = append(answers, r.Answers...)
	}
	if len(answers) != len(batch) {
		l.t.Fatalf("%d commands have %d answers", len(batch), len(answers))
	}
	l.check(answers)
}

// check: the same stamp gets the same answer.
func (l *lawDriver) check(answers []events.Answer) {
	for _, a := range answers {
		if a.Duplicate {
			a.Duplicate = false
		}
		old, ok := l.answered[a.N]
		if ok && old != a {
			l.t.Fatalf("command %d is answered %+v and before %+v", a.N, a, old)
		}
		l.answered[a.N] = a
	}
}

func (l *lawDriver) command() events.Envelope {
	t := l.t
	n := rapid.IntRange(0, lawRuns-1).Draw(t, "run")
	flight := l.flight(n)
	switch rapid.IntRange(0, 9).Draw(t, "command") {
	case 0, 1:
		env := start(n)
		env.WorkflowID = start(n % 2).WorkflowID // two runs share a workflow id
		env.Command = events.StartWorkflow{Type: "w", IDPolicy: events.IDPolicy(rapid.IntRange(0, 3).Draw(t, "policy"))}
		return env
	case 2, 3, 4:
		l.requests++
		return l.address(requested(signal(n, "go"), fmt.Sprint("r", l.requests)))
	case 5:
		return l.address(requested(to(n, events.CancelWorkflow{}), fmt.Sprint("c", l.requests)))
	case 6:
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			return l.address(to(n, events.TerminateWorkflow{}))
		}
		return l.address(to(n, events.GetRun{}))
	case 7:
		return l.address(to(n, events.CompleteTask{Step: events.Step(flight.Activation), Attempt: 1}))
	default:
		p := events.ReportProgress{Activation: flight.Activation, Attempt: flight.Attempt, Upto: flight.Upto}
		p.Intents = []events.Intent{events.ScheduleTask{Step: events.Step(flight.Activation + 1), Name: "task"}}
		p.Wait.Any = []events.WaitGroup{{Steps: []events.Step{events.Step(flight.Activation + 1)}}}
		if rapid.IntRange(0, 5).Draw(t, "end") == 0 {
			p.Intents = append(p.Intents, events.CompleteRun{})
		}
		return l.address(to(n, p))
	}
}

func (l *lawDriver) address(env events.Envelope) events.Envelope {
	for n := range lawRuns {
		if env.RunID == runID(n) {
			env.WorkflowID = start(n % 2).WorkflowID
		}
	}
	return env
}

// flight returns the newest activation of a run.
func (l *lawDriver) flight(n int) (newest events.ActivationScheduled) {
	records, _, err := l.store.Archive().History(context.Background(), 0, runID(n), 1, 0, 1<<30)
	if err != nil {
		return newest
	}
	for _, r := range records {
		for _, e := range r.Events {
			if a, ok := e.(events.ActivationScheduled); ok {
				newest = a
			}
		}
	}
	return newest
}

// compare holds the partition's memory and rows against a fold of the whole log over nothing.
func (l *lawDriver) compare() {
	l.t.Helper()
	ctx := context.Background()
	deps := l.deps()
	deps.Runs = memory.New(memory.Options{Partitions: 1}).RunStore()
	whole := newPartition(0, deps, l.core.options)
	_, last := l.store.Journal().Bounds(0)
	if _, err := whole.foldTail(ctx, last); err != nil {
		l.t.Fatalf("folding the whole log: %v", err)
	}
	if whole.seq != l.core.seq || whole.time != l.core.time || whole.cluster != l.core.cluster {
		l.t.Fatalf("recovered %d at %d, whole log %d at %d", l.core.seq, l.core.time, whole.seq, whole.time)
	}
	for n := range lawRuns {
		var rows [2][]byte
		for i, p := range []*partition{whole, l.core} {
			e, err := p.load(ctx, runID(n))
			l.must(err)
			if e != nil {
				rows[i] = e.appendTo(nil)
			}
			if e != nil && e.broken != nil {
				l.t.Fatalf("run %d is broken: %s", n, e.broken.reason)
			}
		}
		if !bytes.Equal(rows[0], rows[1]) {
			l.t.Fatalf("run %d:\n whole log %x\n recovered %x", n, rows[0], rows[1])
		}
		a, knownA, err := whole.newestRun(ctx, "default", start(n).WorkflowID)
		l.must(err)
		b, knownB, err := l.core.newestRun(ctx, "default", start(n).WorkflowID)
		l.must(err)
		if a != b || knownA != knownB {
			l.t.Fatalf("newest run of w%d: whole log %+v, recovered %+v", n, a, b)
		}
		for request := range l.requests + 1 {
			for _, prefix := range []string{"r", "c"} {
				key := requestKey{runID(n), events.RequestID(fmt.Sprint(prefix, request))}
				a, err := whole.kept(ctx, key)
				l.must(err)
				b, err := l.core.kept(ctx, key)
				l.must(err)
				if (a == nil) != (b == nil) || (a != nil && *a != *b) {
					l.t.Fatalf("answer to %v: whole log %+v, recovered %+v", key, a, b)
				}
			}
		}
	}
	if !maps.EqualFunc(whole.sessions, l.core.sessions, func(a, b *session) bool {
		return a.n == b.n && a.last == b.last && slices.Equal(a.gaps, b.gaps)
	}) {
		l.t.Fatalf("sessions: whole log %v, recovered %v", whole.sessions, l.core.sessions)
	}
}

// checkOnce: a request happened once if its answer was OK, and never if it was refused.
func (l *lawDriver) checkOnce() {
	happened := map[events.RequestID]int{}
	for n := range lawRuns {
		records, _, err := l.store.Archive().History(context.Background(), 0, runID(n), 1, 0, 1<<30)
		if err != nil {
			continue
		}
		for _, r := range records {
			for _, e := range r.Events {
				if s, ok := e.(events.SignalReceived); ok {
					happened[s.RequestID]++
				}
			}
		}
	}
	for _, env := range l.sent {
		if _, ok := env.Command.(events.SignalWorkflow); !ok {
			continue
		}
		want := 0
		if l.answered[env.N].Code == events.OK {
			want = 1
		}
		if happened[env.RequestID] != want {
			l.t.Fatalf("signal %s was answered %s and happened %d times", env.RequestID, l.answered[env.N].Code, happened[env.RequestID])
		}
	}
}

func TestCheckpointShortensRecovery(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for n := range 20 {
		d.do(start(n))
	}
	d.advance(time.Minute)
	d.do(start(20)) // flushes
	d.do(start(21)) // makes the flush durable
	first, last := d.store.Journal().Bounds(0)
	checkpoint, err := d.store.RunStore().Checkpoint(t.Context(), 0)
	d.must(err)
	equal(t, "checkpoint", checkpoint.Next, last)
	if first > checkpoint.Next {
		t.Errorf("the log is trimmed to %d, beyond the checkpoint %d", first, checkpoint.Next)
	}
	d.crash(0)
	equal(t, "records since the checkpoint", d.core.unflushed, 2) // that of run 21 and the new epoch
	for n := range 22 {
		equal(t, fmt.Sprint("start ", n, " again"), codes(d.do(start(n))), "ok+")
	}
}

func TestLogIsTrimmedBehindTheCheckpointBefore(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	var checkpoints []events.Seq
	for n := range 5 {
		d.advance(time.Minute)
		d.do(start(n))
		checkpoint, err := d.store.RunStore().Checkpoint(t.Context(), 0)
		d.must(err)
		checkpoints = append(checkpoints, checkpoint.Next)
	}
	first, _ := d.store.Journal().Bounds(0)
	equal(t, "first record kept", first, checkpoints[3])
	d.crash(0)
	equal(t, "history", d.history(0), "RunStarted ActivationScheduled")
}

// A reader that has not begun needs the beginning of the log still: nothing is trimmed before it holds its place.
func TestNothingIsTrimmedBeforeItsReadersHold(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.core.options.Readers = []string{"slow", "quick"}
	first := func() events.Seq {
		for n := range 3 {
			d.do(start(n + 1))
			d.must(d.core.flush(t.Context()))
		}
		first, _ := d.store.Journal().Bounds(0)
		return first
	}
	hold := func(reader string) {
		d.must(d.store.Journal().Hold(reader, []journal.Position{{Partition: 0, Next: 3}}))
	}
	hold("quick")
	equal(t, "with one of two", first(), events.Seq(1))
	hold("slow")
	equal(t, "with both", first(), events.Seq(3))
}

func TestRowsOfAnotherStore(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.must(d.core.flush(t.Context()))
	checkpoint, err := d.store.RunStore().Checkpoint(t.Context(), 0)
	d.must(err)
	other := newDriver(t)
	deps := other.deps()
	deps.Runs = d.store.RunStore()
	if checkpoint.Next <= other.core.seq+1 {
		t.Fatalf("checkpoint %d", checkpoint.Next)
	}
	_, err = recoverPartition(t.Context(), 0, lastOwner{other.owner, 1}, deps, other.core.options)
	if _, ok := errors.AsType[*stopError](err); !ok {
		t.Errorf("recovered with %v", err)
	}
}

type lastOwner struct {
	journal.Owner
	last events.Seq
}

func (o lastOwner) Last() events.Seq { return o.last }
