package engine

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// write puts a record into the log behind the engine's back.
func (d *driver) write(r *events.Record) {
	d.t.Helper()
	owner, err := d.store.Journal().Acquire(context.Background(), 0)
	d.must(err)
	r.Seq, r.Epoch, r.Time = owner.Last()+1, owner.Epoch(), d.now
	d.must(owner.Commit(context.Background(), journal.Step{Records: []*events.Record{r}}))
}

func (d *driver) unfit(n int) {
	first := events.EventNumber(strings.Count(d.history(n), " ") + 2)
	d.write(&events.Record{
		Header: events.Header{Namespace: "default", WorkflowID: start(n).WorkflowID, RunID: runID(n), First: first, Schema: events.Schema},
		Events: []events.Event{events.TaskCompleted{Step: 99, Attempt: 1}},
	})
}

func (d *driver) quarantined() []runstore.QuarantinedRun {
	runs, err := d.store.RunStore().Quarantined(context.Background(), 0, 10)
	d.must(err)
	return runs
}

func TestUnfitRecordQuarantinesItsRunAlone(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1), start(2))
	d.unfit(1)
	d.recover()
	d.do()
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled TaskCompleted RunQuarantined")
	runs := d.quarantined()
	if len(runs) != 1 || runs[0].RunID != runID(1) || !strings.Contains(runs[0].Reason, "task 99 is not open") {
		t.Fatalf("quarantined: %+v", runs)
	}
	for range 2 {
		equal(t, "a signal", codes(d.do(signal(1, "go"))), "quarantined")
		equal(t, "asking", codes(d.do(to(1, events.GetRun{}))), "ok")
		equal(t, "the start again", codes(d.do(start(1))), "ok+")
		equal(t, "a start in its place", codes(d.do(events.Envelope{
			Namespace: "default", WorkflowID: "w1", RunID: runID(5), Command: events.StartWorkflow{Type: "w", IDPolicy: events.IDTerminateOpen},
		})), "quarantined")
		equal(t, "the other run", codes(d.do(signal(2, "go"))), "ok")
		equal(t, "release, still damaged", codes(d.do(to(1, events.ReleaseRun{}))), "quarantined")
		d.advance(time.Minute)
		d.do()
		d.crash(0)
	}
	equal(t, "still listed", len(d.quarantined()), 1)
}

// broken quarantines run n as a defect of the machine would.
func (d *driver) breakRun(n int) {
	d.t.Helper()
	e, err := d.core.load(context.Background(), runID(n))
	d.must(err)
	d.core.breakRun(e, e.next(), "a defect", d.now)
	d.do()
}

func TestReleasedRunGoesOnWithItsParkedCommands(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.breakRun(1)
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled RunQuarantined")
	equal(t, "listed", len(d.quarantined()), 1)
	equal(t, "progress is parked", codes(d.do(sleep(1))), "quarantined")
	equal(t, "a signal is refused", codes(d.do(signal(1, "go"))), "quarantined")
	answers := d.do(d.stamped(requested(to(1, events.ReleaseRun{Reason: "fixed"}), "release-1")))
	equal(t, "release", codes(answers), "ok")
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled RunQuarantined RunReleased ProgressMade")
	d.do()
	equal(t, "listed after", len(d.quarantined()), 0)
	d.crash(0)
	equal(t, "a signal", codes(d.do(signal(1, "go"))), "ok")
	equal(t, "history", d.history(1),
		"RunStarted ActivationScheduled RunQuarantined RunReleased ProgressMade SignalReceived ActivationScheduled")
	equal(t, "release of a healthy run", codes(d.do(to(1, events.ReleaseRun{}))), "not_quarantined")
}

func TestParkedCommandsAreBounded(t *testing.T) {
	t.Parallel()
	b := &broken{}
	for n := range uint64(maxParked + 5) {
		b.park(to(1, events.TimeoutActivation{Activation: n}))
	}
	equal(t, "parked", len(b.parked), maxParked)
	equal(t, "dropped", b.dropped, 5)
	equal(t, "oldest", b.parked[0].Command.(events.TimeoutActivation).Activation, 5)
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	err := d.core.guarded(runID(1), func() error { panic("a defect") })
	if err == nil || !strings.Contains(err.Error(), "a defect") {
		t.Errorf("error %v", err)
	}
}

func TestDamagedRowIsBuiltAgainFromTheHistory(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.do(sleep(1))
	d.must(d.core.flush(t.Context()))
	row, err := d.store.RunStore().Run(t.Context(), 0, runID(1))
	d.must(err)
	for _, damaged := range [][]byte{{}, {1}, {9, 9, 9}, row[:3], row[:len(row)/2], append(bytes.Clone(row), 1)} {
		d.must(d.store.RunStore().Write(t.Context(), 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(1), Row: damaged}}}))
		a := d.one(to(1, events.GetRun{}))
		equal(t, "code", a.Code, events.OK)
		d.must(d.core.flush(t.Context()))
		mended, err := d.store.RunStore().Run(t.Context(), 0, runID(1))
		d.must(err)
		if !bytes.HasSuffix(mended, row[len(row)-20:]) {
			t.Errorf("damage %x is not mended", damaged)
		}
		clear(d.core.runs)
	}
	equal(t, "listed", len(d.quarantined()), 0)
}

// TestQuarantineSurvivesCrashes crashes after each step, so that rows are lost and the log alone tells of it.
func TestQuarantineSurvivesCrashes(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.do(sleep(1))
	d.crash(0)
	d.breakRun(1)
	d.crash(0)
	equal(t, "a signal", codes(d.do(signal(1, "go"))), "quarantined")
	equal(t, "listed", len(d.quarantined()), 1)
	d.crash(0)
	equal(t, "release", codes(d.do(to(1, events.ReleaseRun{}))), "ok")
	d.crash(0)
	equal(t, "listed", len(d.quarantined()), 0)
	equal(t, "a signal", codes(d.do(signal(1, "go"))), "ok")
	d.crash(0)
	equal(t, "asking", codes(d.do(to(1, events.GetRun{}))), "ok")
	equal(t, "history", d.history(1),
		"RunStarted ActivationScheduled ProgressMade RunQuarantined RunReleased SignalReceived ActivationScheduled")
}

func TestRunBreaksAgainAfterItsRelease(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.breakRun(1)
	d.do(to(1, events.ReleaseRun{}))
	d.breakRun(1)
	d.crash(0)
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled RunQuarantined RunReleased RunQuarantined")
	equal(t, "release", codes(d.do(to(1, events.ReleaseRun{}))), "ok")
	equal(t, "progress", codes(d.do(sleep(1))), "ok")
}

func TestDamagedRowAndUnfitHistory(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.unfit(1)
	d.recover()
	d.do()
	d.damageRow(1)
	equal(t, "a signal", codes(d.do(signal(1, "go"))), "quarantined")
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled TaskCompleted RunQuarantined RunQuarantined")
	equal(t, "release", codes(d.do(to(1, events.ReleaseRun{}))), "quarantined")
}

func TestDamagedRowWithoutHistory(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1), start(2))
	d.must(d.store.Archive().Forget(t.Context(), 0, runID(1)))
	d.damageRow(1)
	equal(t, "a signal", codes(d.do(signal(1, "go"))), "not_found")
	equal(t, "the other run", codes(d.do(signal(2, "go"))), "ok")
}

// damageRow makes the stored row of a run unreadable.
func (d *driver) damageRow(n int) {
	d.t.Helper()
	ctx := context.Background()
	d.must(d.core.flush(ctx))
	d.must(d.store.RunStore().Write(ctx, 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(n), Row: []byte("?")}}}))
	clear(d.core.runs)
}
