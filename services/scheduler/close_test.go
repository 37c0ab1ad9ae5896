package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
)

// TestCloseOfATaskNotInMemory: a scheduler that begins anew folds a later attempt of a task before it has read the task's
// row. When the task is over its schedule-to-close timer leaves the index all the same.
func TestCloseOfATaskNotInMemory(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 1})
	s := New(Deps{Log: store.Journal(), Commands: store.Journal(), Index: store.DueIndex(), Partitions: []events.Partition{0}}, Options{})
	if _, err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := events.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	run := events.MakeRunID(1, [10]byte{})
	record := func(seq events.Seq, first events.EventNumber, e events.Event) *events.Record {
		return &events.Record{
			Header: events.Header{Seq: seq, Time: now, Namespace: "default", WorkflowID: "w", RunID: run, First: first}, Events: []events.Event{e},
		}
	}
	_, err := s.Turn(Input{Now: now, Records: []*events.Record{
		record(1, 7, events.TaskAttemptFailed{Step: 3, Attempt: 1, Name: "t", Queue: "q", Scheduled: 5}),
		record(2, 8, events.TaskCompleted{Step: 3, Attempt: 2}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	timer := dueindex.Key{Kind: dueindex.KindTimer, RunID: run, Timer: events.TimerID{Kind: events.TimerScheduleToClose, Step: 3}}
	for _, save := range s.Flush(now) {
		if slices.Contains(save.Deletes, timer) {
			return
		}
	}
	t.Error("the timer of a task that is over stays in the index: it would be asked for each minute as long as the run is open")
}
