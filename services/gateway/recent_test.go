package gateway

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

func record(run events.RunID, first events.EventNumber, list ...events.Event) *events.Record {
	r := &events.Record{Events: list}
	r.RunID, r.First = run, first
	return r
}

func sameEvents(a, b *events.Record) bool {
	return a.RunID == b.RunID && a.First == b.First && len(a.Events) == len(b.Events)
}

// Whatever the tail brings, recent gives either nothing or exactly the records with the events asked for.
func TestRecentGivesAllOrNothing(t *testing.T) {
	t.Parallel()
	large := make([]byte, recentBytes)
	rapid.Check(t, func(t *rapid.T) {
		var c recent
		c.reset()
		all := map[events.RunID][]*events.Record{}
		ended := map[events.RunID]bool{}
		runs := []events.RunID{{1}, {2}, {3}}
		t.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				run := rapid.SampledFrom(runs).Draw(t, "run")
				if ended[run] {
					return
				}
				r := record(run, 1)
				if before := all[run]; len(before) > 0 {
					r.First = before[len(before)-1].Last() + 1
				}
				for range rapid.IntRange(0, 3).Draw(t, "events") {
					data := large[:rapid.SampledFrom([]int{0, 100, recentBytes / 4, recentBytes}).Draw(t, "bytes")]
					r.Events = append(r.Events, events.StepRecorded{Result: events.Payload{Data: data}})
				}
				if rapid.IntRange(0, 9).Draw(t, "end") == 0 {
					r.Events = append(r.Events, events.RunCompleted{})
					ended[run] = true
				}
				c.note(r)
				if len(r.Events) > 0 {
					all[run] = append(all[run], r)
				}
				if c.bytes > recentBytes || c.bytes < 0 {
					t.Fatalf("%d bytes are kept, the bound is %d", c.bytes, recentBytes)
				}
			},
			"find": func(t *rapid.T) {
				if known := all[rapid.SampledFrom(runs).Draw(t, "run")]; len(known) > 0 {
					c.found(rapid.SampledFrom(known).Draw(t, "record"))
				}
			},
			"ask": func(t *rapid.T) {
				run := rapid.SampledFrom(runs).Draw(t, "run")
				first := events.EventNumber(rapid.IntRange(1, 12).Draw(t, "first"))
				last := first + events.EventNumber(rapid.IntRange(0, 4).Draw(t, "more"))
				got, ok := c.history(run, first, last)
				if !ok {
					return
				}
				var want []*events.Record
				for _, r := range all[run] {
					if r.Last() >= first && r.First <= last {
						want = append(want, r)
					}
				}
				if !slices.EqualFunc(got, want, sameEvents) || want[0].First > first || want[len(want)-1].Last() < last {
					t.Fatalf("events %d to %d: %d records, want %d", first, last, len(got), len(want))
				}
			},
			"begin anew": func(*rapid.T) { c.reset(); clear(all); clear(ended) },
		})
	})
}

// What an activation was given from the store is there for the next one, which begins within it.
func TestRecentGoesOnFromWhatWasFound(t *testing.T) {
	t.Parallel()
	var c recent
	c.reset()
	run := events.RunID{1}
	opener := record(run, 1, events.RunStarted{}, events.ActivationScheduled{})
	c.found(opener)
	c.note(record(run, 3, events.ProgressMade{}, events.TaskCompleted{}))
	if found, ok := c.history(run, 2, 4); !ok || len(found) != 2 || found[0].First != 1 {
		t.Fatalf("the activation after one that was read is not given from memory: %v", found)
	}
	c.note(record(run, 9, events.TaskCompleted{}))
	if _, ok := c.history(run, 2, 9); ok {
		t.Fatal("a history with a gap was given")
	}
	if _, ok := c.history(run, 9, 9); !ok {
		t.Fatal("the newest record is gone because there is a gap before it")
	}
	c.found(opener)
	if _, ok := c.history(run, 9, 9); !ok {
		t.Fatal("an old record took the place of the newest")
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var c recent
	c.reset()
	a, b := events.RunID{1}, events.RunID{2}
	big := events.StepRecorded{Result: events.Payload{Data: make([]byte, recentBytes/3)}}
	for n := range events.EventNumber(2) {
		c.note(record(a, n+1, big))
	}
	c.note(record(b, 1, big))
	if _, ok := c.history(a, 1, 1); ok {
		t.Fatal("the oldest record is still there")
	}
	if found, ok := c.history(a, 2, 2); !ok || len(found) != 1 {
		t.Fatal("a record within the bound is gone")
	}
	if _, ok := c.history(b, 1, 2); ok {
		t.Fatal("a history was given that ends too early")
	}
}
