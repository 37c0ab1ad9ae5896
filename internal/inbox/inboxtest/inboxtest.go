// Package inboxtest checks that an adapter keeps every promise of the inbox port.
package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) inbox.Inbox) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, i inbox.Inbox)
	}{
		{"DeliveriesInOrder", testDeliveriesInOrder},
		{"UnknownSession", testUnknownSession},
		{"SessionsAreApart", testSessionsAreApart},
		{"OneOpenPerSession", testOneOpen},
		{"FullQueueTakesNothing", testFullQueue},
		{"RoomForTwiceTheCredits", testRoomForCredits},
		{"ReportsInOrder", testReportsInOrder},
		{"PresentStateFirst", testPresentState},
		{"WhatLastsIsKnown", testLasting},
		{"GoneEndsASession", testGone},
		{"CloseOfAFollowing", testCloseFollowing},
		{"ReadyWhileSomethingWaits", testReady},
		{"ManyAtOnce", testManyAtOnce},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openSession(t *testing.T, i inbox.Inbox, id events.SessionID) inbox.Mailbox {
	t.Helper()
	m, err := i.Open(context.Background(), id)
	check(t, err)
	t.Cleanup(m.Close)
	return m
}

func followReports(t *testing.T, i inbox.Inbox) inbox.Reports {
	t.Helper()
	r, err := i.Reports(context.Background())
	check(t, err)
	t.Cleanup(r.Close)
	return r
}

func worker(session events.SessionID, id events.WorkerID, slots int) inbox.Worker {
	return inbox.Worker{
		Session: session, ID: id, Queue: "q", Tasks: []inbox.Offer{{Name: "t", Signature: "s"}}, TaskSlots: slots, ActivationSlots: slots,
	}
}

func task(worker events.WorkerID, step events.Step) inbox.Delivery {
	return inbox.Delivery{Worker: worker, Task: &events.OpenTask{Task: events.TaskID{Run: events.RunID{1}, Step: step}, Attempt: 1}, Number: 1}
}

func await(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("Ready has no value although something waits")
	}
}

// takeAll takes what waits, in pieces.
func takeAll[T any](take func(int) []T) []T {
	var all []T
	for {
		some := take(3)
		if some == nil {
			return all
		}
		all = append(all, some...)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func testDeliveriesInOrder(t *testing.T, i inbox.Inbox) {
	m := openSession(t, i, 1)
	if m.Take(10) != nil {
		t.Fatal("a fresh session has deliveries")
	}
	var want []inbox.Delivery
	for n := range 5 {
		two := []inbox.Delivery{task("w", events.Step(2*n+1)), task("w", events.Step(2*n+2))}
		want = append(want, two...)
		check(t, i.Deliver(1, two))
	}
	await(t, m.Ready())
	if got := m.Take(4); len(got) > 4 {
		t.Fatalf("Take(4) returned %d", len(got))
	} else {
		same(t, "deliveries", append(got, takeAll(m.Take)...), want)
	}
}

func wantGone(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, inbox.ErrGone) {
		t.Fatalf("%s: %v, want ErrGone", what, err)
	}
}

func testUnknownSession(t *testing.T, i inbox.Inbox) {
	wantGone(t, "Deliver", i.Deliver(9, []inbox.Delivery{task("w", 1)}))
	wantGone(t, "Report", i.Report(inbox.Report{Session: 9, Joined: []inbox.Worker{worker(9, "w", 1)}}))
	check(t, i.Report(inbox.Report{Session: 9, Gone: true})) // what is gone may go
}

func testSessionsAreApart(t *testing.T, i inbox.Inbox) {
	a, b := openSession(t, i, 1), openSession(t, i, 2)
	check(t, i.Deliver(2, []inbox.Delivery{task("w", 1)}))
	if a.Take(10) != nil || len(b.Take(10)) != 1 {
		t.Fatal("a delivery came to another session")
	}
	a.Close()
	wantGone(t, "Deliver", i.Deliver(1, []inbox.Delivery{task("w", 1)}))
	check(t, i.Deliver(2, []inbox.Delivery{task("w", 2)}))
}

func testOneOpen(t *testing.T, i inbox.Inbox) {
	m := openSession(t, i, 1)
	if _, err := i.Open(context.Background(), 1); err == nil {
		t.Fatal("one session was opened twice")
	}
	m.Close()
	m.Close()
	again := openSession(t, i, 1)
	m.Close() // of the former life
	check(t, i.Deliver(1, []inbox.Delivery{task("w", 1)}))
	if len(again.Take(1)) != 1 {
		t.Fatal("a session that was opened again gets nothing")
	}
}

func testFullQueue(t *testing.T, i inbox.Inbox) {
	m := openSession(t, i, 1)
	count := 0
	for ; count < 1_000_000; count++ {
		err := i.Deliver(1, []inbox.Delivery{task("w", events.Step(count+1))})
		if errors.Is(err, inbox.ErrFull) {
			break
		}
		check(t, err)
	}
	if count == 1_000_000 {
		t.Fatal("the queue has no bound")
	}
	m.Take(1)
	if err := i.Deliver(1, []inbox.Delivery{task("w", 1), task("w", 2)}); !errors.Is(err, inbox.ErrFull) {
		t.Fatalf("two deliveries into one place: %v", err)
	}
	check(t, i.Deliver(1, []inbox.Delivery{task("w", 1)}))
	if n := len(takeAll(m.Take)); n != count {
		t.Fatalf("%d deliveries are there, want %d: a refused call kept some", n, count)
	}
}

func testRoomForCredits(t *testing.T, i inbox.Inbox) {
	m := openSession(t, i, 1)
	check(t, i.Report(inbox.Report{
		Session: 1, Joined: []inbox.Worker{worker(1, "w", 500)}, Credits: []inbox.Credit{{Worker: "w", Tasks: 500, Activations: 500}},
	}))
	for n := range 2000 {
		check(t, i.Deliver(1, []inbox.Delivery{task("w", events.Step(n+1))}))
	}
	if n := len(takeAll(m.Take)); n != 2000 {
		t.Fatalf("%d of 2000 deliveries are there", n)
	}
}

func testReportsInOrder(t *testing.T, i inbox.Inbox) {
	openSession(t, i, 1)
	f, other := followReports(t, i), followReports(t, i)
	if f.Take(10) != nil {
		t.Fatal("there are reports although no worker has joined")
	}
	want := []inbox.Report{
		{Session: 1, Joined: []inbox.Worker{worker(1, "w", 2)}},
		{Session: 1, Credits: []inbox.Credit{{Worker: "w", Tasks: 2}}},
		{Session: 1, Live: []inbox.Live{{Worker: "w", RunID: events.RunID{7}}}},
		{Session: 1, Returned: []inbox.Running{{Worker: "w", Step: 1}}},
		{Session: 1, Left: []events.WorkerID{"w"}},
	}
	for _, r := range want {
		check(t, i.Report(r))
	}
	await(t, f.Ready())
	same(t, "reports", takeAll(f.Take), want)
	same(t, "reports of the other follower", takeAll(other.Take), want)
}

// folded is what a follower knows after some reports.
type folded struct {
	Workers map[events.WorkerID]inbox.Worker
	Running map[string]bool
	Credits map[events.WorkerID]inbox.Credit
	Live    map[string]bool
}

func fold(reports []inbox.Report) folded {
	f := folded{map[events.WorkerID]inbox.Worker{}, map[string]bool{}, map[events.WorkerID]inbox.Credit{}, map[string]bool{}}
	for _, r := range reports {
		for _, w := range r.Joined {
			f.Workers[w.ID] = w
		}
		for _, run := range r.Running {
			f.Running[fmt.Sprint(run.Worker, run.RunID, run.Step, run.Activation, run.Attempt)] = true
		}
		for _, c := range r.Credits {
			sum := f.Credits[c.Worker]
			f.Credits[c.Worker] = inbox.Credit{Worker: c.Worker, Tasks: sum.Tasks + c.Tasks, Activations: sum.Activations + c.Activations}
		}
		for _, l := range r.Live {
			f.Live[fmt.Sprint(l.Worker, l.RunID)] = !l.Evicted
		}
	}
	return f
}

func testPresentState(t *testing.T, i inbox.Inbox) {
	openSession(t, i, 1)
	openSession(t, i, 2)
	changed := worker(1, "a", 5)
	changed.Build = "2"
	for _, r := range []inbox.Report{
		{Session: 1, Joined: []inbox.Worker{worker(1, "a", 5), worker(1, "b", 5)}, Running: []inbox.Running{
			{Worker: "a", RunID: events.RunID{1}, Step: 9, Attempt: 1}, {Worker: "b", RunID: events.RunID{2}, Step: 1, Attempt: 1},
		}},
		{Session: 1, Credits: []inbox.Credit{{Worker: "a", Tasks: 4, Activations: 5}, {Worker: "b", Tasks: 5}}},
		{Session: 1, Credits: []inbox.Credit{{Worker: "a", Tasks: -1}}, Joined: []inbox.Worker{changed}},
		{Session: 1, Live: []inbox.Live{{Worker: "a", RunID: events.RunID{1}}, {Worker: "a", RunID: events.RunID{2}}}},
		{Session: 1, Live: []inbox.Live{{Worker: "a", RunID: events.RunID{2}, Evicted: true}}, Left: []events.WorkerID{"b"}},
		{Session: 2, Joined: []inbox.Worker{worker(2, "c", 1)}},
	} {
		check(t, i.Report(r))
	}
	activation := inbox.Delivery{Worker: "a", Activation: &events.OpenActivation{
		RunID: events.RunID{3}, Activation: events.ActivationScheduled{Activation: 4, Attempt: 1},
	}}
	check(t, i.Deliver(1, []inbox.Delivery{task("a", 1), task("a", 2), activation}))
	check(t, i.Report(inbox.Report{Session: 1, Returned: []inbox.Running{{Worker: "a", RunID: events.RunID{1}, Step: 2, Attempt: 1}}}))

	f := followReports(t, i)
	await(t, f.Ready())
	got := fold(takeAll(f.Take))
	same(t, "present state", got, folded{
		Workers: map[events.WorkerID]inbox.Worker{"a": changed, "c": worker(2, "c", 1)},
		Running: map[string]bool{
			fmt.Sprint("a", events.RunID{1}, 9, 0, 1): true, fmt.Sprint("a", events.RunID{1}, 1, 0, 1): true, fmt.Sprint("a", events.RunID{3}, 0, 4, 1): true,
		},
		Credits: map[events.WorkerID]inbox.Credit{"a": {Worker: "a", Tasks: 1, Activations: 4}},
		Live:    map[string]bool{fmt.Sprint("a", events.RunID{1}): true},
	})
	check(t, i.Report(inbox.Report{Session: 2, Left: []events.WorkerID{"c"}}))
	await(t, f.Ready())
	if more := takeAll(f.Take); len(more) != 1 || len(more[0].Left) != 1 {
		t.Fatalf("after the present state came %+v, want the change", more)
	}
}

// testLasting: what was said to run is known to whoever begins later, however much was given since, until it is said to be
// over.
func testLasting(t *testing.T, i inbox.Inbox) {
	box := openSession(t, i, 1)
	check(t, i.Report(inbox.Report{Session: 1, Joined: []inbox.Worker{worker(1, "a", 1)}}))
	lasts := inbox.Running{Worker: "a", RunID: events.RunID{1}, Step: 1, Attempt: 1}
	check(t, i.Deliver(1, []inbox.Delivery{task("a", 1)}))
	check(t, i.Report(inbox.Report{Session: 1, Running: []inbox.Running{lasts}}))
	for n := range 1000 {
		check(t, i.Deliver(1, []inbox.Delivery{task("a", events.Step(n+2))}))
		box.Take(1)
	}
	known := func() bool {
		f := followReports(t, i)
		await(t, f.Ready())
		return fold(takeAll(f.Take)).Running[fmt.Sprint("a", lasts.RunID, 1, 0, 1)]
	}
	if !known() {
		t.Error("an attempt that lasts is forgotten")
	}
	later := lasts
	later.Attempt = 2
	check(t, i.Report(inbox.Report{Session: 1, Over: []inbox.Running{later}}))
	if !known() {
		t.Error("an attempt is forgotten because another one is over")
	}
	check(t, i.Report(inbox.Report{Session: 1, Over: []inbox.Running{lasts}}))
	if known() {
		t.Error("an attempt that is over is said to run")
	}
}

func testGone(t *testing.T, i inbox.Inbox) {
	a, b := openSession(t, i, 1), openSession(t, i, 2)
	f := followReports(t, i)
	for _, id := range []events.SessionID{1, 2} {
		check(t, i.Report(inbox.Report{Session: id, Joined: []inbox.Worker{worker(id, "w", 1)}}))
		check(t, i.Deliver(id, []inbox.Delivery{task("w", 1)}))
	}
	takeAll(f.Take)
	a.Close()
	check(t, i.Report(inbox.Report{Session: 2, Gone: true}))
	b.Close()
	var gone []events.SessionID
	for _, r := range takeAll(f.Take) {
		if !r.Gone {
			t.Fatalf("report %+v after the end", r)
		}
		gone = append(gone, r.Session)
	}
	if !slices.Equal(gone, []events.SessionID{1, 2}) {
		t.Fatalf("gone are %v, each once and in order: 1, 2", gone)
	}
	for _, id := range []events.SessionID{1, 2} {
		wantGone(t, "Deliver", i.Deliver(id, []inbox.Delivery{task("w", 1)}))
		wantGone(t, "Report", i.Report(inbox.Report{Session: id, Credits: []inbox.Credit{{Worker: "w", Tasks: 1}}}))
	}
	if a.Take(1) != nil || b.Take(1) != nil {
		t.Fatal("a session that is gone has deliveries")
	}
	if state := takeAll(followReports(t, i).Take); state != nil {
		t.Fatalf("a new follower hears of %+v", state)
	}
}

func testCloseFollowing(t *testing.T, i inbox.Inbox) {
	openSession(t, i, 1)
	f, stays := followReports(t, i), followReports(t, i)
	f.Close()
	f.Close()
	check(t, i.Report(inbox.Report{Session: 1, Joined: []inbox.Worker{worker(1, "w", 1)}}))
	if f.Take(1) != nil {
		t.Fatal("a closed following has reports")
	}
	if stays.Take(1) == nil {
		t.Fatal("the other following has none")
	}
}

func testReady(t *testing.T, i inbox.Inbox) {
	m, f := openSession(t, i, 1), followReports(t, i)
	for n := range 3 {
		check(t, i.Deliver(1, []inbox.Delivery{task("w", events.Step(n+1))}))
		check(t, i.Report(inbox.Report{Session: 1, Joined: []inbox.Worker{worker(1, "w", n)}}))
	}
	for range 3 { // ready again while something is left
		await(t, m.Ready())
		await(t, f.Ready())
		if len(m.Take(1)) != 1 || len(f.Take(1)) != 1 {
			t.Fatal("Ready has a value and nothing waits")
		}
	}
}

func testManyAtOnce(t *testing.T, i inbox.Inbox) {
	const sessions, each = 6, 100
	f := followReports(t, i)
	var all sync.WaitGroup
	for n := range sessions {
		id := events.SessionID(n + 1)
		m := openSession(t, i, id)
		all.Go(func() {
			for c := range each {
				err := errors.Join(
					i.Report(inbox.Report{Session: id, Joined: []inbox.Worker{worker(id, "w", c)}}),
					i.Deliver(id, []inbox.Delivery{task("w", events.Step(c+1))}),
				)
				if got := m.Take(10); err != nil || len(got) != 1 || got[0].Task.Task.Step != events.Step(c+1) {
					t.Errorf("session %d, turn %d: %v, %v", id, c, got, err)
				}
			}
		})
	}
	last := map[events.SessionID]int{}
	for seen := 0; seen < sessions*each; {
		await(t, f.Ready())
		for _, r := range f.Take(50) {
			if slots := r.Joined[0].TaskSlots; slots != last[r.Session] {
				t.Fatalf("session %d: report %d came where %d was due", r.Session, slots, last[r.Session])
			}
			last[r.Session]++
			seen++
		}
	}
	all.Wait()
}
