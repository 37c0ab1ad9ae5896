// Package readmodeltest is the conformance suite of read models: whoever makes one runs it.
package readmodeltest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Run holds a maker of read models to what the port promises. Each call of open gives an empty model of its own, which
// lives until the test ends.
func Run(t *testing.T, open func(t testing.TB) readmodel.Model) { run(t, open, false) }

// RunBriefly is Run for makers of which every call takes milliseconds: the same tests, of which those that make thousands
// of calls make hundreds.
func RunBriefly(t *testing.T, open func(t testing.TB) readmodel.Model) { run(t, open, true) }

func run(t *testing.T, open func(t testing.TB) readmodel.Model, briefly bool) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, readmodel.Model)
	}{
		{"a row comes back as it was written", everyField},
		{"rows of many runs", manyRows},
		{"an older row changes nothing", olderRow},
		{"a batch moves rows, deletions and positions together", together},
		{"the newest run answers for a workflow id", newest},
		{"what is not there is not found", notFound},
		{"filters select", filters},
		{"pages give every run once", func(t *testing.T, m readmodel.Model) {
			sizes := []int{1, 2, 7, 60}
			if briefly {
				sizes = []int{23, 60}
			}
			pages(t, m, sizes)
		}},
		{"page tokens are bound to their filter", tokens},
		{"waiting ends when the position is reached", waitFor},
		{"reset forgets everything", reset},
		{"rows are the caller's own", ownRows},
		{"statistics count", statistics},
		{"nothing is counted twice", countedOnce},
		{"a model that is built counts", built},
		{"statistics that cannot be given", badStats},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
	t.Run("it answers like a plain list", func(t *testing.T) {
		t.Parallel()
		lists := math.MaxInt
		if briefly {
			lists = 8
		}
		plainList(t, open, lists)
	})
}

func id(n int) events.RunID { return events.RunID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

// simple is a row with what lists and filters look at.
func simple(n int) row.Run {
	return row.Run{
		Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(fmt.Sprint("wf-", n)), RunID: id(n), Version: 1, Partition: 3,
		Type: "billing.Monthly", Queue: "q", Status: events.StatusRunning, Started: events.Time(1000 + n),
	}
}

// full is a row with every field set.
func full() row.Run {
	failure := &events.Failure{
		Code: "declined", Message: "no money – été", Type: "*errors.errorString", NonRetryable: true,
		Details: events.Payload{Encoding: "json", Data: []byte(`{"n":1}`)}, Cause: &events.Failure{Code: "cause", Message: "why"},
	}
	return row.Run{
		Namespace: "default", WorkflowID: "billing/customer-17", RunID: id(7), Version: 42, Partition: 15, Type: "billing.Monthly",
		Queue: "billing", Status: events.StatusFailed, Started: 1_700_000_000_000_001, Ended: 1_700_000_000_000_002,
		Result:  events.Payload{Encoding: "bin", Data: []byte{0, 1, 255}, Blob: "default/run/hash", BlobBytes: 1 << 40},
		Failure: failure, CancelRequested: 1_700_000_000_000_003, Quarantine: "bad record", Unread: 9,
		Tasks: []row.Task{
			{Step: 1, Name: "charge", Queue: "q", Attempt: 3, Scheduled: 5, NextAttempt: 6, LastFailure: failure},
			{Step: 1 << 40, Name: "mail", Queue: "r", Attempt: 1, Scheduled: 7},
		},
		Timers:     []row.Timer{{Step: 2, Due: 8}, {Step: 3, Due: 9, Label: "rate", LastFailure: failure}},
		Signals:    []row.SignalWait{{Name: "unsubscribed", Index: 2}},
		Activation: &row.Activation{Activation: 4, Attempt: 2, Since: 10, NotBefore: 11, LastFailure: failure},
		Inbox:      []row.Inbox{{Name: "unsubscribed", Received: 3, Read: 1}}, TasksScheduled: 1 << 33, Continued: 12,
		Views: []row.View{
			{Name: "invoice", Value: events.Payload{Encoding: "json", Data: []byte(`[]`)}, Version: 40, Updated: 13},
			{Name: "status", Value: events.Payload{Encoding: "json", Data: []byte(`"x"`)}, Version: 41, Updated: 14},
		},
	}
}

func apply(t testing.TB, m readmodel.Model, b readmodel.Batch) {
	t.Helper()
	if err := m.Apply(context.Background(), b); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func everyField(t *testing.T, m readmodel.Model) {
	ctx, want := t.Context(), full()
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the suite leaves %s empty", v.Type().Field(i).Name)
		}
	}
	minimal := row.Run{Namespace: "default", WorkflowID: "w", RunID: id(8), Version: 1}
	apply(t, m, readmodel.Batch{Rows: []row.Run{full(), minimal}})
	got, err := m.Run(ctx, want.Namespace, want.WorkflowID, want.RunID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Run", got, want)
	rows, err := m.Rows(ctx, []events.RunID{id(8), id(99), id(7)})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b row.Run) int { return slices.Compare(a.RunID[:], b.RunID[:]) })
	same(t, "Rows", rows, []row.Run{want, minimal})
	view, err := m.View(ctx, want.Namespace, want.WorkflowID, events.RunID{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "View", view, want.Views[1])
	list, err := m.List(ctx, readmodel.Filter{Type: want.Type}, readmodel.Page{})
	if err != nil {
		t.Fatal(err)
	}
	want.Result, want.Failure, want.Views = events.Payload{}, nil, nil
	want.Tasks, want.Timers, want.Signals, want.Activation, want.Inbox = nil, nil, nil, nil, nil
	same(t, "List", list, readmodel.List{Runs: []row.Run{want}})
}

// manyRows asks for more runs than a model may read at a time, in no order: some are not there, some have views.
func manyRows(t *testing.T, m readmodel.Model) {
	var b readmodel.Batch
	var ids []events.RunID
	want := map[events.RunID]row.Run{}
	for i := range 2_500 {
		n := i * 1_237 % 2_500
		ids = append(ids, id(n))
		if n%7 == 3 {
			continue
		}
		r := simple(n)
		for v := range n % 3 {
			r.Views = append(r.Views, row.View{
				Name: events.ViewName(fmt.Sprint("view-", 9-v)), Value: events.Payload{Encoding: "bin", Data: fmt.Append(nil, n, v)}, Version: 1, Updated: 5,
			})
		}
		b.Rows, want[r.RunID] = append(b.Rows, r), r
	}
	b.Begun = len(b.Rows)
	apply(t, m, b)
	rows, err := m.Rows(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	got := map[events.RunID]row.Run{}
	for _, r := range rows {
		got[r.RunID] = r
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows of %d runs", len(rows), len(want))
	}
	same(t, "Rows", got, want)
	if rows, err = m.Rows(t.Context(), ids[3:4]); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows of one run (%v)", len(rows), err)
	}
	same(t, "Rows of one run", rows[0], want[ids[3]])
	if rows, err = m.Rows(t.Context(), []events.RunID{id(3), id(9_999)}); err != nil || len(rows) > 0 {
		t.Fatalf("%d rows of runs that are not there (%v)", len(rows), err)
	}
}

func olderRow(t *testing.T, m readmodel.Model) {
	now := full()
	apply(t, m, readmodel.Batch{Rows: []row.Run{now}})
	for _, version := range []events.EventNumber{41, 42} {
		old := full()
		old.Version, old.Status, old.Views[0].Value.Data, old.Views[0].Version = version, events.StatusRunning, []byte("old"), 39
		apply(t, m, readmodel.Batch{Rows: []row.Run{old}})
	}
	got, err := m.Run(t.Context(), now.Namespace, now.WorkflowID, now.RunID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after older rows", got, full())
	newer := full()
	newer.Version, newer.Status, newer.Tasks = 43, events.StatusRunning, nil
	newer.Views[0].Value.Data, newer.Views[0].Version = []byte("new"), 43
	newer.Views = append(newer.Views, row.View{Name: "third", Version: 43, Updated: 1})
	apply(t, m, readmodel.Batch{Rows: []row.Run{newer}})
	if got, err = m.Run(t.Context(), now.Namespace, now.WorkflowID, now.RunID); err != nil {
		t.Fatal(err)
	}
	same(t, "after a newer row", got, newer)
	counts, err := m.Count(t.Context(), readmodel.Filter{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "counts", counts, []readmodel.Count{{Type: now.Type, Status: events.StatusRunning, Runs: 1}})
}

func together(t *testing.T, m readmodel.Model) {
	ctx := t.Context()
	if p, err := m.Positions(ctx); err != nil || len(p) != 0 {
		t.Fatalf("a new model is at %v (%v)", p, err)
	}
	apply(t, m, readmodel.Batch{Rows: []row.Run{simple(1), full()}, Positions: []readmodel.Position{{Partition: 3, Next: 5, Time: 100}}})
	apply(t, m, readmodel.Batch{
		Rows: []row.Run{simple(2)}, Deletes: []events.RunID{id(1), id(7), id(50)},
		Positions: []readmodel.Position{{Partition: 3, Next: 9, Time: 101}, {Partition: 0, Next: 2, Time: 90}},
	})
	want := []readmodel.Position{{Partition: 0, Next: 2, Time: 90}, {Partition: 3, Next: 9, Time: 101}}
	for _, read := range []func(context.Context) ([]readmodel.Position, error){m.Positions, m.Watermark} {
		got, err := read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b readmodel.Position) int { return cmp.Compare(a.Partition, b.Partition) })
		same(t, "positions", got, want)
	}
	counts, err := m.Count(ctx, readmodel.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "counts", counts, []readmodel.Count{{Type: "billing.Monthly", Status: events.StatusRunning, Runs: 1}})
	if _, err := m.View(ctx, "default", full().WorkflowID, id(7), "status"); !errors.Is(err, readmodel.ErrNotFound) {
		t.Fatalf("the view of a deleted run: %v", err)
	}
	// A deleted run may come back with a lower version, as after a rebuild.
	apply(t, m, readmodel.Batch{Rows: []row.Run{simple(7)}})
	got, err := m.Run(ctx, "default", "wf-7", id(7))
	if err != nil || len(got.Views) != 0 {
		t.Fatalf("after it came back: %+v (%v)", got, err)
	}
}

func newest(t *testing.T, m readmodel.Model) {
	var rows []row.Run
	for i, started := range []events.Time{50, 70, 60, 70} {
		r := simple(i)
		r.WorkflowID, r.Started = "same", started
		r.Views = []row.View{{Name: "v", Version: 1, Value: events.Payload{Encoding: "json", Data: []byte(fmt.Sprint(i))}}}
		rows = append(rows, r)
	}
	apply(t, m, readmodel.Batch{Rows: rows})
	got, err := m.Run(t.Context(), "default", "same", events.RunID{})
	if err != nil || got.RunID != id(3) {
		t.Fatalf("newest is %v (%v), want the last start with the highest id", got.RunID, err)
	}
	view, err := m.View(t.Context(), "default", "same", events.RunID{}, "v")
	if err != nil || string(view.Value.Data) != "3" {
		t.Fatalf("view of the newest: %s (%v)", view.Value.Data, err)
	}
	if got, err = m.Run(t.Context(), "default", "same", id(0)); err != nil || got.RunID != id(0) {
		t.Fatalf("by id: %v (%v)", got.RunID, err)
	}
}

func notFound(t *testing.T, m readmodel.Model) {
	apply(t, m, readmodel.Batch{Rows: []row.Run{simple(1)}})
	for _, at := range []struct {
		ns  events.Namespace
		id  events.WorkflowID
		run events.RunID
	}{{"default", "nobody", events.RunID{}}, {"default", "wf-1", id(2)}, {"default", "wf-2", id(1)}, {"other", "wf-1", id(1)}, {"other", "wf-1", events.RunID{}}} {
		if _, err := m.Run(t.Context(), at.ns, at.id, at.run); !errors.Is(err, readmodel.ErrNotFound) {
			t.Errorf("Run(%v): %v", at, err)
		}
		if _, err := m.View(t.Context(), at.ns, at.id, at.run, "v"); !errors.Is(err, readmodel.ErrNotFound) {
			t.Errorf("View(%v): %v", at, err)
		}
	}
	if _, err := m.View(t.Context(), "default", "wf-1", id(1), "v"); !errors.Is(err, readmodel.ErrNotFound) {
		t.Errorf("a view that was never set: %v", err)
	}
}

// varied are rows that differ in what filters look at.
func varied() []row.Run {
	var rows []row.Run
	for i := range 60 {
		r := simple(i)
		r.Type = []events.WorkflowType{"billing.Monthly", "hello.Greet"}[i%2]
		r.Status = events.StatusRunning + events.Status(i%6)
		r.WorkflowID = events.WorkflowID([]string{"a%b-", "a_b-", "a/", "ä-"}[i%4] + fmt.Sprint(i/12))
		r.Started = events.Time(1000 + i/3) // some start together
		if i%5 == 0 {
			r.Namespace = "other"
		}
		if i%7 == 0 {
			r.Quarantine = "bad record"
		}
		rows = append(rows, r)
	}
	return rows
}

func someFilters() []readmodel.Filter {
	return []readmodel.Filter{
		{},
		{Namespace: "default"},
		{Namespace: "nobody"},
		{Type: "hello.Greet"},
		{Namespace: "default", Type: "hello.Greet"},
		{Statuses: []events.Status{events.StatusRunning}},
		{Namespace: "default", Statuses: []events.Status{events.StatusFailed, events.StatusTimedOut}},
		{Namespace: "default", Type: "billing.Monthly", Statuses: []events.Status{events.StatusRunning}},
		{WorkflowID: "a/1"},
		{Namespace: "default", WorkflowID: "a_b-1"},
		{WorkflowIDPrefix: "a%"},
		{Namespace: "default", WorkflowIDPrefix: "a_"},
		{Namespace: "default", WorkflowIDPrefix: "ä"},
		{StartedFrom: 1005},
		{StartedTo: 1005},
		{Namespace: "default", StartedFrom: 1003, StartedTo: 1010},
		{Namespace: "other", WorkflowIDPrefix: "a", StartedFrom: 1001, Statuses: []events.Status{events.StatusCompleted, events.StatusRunning}},
		{Quarantined: true},
		{Namespace: "default", Quarantined: true},
		{Namespace: "default", Type: "hello.Greet", Statuses: []events.Status{events.StatusRunning}, Quarantined: true},
	}
}

// selected is what a filter means.
func selected(f readmodel.Filter, rows []row.Run) []row.Run {
	var out []row.Run
	for _, r := range rows {
		if (f.Namespace == "" || r.Namespace == f.Namespace) && (f.Type == "" || r.Type == f.Type) &&
			(f.Statuses == nil || slices.Contains(f.Statuses, r.Status)) && (f.WorkflowID == "" || r.WorkflowID == f.WorkflowID) &&
			strings.HasPrefix(string(r.WorkflowID), f.WorkflowIDPrefix) && r.Started >= f.StartedFrom && (f.StartedTo == 0 || r.Started < f.StartedTo) &&
			(!f.Quarantined || r.Quarantine != "") {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b row.Run) int {
		return cmp.Or(cmp.Compare(b.Started, a.Started), slices.Compare(b.RunID[:], a.RunID[:]))
	})
	return out
}

func counted(rows []row.Run) map[readmodel.Count]bool {
	numbers := map[readmodel.Count]int64{}
	for _, r := range rows {
		numbers[readmodel.Count{Type: r.Type, Status: r.Status}]++
	}
	out := map[readmodel.Count]bool{}
	for c, n := range numbers {
		c.Runs = n
		out[c] = true
	}
	return out
}

func filters(t *testing.T, m readmodel.Model) {
	rows := varied()
	apply(t, m, readmodel.Batch{Rows: rows})
	for _, f := range someFilters() {
		checkFilter(t, m, f, rows)
	}
}

func checkFilter(t testing.TB, m readmodel.Model, f readmodel.Filter, rows []row.Run) {
	t.Helper()
	want := selected(f, rows)
	list, err := m.List(context.Background(), f, readmodel.Page{Limit: readmodel.MaxPage})
	if err != nil {
		t.Fatalf("List(%+v): %v", f, err)
	}
	if got := ids(list.Runs); !slices.Equal(got, ids(want)) {
		t.Fatalf("List(%+v):\n got %v\nwant %v", f, got, ids(want))
	}
	counts, err := m.Count(context.Background(), f)
	if err != nil {
		t.Fatalf("Count(%+v): %v", f, err)
	}
	got := map[readmodel.Count]bool{}
	for _, c := range counts {
		got[c] = true
	}
	same(t, fmt.Sprintf("Count(%+v)", f), got, counted(want))
	if !slices.IsSortedFunc(counts, func(a, b readmodel.Count) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Status, b.Status))
	}) {
		t.Fatalf("Count(%+v) is not sorted: %v", f, counts)
	}
}

func ids(rows []row.Run) []string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d@%d", int(r.RunID[14])<<8|int(r.RunID[15]), r.Started))
	}
	return out
}

func pages(t *testing.T, m readmodel.Model, sizes []int) {
	rows := varied()
	apply(t, m, readmodel.Batch{Rows: rows})
	for _, f := range someFilters() {
		for _, limit := range sizes {
			var got []row.Run
			var begun []events.RunID
			page := readmodel.Page{Limit: limit}
			for {
				list, err := m.List(t.Context(), f, page)
				if err != nil {
					t.Fatal(err)
				}
				if len(list.Runs) > limit {
					t.Fatalf("a page of %d has %d runs", limit, len(list.Runs))
				}
				got = append(got, list.Runs...)
				if page.Token = list.NextToken; page.Token == "" {
					break
				}
				// What begins meanwhile is not seen.
				late := simple(1000 + len(got))
				late.Started = 9999
				apply(t, m, readmodel.Batch{Rows: []row.Run{late}})
				begun = append(begun, late.RunID)
			}
			apply(t, m, readmodel.Batch{Deletes: begun})
			if !slices.Equal(ids(got), ids(selected(f, rows))) {
				t.Fatalf("pages of %d of %+v:\n got %v\nwant %v", limit, f, ids(got), ids(selected(f, rows)))
			}
		}
	}
}

func tokens(t *testing.T, m readmodel.Model) {
	apply(t, m, readmodel.Batch{Rows: varied()})
	f := readmodel.Filter{Namespace: "default"}
	list, err := m.List(t.Context(), f, readmodel.Page{Limit: 3})
	if err != nil || list.NextToken == "" {
		t.Fatalf("first page: %v %v", list, err)
	}
	for name, at := range map[string]struct {
		f readmodel.Filter
		p readmodel.Page
	}{
		"another filter":   {readmodel.Filter{Namespace: "other"}, readmodel.Page{Token: list.NextToken}},
		"quarantined only": {readmodel.Filter{Namespace: "default", Quarantined: true}, readmodel.Page{Token: list.NextToken}},
		"garbage":          {f, readmodel.Page{Token: "garbage!"}},
		"a cut token":      {f, readmodel.Page{Token: list.NextToken[:10]}},
		"too large a page": {f, readmodel.Page{Limit: readmodel.MaxPage + 1}},
		"a negative page":  {f, readmodel.Page{Limit: -1}},
	} {
		if _, err := m.List(t.Context(), at.f, at.p); !errors.Is(err, readmodel.ErrBadPage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func waitFor(t *testing.T, m readmodel.Model) {
	done := make(chan error, 1)
	go func() { done <- m.WaitFor(t.Context(), 3, 8) }()
	apply(t, m, readmodel.Batch{Positions: []readmodel.Position{{Partition: 3, Next: 8}, {Partition: 4, Next: 100}}})
	select {
	case err := <-done:
		t.Fatalf("the wait for 8 ended with %v at next 8", err)
	default:
	}
	apply(t, m, readmodel.Batch{Positions: []readmodel.Position{{Partition: 3, Next: 9}}})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- m.WaitFor(ctx, 9, 1) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled wait: %v", err)
	}
}

func reset(t *testing.T, m readmodel.Model) {
	apply(t, m, readmodel.Batch{Rows: []row.Run{full(), simple(1)}, Positions: []readmodel.Position{{Partition: 1, Next: 9}}})
	if err := m.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	positions, err := m.Positions(t.Context())
	if err != nil || len(positions) != 0 {
		t.Fatalf("positions after reset: %v (%v)", positions, err)
	}
	checkFilter(t, m, readmodel.Filter{}, nil)
	checkFilter(t, m, readmodel.Filter{Namespace: "default"}, nil)
	apply(t, m, readmodel.Batch{Rows: []row.Run{simple(1)}})
	checkFilter(t, m, readmodel.Filter{Namespace: "default"}, []row.Run{simple(1)})
}

func ownRows(t *testing.T, m readmodel.Model) {
	given := full()
	apply(t, m, readmodel.Batch{Rows: []row.Run{given}})
	given.Tasks[0].Name, given.Views[0].Version = "changed", 99
	for range 2 {
		rows, err := m.Rows(t.Context(), []events.RunID{id(7)})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "Rows", rows, []row.Run{full()})
		rows[0].Tasks[0].Name, rows[0].Timers[0].Due, rows[0].Views[0].Version, rows[0].Inbox[0].Read = "changed", 99, 99, 99
		rows[0].Signals[0].Index = 99
	}
}

// plainList compares a model with a map after random batches, at most so many times.
func plainList(t *testing.T, open func(t testing.TB) readmodel.Model, lists int) {
	m := open(t)
	rapid.Check(t, func(r *rapid.T) {
		if lists--; lists < 0 {
			return
		}
		if err := m.Reset(context.Background()); err != nil {
			r.Fatal(err)
		}
		known := map[events.RunID]row.Run{}
		for range rapid.IntRange(1, 8).Draw(r, "batches") {
			var b readmodel.Batch
			for range rapid.IntRange(0, 6).Draw(r, "rows") {
				run := simple(rapid.IntRange(0, 12).Draw(r, "run"))
				if _, twice := find(b.Rows, run.RunID); twice {
					continue
				}
				run.Version = events.EventNumber(rapid.IntRange(1, 5).Draw(r, "version"))
				run.Status = events.Status(rapid.IntRange(1, 6).Draw(r, "status"))
				run.Type = events.WorkflowType(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "type"))
				run.Started = events.Time(rapid.IntRange(1, 4).Draw(r, "start"))
				b.Rows = append(b.Rows, run)
			}
			if rapid.IntRange(0, 3).Draw(r, "delete") == 0 {
				gone := id(rapid.IntRange(0, 12).Draw(r, "gone"))
				if _, written := find(b.Rows, gone); !written {
					b.Deletes = append(b.Deletes, gone)
				}
			}
			for _, run := range b.Rows {
				if old, ok := known[run.RunID]; !ok || run.Version > old.Version {
					known[run.RunID] = run
				}
			}
			for _, gone := range b.Deletes {
				delete(known, gone)
			}
			if err := m.Apply(context.Background(), b); err != nil {
				r.Fatal(err)
			}
		}
		var rows []row.Run
		for _, run := range known {
			rows = append(rows, run)
		}
		for _, f := range []readmodel.Filter{
			{Namespace: "default"},
			{Namespace: "default", Type: "a"},
			{Namespace: "default", Statuses: []events.Status{2}},
			{Namespace: "default", Type: "b", Statuses: []events.Status{1, 3}},
			{Namespace: "default", StartedFrom: 2, StartedTo: 4},
			{Namespace: "default", WorkflowIDPrefix: "wf-1"},
		} {
			checkFilter(t, m, f, rows)
		}
	})
}

func find(rows []row.Run, id events.RunID) (row.Run, bool) {
	i := slices.IndexFunc(rows, func(r row.Run) bool { return r.RunID == id })
	if i < 0 {
		return row.Run{}, false
	}
	return rows[i], true
}
