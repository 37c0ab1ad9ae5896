package projection_test

import (
	"reflect"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// Whatever a record has, it makes a row, and reading it a second time changes nothing.
func FuzzFold(f *testing.F) {
	record := func(evs ...events.Event) {
		f.Add(events.AppendRecord(nil, &events.Record{
			Header: events.Header{Schema: events.Schema, Namespace: "default", WorkflowID: "w", RunID: events.RunID{1}, First: 1, Time: 5}, Events: evs,
		}))
	}
	record(
		events.RunStarted{Type: "w"}, events.SignalReceived{Name: "s", Index: 1}, events.ActivationScheduled{Activation: 1, Attempt: 1, Upto: 2},
		events.ProgressMade{Reads: []events.SignalRead{{Name: "s", Count: 9}}, Wait: events.WaitSet{Any: []events.WaitGroup{{Signals: []events.SignalWait{{Name: "s", Index: 2}}}}}},
		events.TaskScheduled{Step: 1}, events.TimerStarted{Step: 2, Due: 7}, events.ViewSet{Name: "v"}, events.StepBackedOff{Step: 3, Until: 9},
	)
	record(events.RunStarted{}, events.TaskAttemptFailed{Step: 4, Attempt: 3}, events.RunFailed{Failure: events.Failure{Code: "x"}}, events.RunPurged{})
	f.Fuzz(func(t *testing.T, b []byte) {
		record, err := events.DecodeRecord(b)
		if err != nil {
			return
		}
		var once row.Run
		projection.Fold(&once, record)
		again := once
		if projection.Fold(&again, record); !reflect.DeepEqual(once, again) {
			t.Fatalf("reading a record twice:\n%+v\n%+v", once, again)
		}
		if len(once.Tasks) > projection.MaxListed || len(once.Timers) > projection.MaxListed || len(once.Signals) > projection.MaxListed ||
			len(once.Inbox) > projection.MaxListed {
			t.Fatal("a list is above its bound")
		}
		var batch projection.Batch
		batch.Add(record)
		batch.Wanted()
		batch.Gaps(nil)
	})
}
