package projector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// audit returns what an audit finds, one difference a line.
func (l *lab) audit() (found []string) {
	l.t.Helper()
	d := l.deps(clocktest.Bubble())
	done, err := Audit(l.t.Context(), AuditDeps{Log: d.Log, Archive: d.Archive, Model: l.model, Partitions: d.Partitions}, func(x Difference) {
		found = append(found, fmt.Sprintf("%s %s: has %s, should have %s", x.WorkflowID, x.Field, x.Has, x.Should))
	})
	if err != nil || done.Differences != len(found) {
		l.t.Fatalf("%+v, %v", done, err)
	}
	slices.Sort(found)
	return found
}

func TestAnAuditFindsWhatIsNotAsTheLogSays(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for n := range 600 {
			l.record(n, started(), events.ViewSet{Name: "v", Value: events.Payload{Encoding: "json", Data: []byte("1")}})
		}
		l.record(1, events.RunFailed{Failure: events.Failure{Code: "c", Message: "m", Cause: &events.Failure{Message: "why"}}})
		l.record(2, events.RunPurged{})
		pass(time.Second)
		l.stop()
		l.want("a model that is whole", strings.Join(l.audit(), "\n"), "")

		// What comes later is no difference, a deletion neither.
		l.record(3, events.RunCompleted{})
		l.record(4, events.RunPurged{})
		l.record(700, started())
		l.want("a model that is behind", strings.Join(l.audit(), "\n"), "")

		change := func(n int, version int, to func(*row.Run)) row.Run {
			rows, err := l.model.Rows(l.t.Context(), []events.RunID{runOf(n)})
			if err != nil || len(rows) != 1 {
				t.Fatal(err)
			}
			rows[0].Version += events.EventNumber(version)
			to(&rows[0])
			return rows[0]
		}
		b := readmodel.Batch{Deletes: []events.RunID{runOf(5)}, Rows: []row.Run{
			change(1, 1, func(r *row.Run) { r.Failure = &events.Failure{Code: "c", Message: "another"} }),
			change(6, 1, func(r *row.Run) { r.Views[0].Value.Data = []byte("2") }),
			{Namespace: "default", WorkflowID: "nobody", RunID: runOf(900), Version: 1, Type: "T", Status: events.StatusRunning, Started: 1},
		}}
		if err := l.model.Apply(l.t.Context(), b); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(l.audit(), "\n")
		for _, want := range []string{
			"wf-1 Failure: has {", `"another"`, "wf-1 Version: has 4, should have 3", "wf-5 row: has none, should have version 2 at least",
			`wf-6 Views: has [{"Name":"v"`, "nobody row: has version 1, should have no such run",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
		if n := strings.Count(got, "\n") + 1; n != 6 {
			t.Errorf("%d differences:\n%s", n, got)
		}
		l.start(clocktest.Bubble())
	})
}

// Where the log is trimmed runs are known from the archive.
func TestAnAuditReadsTheArchiveWhereTheLogIsTrimmed(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for n := range 20 {
			l.record(n, started())
		}
		pass(time.Second)
		if err := l.store.Journal().Trim(0, 15); err != nil {
			t.Fatal(err)
		}
		l.record(21, started())
		pass(time.Second)
		if first, _ := l.store.Journal().Bounds(0); first < 10 {
			t.Fatalf("the log begins at %d", first)
		}
		l.want("a whole model", strings.Join(l.audit(), "\n"), "")
		l.stop()
		if err := l.model.Apply(l.t.Context(), readmodel.Batch{Deletes: []events.RunID{runOf(3)}, Positions: []readmodel.Position{{Next: 22}}}); err != nil {
			t.Fatal(err)
		}
		l.want("a run lost", strings.Join(l.audit(), "\n"), "wf-3 row: has none, should have version 1 at least")
		l.start(clocktest.Bubble())
	})
}

// trimmed is a log that loses its beginning when it is about to be read.
type trimmed struct {
	journal.Follower

	trim func()
}

func (l *trimmed) Follow(ctx context.Context, from []journal.Position) (journal.Reader, error) {
	l.trim()
	return l.Follower.Follow(ctx, from)
}

// What the log loses while the audit reads it is found in the archive, and told once.
func TestAnAuditGoesOnWhereTheLogIsTrimmedMeanwhile(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for n := range 20 {
			l.record(n, started())
		}
		pass(time.Second)
		l.stop()
		if err := l.model.Apply(l.t.Context(), readmodel.Batch{Deletes: []events.RunID{runOf(3)}}); err != nil {
			t.Fatal(err)
		}
		d := l.deps(clocktest.Bubble())
		trims, found := 0, 0
		log := &trimmed{d.Log, func() {
			if trims++; trims > 2 {
				return
			}
			if err := l.store.Journal().Trim(0, events.Seq(4+trims)); err != nil {
				t.Error(err)
			}
		}}
		done, err := Audit(t.Context(), AuditDeps{Log: log, Archive: d.Archive, Model: l.model, Partitions: d.Partitions[:1]}, func(Difference) { found++ })
		if err != nil || found != 1 || done.Differences != 1 || trims < 2 {
			t.Errorf("%d found in %d readings: %+v, %v", found, trims, done, err)
		}
		l.start(clocktest.Bubble())
	})
}
