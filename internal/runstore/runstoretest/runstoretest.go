// Package runstoretest checks that an adapter keeps every promise of the run store port.
package runstoretest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Fixture is a fresh store with at least two partitions.
type Fixture struct {
	Store runstore.Store
	// Sync makes everything written so far durable, as a commit of the journal does.
	Sync func(t *testing.T)
	// Crash ends the store as kill -9 does and opens what it left; nil when nothing is left.
	Crash func(t *testing.T) runstore.Store
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"Empty", testEmpty},
		{"Runs", testRuns},
		{"Newest", testNewest},
		{"Answers", testAnswers},
		{"Checkpoint", testCheckpoint},
		{"Ended", testEnded},
		{"Quarantined", testQuarantined},
		{"PutAndDeleteInOneWrite", testPutAndDelete},
		{"PartitionsAreApart", testPartitionsAreApart},
		{"KeysAreApart", testKeysAreApart},
		{"CallersBuffersAreTheirOwn", testBuffers},
		{"CrashKeepsWhatWasSynced", testCrash},
		{"CrashNeverMixesAWrite", testCrashNeverMixes},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			if strings.HasPrefix(test.name, "Crash") && f.Crash == nil {
				t.Skip("not promised by this adapter: rows end with the process")
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

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func runID(n int) events.RunID {
	return events.MakeRunID(1_700_000_000_000, [10]byte{8: byte(n >> 8), 9: byte(n)})
}

func write(t *testing.T, s runstore.Store, p events.Partition, c runstore.Changes) {
	t.Helper()
	check(t, s.Write(context.Background(), p, c))
}

func wantRun(t *testing.T, s runstore.Store, p events.Partition, id events.RunID, want string) {
	t.Helper()
	row, err := s.Run(context.Background(), p, id)
	check(t, err)
	if string(row) != want || (want == "" && row != nil) {
		t.Fatalf("row of run %s is %q, want %q", id, row, want)
	}
}

func wantNewest(t *testing.T, s runstore.Store, p events.Partition, ns events.Namespace, id events.WorkflowID, want runstore.Newest) {
	t.Helper()
	got, ok, err := s.Newest(context.Background(), p, ns, id)
	check(t, err)
	if got != want || ok != (want != runstore.Newest{}) {
		t.Fatalf("newest of %s/%s is %v, %v; want %v", ns, id, got, ok, want)
	}
}

func testEmpty(t *testing.T, f Fixture) {
	s, ctx := f.Store, context.Background()
	wantRun(t, s, 0, runID(1), "")
	wantNewest(t, s, 0, "default", "w", runstore.Newest{})
	if _, ok, err := s.Answer(ctx, 0, runID(1), "r"); ok || err != nil {
		t.Fatalf("an answer in an empty store: %v, %v", ok, err)
	}
	c, err := s.Checkpoint(ctx, 0)
	check(t, err)
	same(t, "checkpoint", c, runstore.Checkpoint{})
	ended, err := s.Ended(ctx, 0, 1<<60, 10)
	check(t, err)
	quarantined, err := s.Quarantined(ctx, 0, 10)
	check(t, err)
	if len(ended)+len(quarantined) != 0 {
		t.Fatalf("rows in an empty store: %v, %v", ended, quarantined)
	}
	write(t, s, 0, runstore.Changes{})
	write(t, s, 0, runstore.Changes{ // deleting what is not there is harmless
		DeleteRuns: []events.RunID{runID(1)}, DeleteNewest: []runstore.NewestRow{{Namespace: "default", WorkflowID: "w"}},
		DeleteAnswers: []runstore.AnswerRow{{RunID: runID(1), Request: "r"}}, DeleteEnded: []runstore.Ended{{RunID: runID(1)}},
		DeleteQuarantined: []events.RunID{runID(1)},
	})
}

func testRuns(t *testing.T, f Fixture) {
	s := f.Store
	large := string(bytes.Repeat([]byte("x"), 300_000))
	write(t, s, 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(1), Row: []byte("one")}, {RunID: runID(2), Row: []byte(large)}}})
	wantRun(t, s, 0, runID(1), "one")
	wantRun(t, s, 0, runID(2), large)
	write(t, s, 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(1), Row: []byte("one again")}}})
	wantRun(t, s, 0, runID(1), "one again")
	write(t, s, 0, runstore.Changes{DeleteRuns: []events.RunID{runID(1)}})
	wantRun(t, s, 0, runID(1), "")
	wantRun(t, s, 0, runID(2), large)
}

func testNewest(t *testing.T, f Fixture) {
	s := f.Store
	row := func(n int, status events.Status) runstore.NewestRow {
		return runstore.NewestRow{Namespace: "default", WorkflowID: "w", Newest: runstore.Newest{RunID: runID(n), Status: status}}
	}
	write(t, s, 0, runstore.Changes{PutNewest: []runstore.NewestRow{row(1, events.StatusRunning)}})
	wantNewest(t, s, 0, "default", "w", row(1, events.StatusRunning).Newest)
	write(t, s, 0, runstore.Changes{PutNewest: []runstore.NewestRow{row(2, events.StatusFailed)}})
	write(t, s, 0, runstore.Changes{DeleteNewest: []runstore.NewestRow{row(1, events.StatusRunning)}})
	wantNewest(t, s, 0, "default", "w", row(2, events.StatusFailed).Newest) // it names another run by now
	write(t, s, 0, runstore.Changes{DeleteNewest: []runstore.NewestRow{row(2, events.StatusRunning)}})
	wantNewest(t, s, 0, "default", "w", runstore.Newest{})
}

func testAnswers(t *testing.T, f Fixture) {
	s, ctx := f.Store, context.Background()
	full := events.Answer{
		RequestID: "r-1", Session: 1 << 60, N: 1 << 61, Code: events.IDTaken, Message: "täken", RunID: runID(9),
		Status: events.StatusTimedOut, Ended: 77, Duplicate: true, Started: true,
	}
	rows := []runstore.AnswerRow{
		{RunID: runID(1), Request: "r-1", KeptAnswer: runstore.KeptAnswer{Answer: full, At: 123}},
		{RunID: runID(1), Request: "r-10", KeptAnswer: runstore.KeptAnswer{Answer: events.Answer{RequestID: "r-10", Code: events.OK}, At: 124}},
		{RunID: runID(2), Request: "r-1", KeptAnswer: runstore.KeptAnswer{Answer: events.Answer{RequestID: "r-1", Code: events.OK}, At: 125}},
	}
	want := func(row runstore.AnswerRow, there bool) {
		t.Helper()
		got, ok, err := s.Answer(ctx, 0, row.RunID, row.Request)
		check(t, err)
		if ok != there {
			t.Fatalf("answer %s of %s: there is %v, want %v", row.Request, row.RunID, ok, there)
		}
		if there {
			same(t, "answer", got, row.KeptAnswer)
		}
	}
	write(t, s, 0, runstore.Changes{PutAnswers: rows})
	for _, row := range rows {
		want(row, true)
	}
	write(t, s, 0, runstore.Changes{DeleteAnswers: rows[:1]})
	want(rows[0], false)
	want(rows[1], true)
	write(t, s, 0, runstore.Changes{DeleteRuns: []events.RunID{runID(1)}}) // takes its answers along
	want(rows[1], false)
	want(rows[2], true)
}

func testCheckpoint(t *testing.T, f Fixture) {
	s := f.Store
	for _, c := range []runstore.Checkpoint{{Next: 5, State: []byte("s")}, {Next: 6, State: bytes.Repeat([]byte("z"), 1<<20)}, {Next: 1 << 40}} {
		write(t, s, 1, runstore.Changes{Checkpoint: &c})
		got, err := s.Checkpoint(context.Background(), 1)
		check(t, err)
		if got.Next != c.Next || !bytes.Equal(got.State, c.State) {
			t.Fatalf("checkpoint %d with %d bytes came back as %d with %d", c.Next, len(c.State), got.Next, len(got.State))
		}
	}
}

func testEnded(t *testing.T, f Fixture) {
	s := f.Store
	var rows []runstore.Ended
	for i, at := range []events.Time{300, 100, 200, 200, 1 << 50} {
		rows = append(rows, runstore.Ended{RunID: runID(i), WorkflowID: "w w", Namespace: "default", Forget: at})
	}
	write(t, s, 0, runstore.Changes{PutEnded: rows})
	until := func(at events.Time, limit int, want ...int) {
		t.Helper()
		got, err := s.Ended(context.Background(), 0, at, limit)
		check(t, err)
		var wanted []runstore.Ended
		for _, i := range want {
			wanted = append(wanted, rows[i])
		}
		same(t, fmt.Sprintf("ended until %d", at), got, wanted)
	}
	until(99, 10)
	until(100, 10, 1)
	until(299, 10, 1, 2, 3)
	until(299, 2, 1, 2)
	until(1<<60, 10, 1, 2, 3, 0, 4)
	write(t, s, 0, runstore.Changes{DeleteEnded: []runstore.Ended{rows[2]}})
	until(300, 10, 1, 3, 0)
}

func testQuarantined(t *testing.T, f Fixture) {
	s := f.Store
	rows := []runstore.QuarantinedRun{
		{RunID: runID(1), WorkflowID: "a", Namespace: "default", Reason: "does not fit", Since: 5},
		{RunID: runID(2), WorkflowID: "b", Namespace: "other", Since: 6},
		{RunID: runID(3), WorkflowID: "c", Namespace: "default", Reason: strings.Repeat("r", 2000), Since: 7},
	}
	list := func(limit int, want ...runstore.QuarantinedRun) {
		t.Helper()
		got, err := s.Quarantined(context.Background(), 0, limit)
		check(t, err)
		same(t, "quarantined", got, want)
	}
	write(t, s, 0, runstore.Changes{PutQuarantined: rows})
	list(10, rows...)
	list(2, rows[:2]...)
	write(t, s, 0, runstore.Changes{DeleteQuarantined: []events.RunID{runID(2)}})
	list(10, rows[0], rows[2])
}

func testPutAndDelete(t *testing.T, f Fixture) {
	s := f.Store
	ended := runstore.Ended{RunID: runID(1), WorkflowID: "w", Namespace: "default", Forget: 5}
	newest := runstore.NewestRow{Namespace: "default", WorkflowID: "w", Newest: runstore.Newest{RunID: runID(1), Status: events.StatusCompleted}}
	write(t, s, 0, runstore.Changes{
		PutRuns: []runstore.RunRow{{RunID: runID(1), Row: []byte("row")}}, PutNewest: []runstore.NewestRow{newest},
		PutAnswers: []runstore.AnswerRow{{RunID: runID(1), Request: "r"}}, PutEnded: []runstore.Ended{ended},
		Checkpoint: &runstore.Checkpoint{Next: 3},
	})
	write(t, s, 0, runstore.Changes{
		PutRuns: []runstore.RunRow{{RunID: runID(2), Row: []byte("next")}}, DeleteRuns: []events.RunID{runID(1)},
		DeleteNewest: []runstore.NewestRow{newest}, DeleteEnded: []runstore.Ended{ended}, Checkpoint: &runstore.Checkpoint{Next: 4},
	})
	wantRun(t, s, 0, runID(1), "")
	wantRun(t, s, 0, runID(2), "next")
	wantNewest(t, s, 0, "default", "w", runstore.Newest{})
	got, err := s.Ended(context.Background(), 0, 10, 10)
	check(t, err)
	if len(got) != 0 {
		t.Fatalf("ended: %v", got)
	}
}

func testPartitionsAreApart(t *testing.T, f Fixture) {
	s, ctx := f.Store, context.Background()
	newest := runstore.NewestRow{Namespace: "default", WorkflowID: "w", Newest: runstore.Newest{RunID: runID(1), Status: events.StatusRunning}}
	write(t, s, 0, runstore.Changes{
		PutRuns: []runstore.RunRow{{RunID: runID(1), Row: []byte("zero")}}, PutNewest: []runstore.NewestRow{newest},
		PutAnswers:     []runstore.AnswerRow{{RunID: runID(1), Request: "r"}},
		PutEnded:       []runstore.Ended{{RunID: runID(1), Forget: 1}},
		PutQuarantined: []runstore.QuarantinedRun{{RunID: runID(1)}}, Checkpoint: &runstore.Checkpoint{Next: 9},
	})
	wantRun(t, s, 1, runID(1), "")
	wantNewest(t, s, 1, "default", "w", runstore.Newest{})
	_, ok, err := s.Answer(ctx, 1, runID(1), "r")
	check(t, err)
	c, err := s.Checkpoint(ctx, 1)
	check(t, err)
	ended, err := s.Ended(ctx, 1, 10, 10)
	check(t, err)
	quarantined, err := s.Quarantined(ctx, 1, 10)
	check(t, err)
	if ok || c.Next != 0 || len(ended) != 0 || len(quarantined) != 0 {
		t.Fatalf("rows of partition 0 are seen in partition 1: %v %v %v %v", ok, c, ended, quarantined)
	}
	write(t, s, 1, runstore.Changes{DeleteRuns: []events.RunID{runID(1)}, DeleteQuarantined: []events.RunID{runID(1)}})
	wantRun(t, s, 0, runID(1), "zero")
}

// testKeysAreApart uses namespaces and workflow ids that are easily confused when keys are put together.
func testKeysAreApart(t *testing.T, f Fixture) {
	s := f.Store
	names := []struct {
		ns events.Namespace
		id events.WorkflowID
	}{{"a", "bc"}, {"ab", "c"}, {"a", "b/c"}, {"a/b", "c"}, {"a", "b"}, {"a", "b c"}, {"ä", "b"}, {"a", "bcd"}}
	var c runstore.Changes
	for i, n := range names {
		c.PutNewest = append(c.PutNewest, runstore.NewestRow{
			Namespace: n.ns, WorkflowID: n.id, Newest: runstore.Newest{RunID: runID(i + 1), Status: events.StatusRunning},
		})
	}
	write(t, s, 0, c)
	for i, n := range names {
		wantNewest(t, s, 0, n.ns, n.id, c.PutNewest[i].Newest)
	}
}

func testBuffers(t *testing.T, f Fixture) {
	s := f.Store
	row, state := []byte("row"), []byte("state")
	write(t, s, 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(1), Row: row}}, Checkpoint: &runstore.Checkpoint{Next: 1, State: state}})
	copy(row, "xxx")
	copy(state, "xxxxx")
	wantRun(t, s, 0, runID(1), "row")
	c, err := s.Checkpoint(context.Background(), 0)
	check(t, err)
	if string(c.State) != "state" {
		t.Fatalf("state is %q", c.State)
	}
}

func testCrash(t *testing.T, f Fixture) {
	s := f.Store
	newest := runstore.NewestRow{Namespace: "default", WorkflowID: "w", Newest: runstore.Newest{RunID: runID(1), Status: events.StatusCompleted}}
	ended := runstore.Ended{RunID: runID(1), WorkflowID: "w", Namespace: "default", Forget: 50}
	write(t, s, 0, runstore.Changes{
		PutRuns: []runstore.RunRow{{RunID: runID(1), Row: []byte("row")}}, PutNewest: []runstore.NewestRow{newest},
		PutEnded: []runstore.Ended{ended}, Checkpoint: &runstore.Checkpoint{Next: 3, State: []byte("s")},
	})
	f.Sync(t)
	s = f.Crash(t)
	wantRun(t, s, 0, runID(1), "row")
	wantNewest(t, s, 0, "default", "w", newest.Newest)
	c, err := s.Checkpoint(context.Background(), 0)
	check(t, err)
	same(t, "checkpoint", c, runstore.Checkpoint{Next: 3, State: []byte("s")})
	got, err := s.Ended(context.Background(), 0, 50, 2)
	check(t, err)
	same(t, "ended", got, []runstore.Ended{ended})
}

// testCrashNeverMixes writes one number to many rows at a time and nowhere syncs: after a crash all rows have one number.
func testCrashNeverMixes(t *testing.T, f Fixture) {
	s := f.Store
	for n := range 20 {
		var c runstore.Changes
		for i := range 10 {
			c.PutRuns = append(c.PutRuns, runstore.RunRow{RunID: runID(i), Row: []byte{byte(n)}})
		}
		c.Checkpoint = &runstore.Checkpoint{Next: events.Seq(n)}
		write(t, s, 0, c)
	}
	s = f.Crash(t)
	c, err := s.Checkpoint(context.Background(), 0)
	check(t, err)
	first, err := s.Run(context.Background(), 0, runID(0))
	check(t, err)
	if first != nil && events.Seq(first[0]) != c.Next {
		t.Fatalf("checkpoint %d with a row of write %d", c.Next, first[0])
	}
	for i := range 10 {
		wantRun(t, s, 0, runID(i), string(first))
	}
}
