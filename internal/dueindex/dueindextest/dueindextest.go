// Package dueindextest checks that an adapter keeps every promise of the due index port.
package dueindextest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
		{"OfRuns", testOfRuns},
		{"OfRunsAtTheLimit", testOfRunsLimit},
		{"PutAndDeleteInOneSave", testPutAndDelete},
		{"OneKeyTwiceInOneSave", testTwice},
		{"ManySavesInAnyOrder", testManySaves},
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
	wantOfRuns(t, i, 0, []int{1, 2}, 10)
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

func runIDs(runs []int) []events.RunID {
	ids := make([]events.RunID, len(runs))
	for n, run := range runs {
		ids[n] = runID(run)
	}
	return ids
}

// wantOfRuns wants the items of runs, which come run by run; in which order those of one run come is not promised.
func wantOfRuns(t *testing.T, i dueindex.Index, p events.Partition, runs []int, limit int, want ...dueindex.Item) {
	t.Helper()
	keys, err := i.OfRuns(context.Background(), p, runIDs(runs), limit)
	check(t, err)
	if !slices.IsSortedFunc(keys, func(a, b dueindex.Key) int { return bytes.Compare(a.RunID[:], b.RunID[:]) }) {
		t.Fatalf("not run by run: %v", keys)
	}
	got := map[dueindex.Key]bool{}
	for _, key := range keys {
		got[key] = true
	}
	if len(got) != len(keys) || len(keys) != len(want) {
		t.Fatalf("%d keys, of these %d different, want %d: %v", len(keys), len(got), len(want), keys)
	}
	for n := range want {
		if !got[want[n].Key] {
			t.Fatalf("%v is missing in %v", want[n].Key, keys)
		}
	}
}

func testOfRuns(t *testing.T, f Fixture) {
	i := f.Index
	one, three, six := task(1, 1, 0), task(3, 1, 0), task(6, 1, 0)
	two := []dueindex.Item{task(2, 1, 5), task(2, 9, 1), activation(2, 3), timer(2, events.TimerID{Kind: events.TimerSleep, Step: 4}, 99)}
	save(t, i, 0, 1, append([]dueindex.Item{six, one, three}, two...))
	save(t, i, 1, 1, []dueindex.Item{task(2, 7, 5), task(4, 1, 0)})
	wantOfRuns(t, i, 0, nil, 10)
	wantOfRuns(t, i, 0, []int{2}, 10, two...)
	wantOfRuns(t, i, 0, []int{0, 4, 5, 7}, 10)
	wantOfRuns(t, i, 0, []int{0, 2, 3, 4, 5, 6, 7}, 10, append(two, three, six)...)
	wantOfRuns(t, i, 1, []int{1, 2, 3, 4}, 10, task(2, 7, 0), task(4, 1, 0))
	save(t, i, 0, 2, nil, two[0].Key, two[1].Key, three.Key)
	wantOfRuns(t, i, 0, []int{1, 2, 3, 6}, 10, one, two[2], two[3], six)
}

// testOfRunsLimit deletes what runs have as far as the limit lets see it, beginning again with the run of the last key.
func testOfRunsLimit(t *testing.T, f Fixture) {
	i := f.Index
	var items []dueindex.Item
	for run := range 5 {
		for step := range events.Step(run * 2) { // 0, 2, 4, 6 and 8 items
			items = append(items, task(run, step, events.Time(step)))
		}
	}
	save(t, i, 0, 1, items)
	runs := runIDs([]int{0, 1, 2, 3, 4})
	keys, err := i.OfRuns(context.Background(), 0, runs, 0)
	check(t, err)
	same(t, "keys with limit 0", keys, []dueindex.Key(nil))
	var sizes []int
	for next := events.Seq(2); len(keys) == 6 || next == 2; next++ {
		keys, err = i.OfRuns(context.Background(), 0, runs, 6)
		check(t, err)
		sizes = append(sizes, len(keys))
		save(t, i, 0, next, nil, keys...)
		if len(keys) > 0 {
			runs = runs[slices.Index(runs, keys[len(keys)-1].RunID):]
		}
	}
	same(t, "keys found at a time", sizes, []int{6, 6, 6, 2})
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10)
}

func testPutAndDelete(t *testing.T, f Fixture) {
	i := f.Index
	a, b := task(1, 1, 10), task(1, 2, 20)
	save(t, i, 0, 1, []dueindex.Item{a})
	save(t, i, 0, 2, []dueindex.Item{b}, a.Key)
	wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, forever, 10, b)
}

// testTwice has the same key more than once in a save: few keys and many, which an adapter may read in other ways.
func testTwice(t *testing.T, f Fixture) {
	i := f.Index
	var others []dueindex.Item
	next := events.Seq(0)
	for _, more := range []int{0, 20} {
		for n := range more {
			others = append(others, task(9, events.Step(n), 1000))
		}
		with := func(items ...dueindex.Item) []dueindex.Item { return append(items, others...) }
		a, moved := task(1, 1, 10), task(1, 1, 20)
		moved.Body = []byte("moved")
		wants := func(items ...dueindex.Item) {
			t.Helper()
			wantDue(t, i, 0, dueindex.KindTask, dueindex.Item{}, 999, 10, items...)
			wantOfRuns(t, i, 0, []int{1}, 10, items...)
		}
		next += 10
		save(t, i, 0, next, with(moved, a), a.Key) // of what was not there
		wants(a)
		save(t, i, 0, next+1, with(a), a.Key)
		wants(a)
		save(t, i, 0, next+2, with(moved), a.Key, a.Key)
		wants(moved)
		save(t, i, 0, next+3, with(a, moved))
		wants(moved)
		save(t, i, 0, next+4, with(), a.Key, task(2, 1, 0).Key, a.Key)
		wants()
	}
}

// testManySaves changes random items and compares with a map: put, moved, put again, deleted, there or not, in any order.
func testManySaves(t *testing.T, f Fixture) {
	i := f.Index
	random := rand.New(rand.NewPCG(1, 2))
	one := func() dueindex.Item {
		run, due := random.IntN(12), events.Time(random.IntN(5))
		switch random.IntN(3) {
		case 0:
			return activation(run, due)
		case 1:
			return task(run, events.Step(random.IntN(4)), due)
		default:
			return timer(run, events.TimerID{Kind: events.TimerSleep, Step: events.Step(random.IntN(300))}, due)
		}
	}
	there := map[dueindex.Key]dueindex.Item{}
	for n := range 40 {
		var puts []dueindex.Item
		var deletes []dueindex.Key
		for range random.IntN(30) {
			key := one().Key
			deletes = append(deletes, key)
			delete(there, key)
		}
		for range random.IntN(30) {
			item := one()
			item.Body = fmt.Appendf(nil, "%d, %d", n, len(puts))
			puts = append(puts, item)
			there[item.Key] = item
		}
		save(t, i, 0, events.Seq(n+1), puts, deletes...)
		var all []dueindex.Item
		for _, kind := range []dueindex.Kind{dueindex.KindTask, dueindex.KindActivation, dueindex.KindTimer} {
			items, err := i.Due(context.Background(), 0, kind, dueindex.Item{}, forever, 10_000)
			check(t, err)
			all = append(all, items...)
		}
		found := map[dueindex.Key]dueindex.Item{}
		for _, item := range all {
			found[item.Key] = item
		}
		if len(all) != len(found) {
			t.Fatalf("%d items of %d keys: some are at two times", len(all), len(found))
		}
		same(t, "items", found, there)
		wantOfRuns(t, i, 0, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 10_000, all...)
	}
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
