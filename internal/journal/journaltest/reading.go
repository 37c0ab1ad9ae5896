package journaltest

import (
	"context"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testRecordsComeBackWhole(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 1)
	epoch := w.record()
	epoch.Events = []events.Event{events.EpochStarted{Partitions: uint16(j.Partitions()), Cluster: "c"}}
	epoch.RunID, epoch.WorkflowID, epoch.Namespace, epoch.First = events.RunID{}, "", "", 0
	three := w.record("a", "b", "c")
	answers := w.record()
	answers.Answers = []events.Answer{
		{RequestID: "r-1", Session: 9, N: 3, Code: events.AlreadyOpen, Message: "open", RunID: w.run, Status: events.StatusRunning, Duplicate: true},
		{N: 4, Code: events.OK, Ended: 5, Started: true},
	}
	want := []*events.Record{epoch, three, answers, w.record("d"), w.record(strings.Repeat("x", 200))}
	check(t, w.Commit(bg(t), journal.Step{Records: want[:2]}))
	check(t, w.Commit(bg(t), journal.Step{Records: want[2:]}))
	sameRecords(t, read(t, follow(t, j, journal.Position{Partition: 1}), len(want)), want)
	sameRecords(t, read(t, follow(t, j, journal.Position{Partition: 1, Next: 4}), 2), want[3:])
}

func testFollowPastToPresent(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	w.write(t, 50)
	reader := follow(t, j, journal.Position{Next: 11})
	late := follow(t, j, journal.Position{Next: 301}) // in the future
	ctx := bg(t)
	failed := make(chan error, 1)
	go func() {
		for range 50 {
			if err := w.Commit(ctx, journal.Step{Records: w.records(5)}); err != nil {
				failed <- err
				return
			}
		}
		failed <- w.Commit(ctx, journal.Step{Records: w.records(1)})
	}()
	for want := events.Seq(11); want <= 301; {
		records, err := reader.Next(ctx, 13)
		check(t, err)
		if len(records) > 13 {
			t.Fatalf("Next(13) returned %d records", len(records))
		}
		for _, r := range records {
			if r.Seq != want {
				t.Fatalf("record %d came where %d was due", r.Seq, want)
			}
			want++
		}
	}
	check(t, <-failed)
	if r := read(t, late, 1); r[0].Seq != 301 {
		t.Fatalf("a reader from 301 on got %d", r[0].Seq)
	}
}

func testSlowReader(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	reader := follow(t, j, journal.Position{})
	filler := strings.Repeat("f", 255)
	const steps, each = 40, 100
	for range steps {
		rs := make([]*events.Record, each)
		for i := range rs {
			rs[i] = w.record(filler, filler, filler, filler)
		}
		check(t, w.Commit(bg(t), journal.Step{Records: rs}))
	}
	want := events.Seq(1)
	for want <= steps*each {
		records, err := reader.Next(bg(t), 500)
		check(t, err)
		for _, r := range records {
			if r.Seq != want || len(r.Events) != 4 {
				t.Fatalf("record %d with %d events came where %d was due", r.Seq, len(r.Events), want)
			}
			want++
		}
	}
}

func testReaderWaits(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	reader := follow(t, j, journal.Position{})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := reader.Next(ctx, 1)
	wantErr(t, "Next after the context's end", err, context.Canceled)

	ready := func() {
		t.Helper()
		select {
		case <-reader.Ready():
		case <-bg(t).Done():
			t.Fatal("Ready has no value although TryNext has records")
		}
	}
	w.write(t, 5)
	got := 0
	for got < 5 { // ready again while something is left
		ready()
		records, err := reader.TryNext(2)
		check(t, err)
		if len(records) > 2 {
			t.Fatalf("TryNext(2) returned %d records", len(records))
		}
		got += len(records)
	}
	w.write(t, 1)
	ready()
	read(t, reader, 1)

	waiting := make(chan error, 1)
	go func() {
		_, err := reader.Next(bg(t), 1)
		waiting <- err
	}()
	reader.Close()
	wantErr(t, "Next of a closed reader", <-waiting, journal.ErrClosed)
	reader.Close()
	_, err = reader.TryNext(1)
	wantErr(t, "TryNext of a closed reader", err, journal.ErrClosed)
	w.write(t, 1)
}

func testReaderOfMany(t *testing.T, f Fixture) {
	j := f.Journal
	a, b := acquire(t, j, 0), acquire(t, j, 1)
	a.write(t, 200)
	b.write(t, 3)
	reader := follow(t, j, journal.Position{Partition: 0, Next: 2}, journal.Position{Partition: 1})
	next := map[events.Partition]events.Seq{0: 2, 1: 1}
	total, turns := 0, 0
	for total < 202 {
		records, err := reader.Next(bg(t), 10)
		check(t, err)
		turns++
		for _, r := range records {
			if r.Seq != next[r.Partition] {
				t.Fatalf("record %d/%d came where %d was due", r.Partition, r.Seq, next[r.Partition])
			}
			next[r.Partition]++
			total++
		}
		if turns == 4 && next[1] == 1 {
			t.Fatal("a long partition starves a short one")
		}
	}
	b.write(t, 1)
	if r := read(t, reader, 1); r[0].Partition != 1 || r[0].Seq != 4 {
		t.Fatalf("got %d/%d, want 1/4", r[0].Partition, r[0].Seq)
	}
}

func bounds(t *testing.T, j journal.Journal, p events.Partition, first, last events.Seq) {
	t.Helper()
	if f, l := j.Bounds(p); f != first || l != last {
		t.Fatalf("bounds of partition %d are %d…%d, want %d…%d", p, f, l, first, last)
	}
}

func testTrimAndBounds(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	w.write(t, 10)
	bounds(t, j, 0, 1, 10)
	check(t, j.Trim(0, 4))
	bounds(t, j, 0, 4, 10)
	check(t, j.Trim(0, 2)) // never backwards
	bounds(t, j, 0, 4, 10)
	for _, next := range []events.Seq{0, 1, 3} {
		_, err := j.Follow(bg(t), []journal.Position{{Next: next}})
		wantErr(t, "Follow below First", err, journal.ErrTrimmed)
	}
	rs := read(t, follow(t, j, journal.Position{Next: 4}), 7)
	if rs[0].Seq != 4 || rs[6].Seq != 10 {
		t.Fatalf("got %d…%d, want 4…10", rs[0].Seq, rs[6].Seq)
	}
	check(t, j.Trim(0, 1000)) // not beyond what is written
	bounds(t, j, 0, 11, 10)
	w.write(t, 2)
	bounds(t, j, 0, 11, 12)
	bounds(t, j, 1, 1, 0)
	if next := acquire(t, j, 0); next.Last() != 12 {
		t.Fatalf("last is %d, want 12", next.Last())
	}
}

func testHoldsKeep(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	acquire(t, j, 1).write(t, 10)
	w.write(t, 10)
	check(t, j.Hold("slow", []journal.Position{{Next: 3}}))
	check(t, j.Hold("fast", []journal.Position{{Next: 8}, {Partition: 1, Next: 5}}))
	check(t, j.Trim(0, 11))
	check(t, j.Trim(1, 11))
	bounds(t, j, 0, 3, 10)
	bounds(t, j, 1, 5, 10)
	read(t, follow(t, j, journal.Position{Next: 3}), 8)

	wantErr(t, "a hold below First", j.Hold("late", []journal.Position{{Next: 2}}), journal.ErrTrimmed)
	if h, err := j.Holds("late"); err != nil || h != nil {
		t.Fatalf("a refused hold is kept: %v, %v", h, err)
	}
	check(t, j.Hold("slow", []journal.Position{{Partition: 1, Next: 7}})) // partition 0 stays held
	got, err := j.Holds("slow")
	check(t, err)
	if len(got) != 2 || got[0] != (journal.Position{Next: 3}) || got[1] != (journal.Position{Partition: 1, Next: 7}) {
		t.Fatalf("holds are %v", got)
	}
	check(t, j.Hold("slow", []journal.Position{{Next: 20}})) // moved, and ahead of the log
	check(t, j.Trim(0, 11))
	bounds(t, j, 0, 8, 10)
	check(t, j.Hold("fast", nil))
	if h, err := j.Holds("fast"); err != nil || h != nil {
		t.Fatalf("an ended hold is kept: %v, %v", h, err)
	}
	check(t, j.Trim(0, 11))
	bounds(t, j, 0, 11, 10)
}

func testReaderFallsBehind(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	w.write(t, 10)
	reader := follow(t, j, journal.Position{})
	read(t, reader, 2)
	check(t, j.Trim(0, 3))
	read(t, reader, 1)
	check(t, j.Trim(0, 8))
	_, err := reader.TryNext(1)
	wantErr(t, "a reader behind First", err, journal.ErrTrimmed)
	_, err = reader.Next(bg(t), 1)
	wantErr(t, "a reader behind First", err, journal.ErrTrimmed)
}
