package gateway

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

// counted is an archive with one run that counts how it is read.
type counted struct {
	archive.Archive
	records          []*events.Record
	histories, finds int
}

func (c *counted) History(
	_ context.Context, _ events.Partition, _ events.RunID, from, to events.EventNumber, _ int,
) (found []*events.Record, next events.EventNumber, err error) {
	c.histories++
	for _, r := range c.records {
		if r.Last() >= from && r.First <= to {
			found = append(found, r)
		}
	}
	return found, 0, nil
}

func (c *counted) Record(_ context.Context, _ events.Partition, run events.RunID, at events.Seq) (*events.Record, error) {
	c.finds++
	for _, r := range c.records {
		if r.Seq == at && r.RunID == run {
			return r, nil
		}
	}
	return nil, nil
}

// A run that has waited longer than recent keeps its records costs one read for all its activations, not one each.
func TestAWaitingRunIsReadOnce(t *testing.T) {
	t.Parallel()
	run := events.RunID{1}
	began := record(run, 1, events.RunStarted{}, events.ActivationScheduled{})
	done := record(run, 3, events.ProgressMade{}, events.TaskCompleted{}, events.ActivationScheduled{})
	began.Seq, done.Seq = 7, 9
	first := func(from events.Seq) given {
		return given{open: &events.OpenActivation{RunID: run, Activation: events.ActivationScheduled{Activation: 1, Upto: 1}}, from: from}
	}
	second := given{open: &events.OpenActivation{RunID: run, Activation: events.ActivationScheduled{Activation: 2, Base: 2, BaseUpto: 1, Upto: 4}}, from: 9}
	for _, c := range []struct {
		name             string
		given            given
		tail             bool // the tail has shown what came after the beginning
		finds, histories int
	}{
		{"the record that opened it has all", first(7), true, 1, 0},
		{"another record is there", first(9), true, 1, 1},
		{"nothing is there", first(8), true, 1, 1},
		{"the tail has lost what came after it", first(7), false, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := &counted{records: []*events.Record{began, done}}
			g := &Gateway{deps: Deps{Archive: kept}}
			g.recent.reset()
			read := func(given given, from events.EventNumber, want int) {
				records, next, err := g.replayed(t.Context(), given, from, given.open.Activation.Upto, inlineReplayBytes)
				if err != nil || next != 0 || len(records) != want || records[0].First != began.First {
					t.Fatalf("%d records, next %d, %v; want %d records from the beginning on", len(records), next, err, want)
				}
			}
			read(c.given, 1, 1)
			if c.tail {
				g.recent.note(done)
			}
			read(second, 2, 2)
			if kept.finds != c.finds || kept.histories != c.histories {
				t.Fatalf("%d records were found by their place and %d histories read, want %d and %d", kept.finds, kept.histories, c.finds, c.histories)
			}
		})
	}
}
