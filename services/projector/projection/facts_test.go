package projection

import (
	"cmp"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// What is collected does not depend on how the log is cut into batches, nothing is collected twice when records are read
// again, and every event of the log is there but purges.
func TestFactsOfBatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := history(t)
		whole, split := Batch{Facts: Facts{Events: true}}, Batch{Facts: Facts{Events: true}}
		for _, r := range log {
			whole.Add(r)
		}
		model{}.apply(t, &whole)
		wantOutcomes, wantEvents := whole.Facts.Take()
		stored := model{}
		var outcomes []row.Outcome
		var history []row.Event
		for i, r := range log {
			split.Add(r)
			if rapid.IntRange(0, 2).Draw(t, "cut") == 0 || i == len(log)-1 {
				stored.apply(t, &split)
				o, e := split.Facts.Take()
				outcomes, history = append(outcomes, o...), append(history, e...)
			}
		}
		sortFacts(wantOutcomes, wantEvents)
		sortFacts(outcomes, history)
		if !reflect.DeepEqual(outcomes, wantOutcomes) || !reflect.DeepEqual(history, wantEvents) {
			t.Fatalf("in batches:\n%+v\n%+v\nwant\n%+v\n%+v", outcomes, history, wantOutcomes, wantEvents)
		}
		var of row.Run
		var facts Facts
		all := 0
		for _, r := range log {
			if !Purges(r) {
				all += len(r.Events)
			}
			if r.RunID == log[0].RunID {
				facts.Fold(&of, r)
			}
		}
		if len(history) != all {
			t.Fatalf("%d events, want %d", len(history), all)
		}
		facts.Take()
		for _, r := range log {
			if r.RunID == log[0].RunID {
				facts.Fold(&of, r)
			}
		}
		if again, _ := facts.Take(); len(again) > 0 {
			t.Fatalf("read again: %+v", again)
		}
	})
}

func sortFacts(outcomes []row.Outcome, history []row.Event) {
	slices.SortFunc(outcomes, func(a, b row.Outcome) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Number, b.Number)) })
	slices.SortFunc(history, func(a, b row.Event) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Number, b.Number)) })
}

func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	declined := events.Failure{Code: "declined"}
	record := func(first events.EventNumber, at events.Time, evs ...events.Event) *events.Record {
		return &events.Record{Events: evs, Header: events.Header{Seq: events.Seq(first), RunID: events.RunID{1}, WorkflowID: "w", First: first, Time: at}}
	}
	log := []*events.Record{
		record(1, 100, events.RunStarted{Type: "T"}, events.TaskScheduled{Step: 1, Name: "charge"}, events.TaskScheduled{Step: 2, Name: "mail"}),
		record(4, 300, events.TaskCompleted{Step: 2}),
		record(5, 400, events.TaskAttemptFailed{Step: 1, Attempt: 1, Name: "charge", NotBefore: 900, Failure: declined}),
		record(6, 1000, events.TaskCompleted{Step: 1, Attempt: 2}, events.StepRecorded{Step: 3, Label: "rate"}, events.StepRecorded{Step: 4, Label: "rate", Failure: &declined}),
		record(9, 1100, events.RunFailed{Failure: declined}),
	}
	type fact struct {
		kind row.OutcomeKind
		name events.TaskName
		took int64
		seq  events.Seq
	}
	for source, want := range map[Source][]fact{
		Log:     {{row.TaskDone, "mail", 200, 4}, {row.TaskRetried, "charge", 0, 5}, {row.TaskDone, "charge", 100, 6}, {row.StepFailed, "rate", 0, 6}, {row.RunFailed, "", 0, 9}},
		Archive: {{row.TaskDone, "mail", 200, 0}, {row.TaskRetried, "charge", 0, 0}, {row.TaskDone, "charge", 100, 0}, {row.StepFailed, "rate", 0, 0}, {row.RunFailed, "", 0, 0}},
		Gaps:    nil,
	} {
		facts := Facts{Source: source}
		var run row.Run
		for _, r := range log {
			facts.Fold(&run, r)
		}
		outcomes, history := facts.Take()
		var got []fact
		for _, o := range outcomes {
			if o.Type != "T" || (o.Failure == nil) != (o.Kind == row.TaskDone) {
				t.Errorf("%+v", o)
			}
			got = append(got, fact{o.Kind, o.Name, o.Took, o.Seq})
		}
		if !slices.Equal(got, want) || history != nil {
			t.Errorf("source %d: %+v, want %+v; %d events", source, got, want, len(history))
		}
	}
}
