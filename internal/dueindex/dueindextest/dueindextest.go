// Package dueindextest checks that an adapter keeps every promise of the due index port.
package dueindextest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Fixture is a fresh index with at least two partitions.
type Fixture struct {
	Index dueindex.Index
	// Sync makes everything saved so far durable, as a commit of the journal does.
	Sync func(t *testing.T)
	// Crash ends the store as kill -9 does and opens what it left; nil when nothing is left.
	Crash func(t *testing.T) dueindex.Index
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"Empty", testEmpty},
		{"GetAndReplace", testGetAndReplace},
		{"DueInOrder", testDueInOrder},
		{"DuePages", testDuePages},
		{"KindsAndPartitionsAreApart", testApart},
		{"OfRun", testOfRun},
		{"PutAndDeleteInOneSave", testPutAndDelete},
		{"CallersBuffersAreTheirOwn", testBuffers},
		{"CrashKeepsWhatWasSynced", testCrash},
		{"CrashNeverMixesASave", testCrashNeverMixes},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			if strings.HasPrefix(test.name, "Crash") && f.Crash == nil {
				t.Skip("not promised by this adapter: items end with the process")
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

func task(run int, step events.Step, due events.Time) dueindex.Item {
	return dueindex.Item{
		Key: dueindex.Key{Kind: dueindex.KindTask, RunID: runID(run), Timer: events.TimerID{Step: step}}, Due: due,
		Body: fmt.Appendf(nil, "task %d/%d", run, step),
	}
}

func activation(run int, due events.Time) dueindex.Item {
	return dueindex.Item{Key: dueindex.Key{Kind: dueindex.KindActivation, RunID: runID(run)}, Due: due, Body: fmt.Appendf(nil, "activation %d", run)}
}

func timer(run int, id events.TimerID, due events.Time) dueindex.Item {
	return dueindex.Item{Key: dueindex.Key{Kind: dueindex.KindTimer, RunID: runID(run), Timer: id}, Due: due, Body: fmt.Appendf(nil, "timer %v", id)}
}

func save(t *testing.T, i dueindex.Index, p events.Partition, next events.Seq, puts []dueindex.Item, deletes ...dueindex.Key) {
	t.Helper()
	check(t, i.Save(context.Background(), p, next, puts, deletes))
	got, err := i.Position(context.Background(), p)
	check(t, err)
	if got != next {
		t.Fatalf("position is %d, want %d", got, next)
	}
}

func wantDue(t *testing.T, i dueindex.Index, p events.Partition, kind dueindex.Kind, after dueindex.Item, until events.Time, limit int, want ...dueindex.Item) {
	t.Helper()
	got, err := i.Due(context.Background(), p, kind, after, until, limit)
	check(t, err)
	same(t, fmt.Sprintf("due of kind %d until %d", kind, until), got, want)
}

func wantItem(t *testing.T, i dueindex.Index, p events.Partition, key dueindex.Key, want *dueindex.Item) {
	t.Helper()
	got, ok, err := i.Get(context.Background(), p, key)
	check(t, err)
	if ok != (want != nil) {
		t.Fatalf("item %v: there is %v", key, ok)
	}
	if want != nil {
		same(t, "item", got, *want)
	}
}

const forever = events.Time(1) << 62

func testEmpty(t *testing.T, f Fixture) {
	i := f.Index
	next, err := i.Position(context.Background(), 0)
	check(t, err)
	if next != 0 {
		t.Fatalf("position of an empty index is %d", next)
	}
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10)
	wantItem(t, i, 0, task(1, 1, 0).Key, nil)
	keys, err := i.OfRun(context.Background(), 0, runID(1), 10)
	check(t, err)
	if len(keys) != 0 {
		t.Fatalf("keys in an empty index: %v", keys)
	}
	save(t, i, 0, 5, nil, task(1, 1, 0).Key) // deleting what is not there is harmless
	save(t, i, 0, 7, nil)
}

func testGetAndReplace(t *testing.T, f Fixture) {
	i := f.Index
	first, later := task(1, 1, 100), task(1, 1, 50)
	later.Body = bytes.Repeat([]byte("b"), 4<<10)
	save(t, i, 0, 1, []dueindex.Item{first})
	wantItem(t, i, 0, first.Key, &first)
	save(t, i, 0, 2, []dueindex.Item{later})
	wantItem(t, i, 0, first.Key, &later)
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10, later) // at its new time only
	save(t, i, 0, 3, nil, first.Key)
	wantItem(t, i, 0, first.Key, nil)
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10)
	empty := activation(2, 0)
	empty.Body = nil
	save(t, i, 0, 4, []dueindex.Item{empty})
	wantItem(t, i, 0, empty.Key, &empty)
}

func testDueInOrder(t *testing.T, f Fixture) {
	i := f.Index
	sleep := func(step events.Step) events.TimerID { return events.TimerID{Kind: events.TimerSleep, Step: step} }
	items := []dueindex.Item{ // in the order wanted: due, run, kind of timer, step, attempt
		timer(2, sleep(1), 0), timer(1, sleep(300), 255), timer(1, sleep(2), 256), timer(1, sleep(255), 256), timer(1, sleep(256), 256),
		timer(1, events.TimerID{Kind: events.TimerScheduleToStart, Step: 3, Attempt: 1}, 256),
		timer(1, events.TimerID{Kind: events.TimerScheduleToStart, Step: 3, Attempt: 300}, 256),
		timer(2, sleep(1<<40), 256), timer(3, sleep(1), 1_700_000_000_000_000),
	}
	shuffled := make([]dueindex.Item, len(items))
	for n := range items {
		shuffled[(n*4+1)%len(items)] = items[n]
	}
	save(t, i, 0, 1, shuffled)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, forever, 100, items...)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, 0, 100, items[0])
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, 255, 100, items[:2]...)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, 256, 100, items[:8]...)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, 256, 0)
	for n := range items {
		wantDue(t, i, 0, dueindex.KindTimer, items[n], forever, 100, items[n+1:]...)
	}
}

func testDuePages(t *testing.T, f Fixture) {
	i := f.Index
	var items []dueindex.Item
	for n := range 500 {
		items = append(items, task(n, 1, events.Time(n/7)))
	}
	save(t, i, 0, 1, items)
	var got []dueindex.Item
	var after dueindex.Item
	for {
		page, err := i.Due(context.Background(), 0, dueindex.KindTask, after, 60, 33)
		check(t, err)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		after = page[len(page)-1]
	}
	same(t, "all pages", got, items[:61*7])
}

func testApart(t *testing.T, f Fixture) {
	i := f.Index
	a, b, c := task(1, 1, 10), activation(1, 10), timer(1, events.TimerID{Kind: events.TimerSleep, Step: 1}, 10)
	save(t, i, 0, 1, []dueindex.Item{a, b, c})
	other := task(1, 1, 20)
	save(t, i, 1, 9, []dueindex.Item{other})
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10, a)
	wantDue(t, i, 0, dueindex.KindActivation, dueindex.Item{}, forever, 10, b)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, forever, 10, c)
	wantDue(t, i, 1, dueindex.KindTask, dueindex.Item{}, forever, 10, other)
	save(t, i, 1, 10, nil, a.Key)
	wantItem(t, i, 0, a.Key, &a)
	next, err := i.Position(context.Background(), 0)
	check(t, err)
	if next != 1 {
		t.Fatalf("position of partition 0 is %d, want 1", next)
	}
}

func testOfRun(t *testing.T, f Fixture) {
	i := f.Index
	mine := []dueindex.Item{task(2, 1, 5), task(2, 9, 1), activation(2, 3), timer(2, events.TimerID{Kind: events.TimerSleep, Step: 4}, 99)}
	save(t, i, 0, 1, append([]dueindex.Item{task(1, 1, 0), task(3, 1, 0)}, mine...))
	keys, err := i.OfRun(context.Background(), 0, runID(2), 10)
	check(t, err)
	got := map[dueindex.Key]bool{}
	for _, k := range keys {
		got[k] = true
	}
	if len(keys) != len(mine) {
		t.Fatalf("keys of a run: %v", keys)
	}
	for _, item := range mine {
		if !got[item.Key] {
			t.Fatalf("%v is missing in %v", item.Key, keys)
		}
	}
	keys, err = i.OfRun(context.Background(), 0, runID(2), 3)
	check(t, err)
	if len(keys) != 3 {
		t.Fatalf("limit 3 gave %d keys", len(keys))
	}
	save(t, i, 0, 2, nil, keys...)
	keys, err = i.OfRun(context.Background(), 0, runID(2), 10)
	check(t, err)
	if len(keys) != 1 {
		t.Fatalf("keys left: %v", keys)
	}
}

func testPutAndDelete(t *testing.T, f Fixture) {
	i := f.Index
	a, b := task(1, 1, 10), task(1, 2, 20)
	save(t, i, 0, 1, []dueindex.Item{a})
	save(t, i, 0, 2, []dueindex.Item{b}, a.Key)
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10, b)
}

func testBuffers(t *testing.T, f Fixture) {
	i := f.Index
	item := task(1, 1, 10)
	save(t, i, 0, 1, []dueindex.Item{item})
	want := task(1, 1, 10)
	copy(item.Body, "xxxx")
	wantItem(t, i, 0, want.Key, &want)
}

func testCrash(t *testing.T, f Fixture) {
	i := f.Index
	a, b := task(1, 1, 10), timer(1, events.TimerID{Kind: events.TimerSleep, Step: 1}, 5)
	save(t, i, 0, 44, []dueindex.Item{a, b})
	f.Sync(t)
	i = f.Crash(t)
	next, err := i.Position(context.Background(), 0)
	check(t, err)
	if next != 44 {
		t.Fatalf("position is %d, want 44", next)
	}
	wantItem(t, i, 0, a.Key, &a)
	wantDue(t, i, 0, dueindex.KindTimer, dueindex.Item{}, forever, 10, b)
}

// testCrashNeverMixes replaces one item at every save and nowhere syncs: after a crash position and item fit.
func testCrashNeverMixes(t *testing.T, f Fixture) {
	i := f.Index
	for n := 1; n <= 20; n++ {
		save(t, i, 0, events.Seq(n), []dueindex.Item{task(n, 1, events.Time(n))}, task(n-1, 1, 0).Key)
	}
	i = f.Crash(t)
	next, err := i.Position(context.Background(), 0)
	check(t, err)
	if next == 0 {
		wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10)
		return
	}
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10, task(int(next), 1, events.Time(next)))
}
