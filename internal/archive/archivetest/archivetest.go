// Package archivetest checks that an adapter keeps every promise of the archive port.
package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Fixture is a fresh archive beside a fresh log of at least two partitions.
type Fixture struct {
	Archive archive.Archive
	// Log commits records to the log; their sequence numbers, epochs and owners are set by it.
	Log func(t *testing.T, p events.Partition, records []*events.Record)
	// Trim allows the log to forget everything it has in a partition.
	Trim func(t *testing.T, p events.Partition)
	// Read reads the whole log of a partition that was not trimmed.
	Read func(t *testing.T, p events.Partition) []*events.Record
	// Sync makes what was archived and forgotten in a partition durable, as the owner's next checkpoint does; nil where each
	// commit of the log does it.
	Sync func(t *testing.T, p events.Partition)
	// Crash ends the store as kill -9 does and opens what it left; nil when nothing is left.
	Crash func(t *testing.T) Fixture
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"Unknown", testUnknown},
		{"HistoryBeforeTrim", func(t *testing.T, f Fixture) { testHistory(t, f, false) }},
		{"HistoryAfterTrim", func(t *testing.T, f Fixture) { testHistory(t, f, true) }},
		{"RunsAreApart", testRunsAreApart},
		{"Pages", testPages},
		{"ForgetAfterTrim", func(t *testing.T, f Fixture) { testForget(t, f, true) }},
		{"ForgetBeforeTrimLeavesTheLogWhole", func(t *testing.T, f Fixture) { testForget(t, f, false) }},
		{"RunGoesOnAfterTrim", testRunGoesOn},
		{"RecordsAreFoundByTheirPlace", testFind},
		{"RunsAreListed", testRuns},
		{"CrashKeepsHistories", testCrash},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			if strings.HasPrefix(test.name, "Crash") && f.Crash == nil {
				t.Skip("not promised by this adapter: histories end with the process")
			}
			test.run(t, f)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run writes the records of one run.
type run struct {
	id        events.RunID
	partition events.Partition
	next      events.EventNumber
	records   []*events.Record
}

func newRun(p events.Partition, n int) *run {
	return &run{id: events.MakeRunID(1_700_000_000_000, [10]byte{8: byte(n >> 8), 9: byte(n)}), partition: p, next: 1}
}

// record makes the run's next record with count events.
func (r *run) record(count int) *events.Record {
	record := &events.Record{Header: events.Header{
		Partition: r.partition, Time: 5, Schema: events.Schema, Namespace: events.DefaultNamespace, WorkflowID: "w", RunID: r.id, First: r.next,
	}}
	for range count {
		record.Events = append(record.Events, events.SignalReceived{
			Name: events.SignalName(fmt.Sprintf("s-%d", r.next)), Input: events.Payload{Encoding: "x", Data: []byte(strings.Repeat("d", 100))},
		})
		r.next++
	}
	if count > 0 {
		r.records = append(r.records, record)
	} else {
		record.Answers = []events.Answer{{Code: events.Stale}}
	}
	return record
}

// history reads a whole history in pages and checks every page.
func history(t *testing.T, f Fixture, r *run, from, to events.EventNumber, limit int) []*events.Record {
	t.Helper()
	var all []*events.Record
	for {
		records, next, err := f.Archive.History(context.Background(), r.partition, r.id, from, to, limit)
		check(t, err)
		all = append(all, records...)
		if next == 0 {
			return all
		}
		if len(records) == 0 {
			t.Fatal("a page without records says that there are more")
		}
		if last := records[len(records)-1].Last(); next != last+1 {
			t.Fatalf("after event %d the next page begins at %d", last, next)
		}
		from = next
	}
}

func same(t *testing.T, got, want []*events.Record) {
	t.Helper()
	equal := func(a, b *events.Record) bool {
		return bytes.Equal(events.AppendRecord(nil, a), events.AppendRecord(nil, b))
	}
	if slices.EqualFunc(got, want, equal) {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("records differ (-want +got):\n%s", diff)
	}
	t.Fatal("records differ in their encoding")
}

func wantUnknown(t *testing.T, f Fixture, r *run) {
	t.Helper()
	records, _, err := f.Archive.History(context.Background(), r.partition, r.id, 1, 0, 1<<20)
	if !errors.Is(err, archive.ErrNotFound) {
		t.Fatalf("history of an unknown run: %d records, error %v", len(records), err)
	}
}

// archiveAll archives and trims what is in the log.
func archiveAll(t *testing.T, f Fixture, p events.Partition, records []*events.Record) {
	t.Helper()
	check(t, f.Archive.Append(context.Background(), p, records))
	check(t, f.Archive.Append(context.Background(), p, records)) // repeating is harmless
	f.Trim(t, p)
}

func testUnknown(t *testing.T, f Fixture) {
	r := newRun(0, 1)
	wantUnknown(t, f, r)
	check(t, f.Archive.Forget(context.Background(), 0, r.id))
	f.Log(t, 0, []*events.Record{r.record(0)}) // answers alone are no history
	wantUnknown(t, f, r)
}

func testHistory(t *testing.T, f Fixture, trim bool) {
	r := newRun(0, 1)
	all := []*events.Record{r.record(1), r.record(3), r.record(0), r.record(2), r.record(1), r.record(0)}
	f.Log(t, 0, all)
	if trim {
		archiveAll(t, f, 0, all)
	}
	// Events 1 | 2 3 4 | 5 6 | 7.
	for _, c := range []struct {
		from, to events.EventNumber
		want     []*events.Record
	}{
		{0, 0, r.records},
		{1, 0, r.records},
		{1, 7, r.records},
		{1, 100, r.records},
		{2, 0, r.records[1:]},
		{3, 0, r.records[1:]},
		{4, 4, r.records[1:2]},
		{5, 0, r.records[2:]},
		{1, 1, r.records[:1]},
		{1, 2, r.records[:2]},
		{7, 7, r.records[3:]},
		{8, 0, nil},
		{100, 200, nil},
	} {
		t.Run(fmt.Sprintf("%d-%d", c.from, c.to), func(t *testing.T) { same(t, history(t, f, r, c.from, c.to, 1<<20), c.want) })
	}
}

func testRunsAreApart(t *testing.T, f Fixture) {
	a, b, c := newRun(0, 1), newRun(0, 2), newRun(1, 1)
	var zero []*events.Record
	for range 20 {
		zero = append(zero, a.record(2), b.record(1))
	}
	f.Log(t, 0, zero)
	one := []*events.Record{c.record(4)}
	f.Log(t, 1, one)
	for range 2 {
		for _, r := range []*run{a, b, c} {
			same(t, history(t, f, r, 1, 0, 1<<20), r.records)
		}
		archiveAll(t, f, 0, zero)
		archiveAll(t, f, 1, one)
	}
}

func testPages(t *testing.T, f Fixture) {
	r := newRun(0, 1)
	var all []*events.Record
	for n := range 50 {
		all = append(all, r.record(1+n%3))
	}
	f.Log(t, 0, all)
	for range 2 {
		for _, limit := range []int{0, 1, 300, 2000, 1 << 20} {
			same(t, history(t, f, r, 1, 0, limit), r.records)
		}
		records, next, err := f.Archive.History(context.Background(), 0, r.id, 1, 0, 1000)
		check(t, err)
		if len(records) < 2 || len(records) > 12 || next == 0 {
			t.Fatalf("1,000 bytes hold %d records of 100 to 400 bytes; next is %d", len(records), next)
		}
		archiveAll(t, f, 0, all)
	}
}

func testForget(t *testing.T, f Fixture, trim bool) {
	a, b := newRun(0, 1), newRun(0, 2)
	all := []*events.Record{a.record(2), b.record(1), a.record(0), a.record(1), b.record(2)}
	f.Log(t, 0, all)
	if trim {
		archiveAll(t, f, 0, all)
	}
	for range 2 {
		check(t, f.Archive.Forget(context.Background(), 0, a.id))
		wantUnknown(t, f, a)
		same(t, history(t, f, b, 1, 0, 1<<20), b.records)
	}
	if !trim {
		same(t, f.Read(t, 0), all) // readers of the log never meet a gap
		check(t, f.Archive.Append(context.Background(), 0, b.records))
		f.Trim(t, 0)
		wantUnknown(t, f, a)
		same(t, history(t, f, b, 1, 0, 1<<20), b.records)
	}
}

func testFind(t *testing.T, f Fixture) {
	finder, ok := f.Archive.(archive.Finder)
	if !ok {
		t.Skip("not promised by this adapter: records are found by their number in a history")
	}
	a, b := newRun(1, 1), newRun(1, 2)
	all := []*events.Record{a.record(2), b.record(1), a.record(0), a.record(1), b.record(2)}
	f.Log(t, 1, all)
	find := func(run events.RunID, at events.Seq) []*events.Record {
		found, err := finder.Record(context.Background(), 1, run, at)
		check(t, err)
		if found == nil {
			return nil
		}
		return []*events.Record{found}
	}
	for range 2 {
		for _, r := range all {
			same(t, find(r.RunID, r.Seq), []*events.Record{r})
		}
		same(t, find(b.id, all[0].Seq), nil)
		same(t, find(a.id, all[len(all)-1].Seq+1), nil)
		same(t, find(a.id, 0), nil)
		archiveAll(t, f, 1, all) // and once more when the log is trimmed
		all = slices.DeleteFunc(all, func(r *events.Record) bool { return len(r.Events) == 0 })
	}
}

func testRuns(t *testing.T, f Fixture) {
	lister, ok := f.Archive.(archive.Lister)
	if !ok {
		t.Skip("not promised by this adapter: it cannot say which runs it has")
	}
	var all []*events.Record
	for n := range 7 {
		r := newRun(events.Partition(n/6), n+1) // the last is of another partition
		all = append(all, r.record(2), r.record(0), r.record(1))
	}
	f.Log(t, 0, all[:18])
	f.Log(t, 1, all[18:])
	archiveAll(t, f, 0, all[:18])
	check(t, f.Archive.Forget(context.Background(), 0, newRun(0, 3).id))
	want := []events.RunID{newRun(0, 1).id, newRun(0, 2).id, newRun(0, 4).id, newRun(0, 5).id, newRun(0, 6).id}
	for _, limit := range []int{1, 2, 5, 100} {
		var got []events.RunID
		for after := (events.RunID{}); ; after = got[len(got)-1] {
			runs, err := lister.Runs(context.Background(), 0, after, limit)
			check(t, err)
			if len(runs) > limit {
				t.Fatalf("%d runs are listed; the limit is %d", len(runs), limit)
			}
			if len(runs) == 0 {
				break
			}
			got = append(got, runs...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages of %d: got %v, want %v", limit, got, want)
		}
	}
}

func testRunGoesOn(t *testing.T, f Fixture) {
	r := newRun(0, 1)
	for range 5 {
		step := []*events.Record{r.record(2), r.record(0), r.record(1)}
		f.Log(t, 0, step)
		same(t, history(t, f, r, 1, 0, 1<<20), r.records)
		archiveAll(t, f, 0, step)
	}
	same(t, history(t, f, r, 1, 0, 500), r.records)
	check(t, f.Archive.Forget(context.Background(), 0, r.id))
	wantUnknown(t, f, r)
}

func testCrash(t *testing.T, f Fixture) {
	a, b := newRun(0, 1), newRun(0, 2)
	all := []*events.Record{a.record(2), b.record(1)}
	f.Log(t, 0, all)
	archiveAll(t, f, 0, all)
	check(t, f.Archive.Forget(context.Background(), 0, b.id))
	f.Log(t, 0, []*events.Record{a.record(1)})
	if f.Sync != nil {
		f.Sync(t, 0)
	}
	f = f.Crash(t)
	same(t, history(t, f, a, 1, 0, 1<<20), a.records)
	wantUnknown(t, f, b)
	f.Log(t, 0, []*events.Record{a.record(3)})
	same(t, history(t, f, a, 1, 0, 1<<20), a.records)
}
