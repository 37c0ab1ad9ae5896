package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

func TestBatchIsOneRecordPerRun(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	records, err := d.turn(start(1), signal(1, "go"), start(2), signal(1, "go"), signal(2, "go"))
	d.must(err)
	equal(t, "records", len(records), 2)
	equal(t, "events of run 1", kinds(records[0]), "RunStarted SignalReceived SignalReceived ActivationScheduled")
	equal(t, "events of run 2", kinds(records[1]), "RunStarted SignalReceived ActivationScheduled")
	equal(t, "answers of run 1", codes(records[0].Answers), "ok ok ok")
	for i, r := range records {
		if r.Seq != events.Seq(i+2) || r.Confirmed != r.Seq-1 || r.First != 1 || r.Epoch != 1 || r.Schema != events.Schema || r.Time != d.now {
			t.Errorf("header %+v", r.Header)
		}
	}
}

func TestCommandsFindTheirRun(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	newest := signal(1, "go")
	newest.RunID = events.RunID{}
	equal(t, "before the start", d.one(newest).Code, events.NotFound)
	d.do(start(1))
	a := d.one(newest)
	equal(t, "to the newest run", a.Code, events.OK)
	equal(t, "run", a.RunID, runID(1))
	foreign := signal(1, "go")
	foreign.WorkflowID = "other"
	equal(t, "a run of another workflow", d.one(foreign).Code, events.NotFound)
	taken := start(1)
	taken.WorkflowID = "other"
	equal(t, "a run id that is taken", d.one(taken).Code, events.IDTaken)
	equal(t, "status", d.one(to(1, events.GetRun{})).Status, events.StatusRunning)
}

func TestTerminateOpenIsTwoRecordsOldFirst(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1), sleep(1))
	again := events.Envelope{
		Namespace: "default", WorkflowID: "w1", RunID: runID(2), Command: events.StartWorkflow{Type: "w", IDPolicy: events.IDTerminateOpen},
	}
	records, err := d.turn(again)
	d.must(err)
	equal(t, "records", len(records), 2)
	equal(t, "old run", kinds(records[0]), "RunTerminated")
	equal(t, "new run", kinds(records[1]), "RunStarted ActivationScheduled")
	equal(t, "answers", codes(records[1].Answers), "ok")
	newest := signal(1, "go")
	newest.RunID = events.RunID{}
	for range 2 {
		equal(t, "newest run", d.one(newest).RunID, runID(2))
		equal(t, "the repeated start of the old run", codes(d.do(start(1))), "ok+")
		d.crash(0)
	}
}

func TestStartWhileOpen(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	other := start(1)
	other.RunID = runID(9)
	a := d.one(other)
	equal(t, "another start", a.Code, events.AlreadyOpen)
	equal(t, "the run in the way", a.RunID, runID(1))
	equal(t, "the same start", codes(d.do(start(1))), "ok+")
	d.do(to(1, events.TerminateWorkflow{}))
	equal(t, "after the end", codes(d.do(other)), "ok")
	equal(t, "the old start again", codes(d.do(start(1))), "ok+")
}

func TestLargeBatchIsSplit(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	var batch []events.Envelope
	for range 10 {
		batch = append(batch, to(1, events.SignalWorkflow{Name: "go", Input: events.Payload{Data: make([]byte, 100<<10)}}))
	}
	batch = append(batch, to(1, events.FailActivation{
		Activation: 1, Attempt: 1, Failure: events.Failure{Message: strings.Repeat("x", 200<<10)},
	}))
	records, err := d.turn(batch...)
	d.must(err)
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	next := events.EventNumber(3)
	for _, r := range records {
		if n := len(events.AppendRecord(nil, r)); n > events.MaxRecordBytes {
			t.Errorf("a record has %d bytes", n)
		}
		equal(t, "first event", r.First, next)
		next = r.Last() + 1
	}
	last := records[1].Events[len(records[1].Events)-1]
	if _, ok := last.(events.ActivationScheduled); !ok {
		t.Errorf("the last event is %T", last)
	}
	equal(t, "answers", len(records[0].Answers)+len(records[1].Answers), 11)
}

func TestTooLargeForARecord(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	huge := events.Payload{Data: make([]byte, events.MaxRecordBytes)}
	equal(t, "a signal", d.one(to(1, events.SignalWorkflow{Name: "go", Input: huge})).Code, events.PayloadTooLarge)
	a := d.one(to(1, events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1, Intents: []events.Intent{events.CompleteRun{Result: huge}}}))
	equal(t, "progress", a.Code, events.PayloadTooLarge)
	equal(t, "history", d.history(1), "RunStarted ActivationScheduled ActivationFailed ActivationScheduled")
}

func TestTimeNeverFalls(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	before := d.now
	d.advance(-5e9)
	records, err := d.turn(signal(1, "go"))
	d.must(err)
	equal(t, "time", records[0].Time, before)
	d.crash(0)
	records, err = d.turn(signal(1, "go"))
	d.must(err)
	equal(t, "time after a restart", records[0].Time, before)
}

func TestIdleRunsLeaveMemory(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for n := range 50 {
		d.do(start(n), sleep(n))
		d.do(sleep(n))
	}
	equal(t, "runs in memory before a flush", len(d.core.runs), 50)
	d.must(d.core.flush(t.Context()))
	equal(t, "runs in memory after a flush", len(d.core.runs), 0)
	equal(t, "an idle run goes on", codes(d.do(signal(7, "go"))), "ok")
	equal(t, "history", d.history(7), "RunStarted ActivationScheduled ProgressMade SignalReceived ActivationScheduled")
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.core.options.CachedRuns = 10
	for n := range 50 {
		d.do(start(n)) // an activation in flight is open work
	}
	equal(t, "before a flush", len(d.core.runs), 50)
	d.must(d.core.flush(t.Context()))
	equal(t, "after", len(d.core.runs), 10)
	for n := range 50 {
		equal(t, "progress", codes(d.do(sleep(n))), "ok")
	}
}

func TestNewerSchemaStopsThePartition(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.write(&events.Record{Header: events.Header{Schema: events.Schema + 1}})
	var stop *stopError
	var newer *events.NewerSchemaError
	if err := d.tryRecover(); !errors.As(err, &stop) || !errors.As(err, &newer) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("recovered with %v", err)
	}
}

func TestOtherNumberOfPartitionsStopsThePartition(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.write(&events.Record{
		Header: events.Header{Schema: events.Schema, First: 1}, Events: []events.Event{events.EpochStarted{Partitions: 3, Cluster: "x"}},
	})
	var stop *stopError
	if err := d.tryRecover(); !errors.As(err, &stop) || !strings.Contains(err.Error(), "made with 3 partitions") {
		t.Errorf("recovered with %v", err)
	}
}
