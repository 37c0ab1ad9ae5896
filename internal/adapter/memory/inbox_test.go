package memory_test

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/inboxtest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestInbox(t *testing.T) {
	t.Parallel()
	inboxtest.Test(t, func(*testing.T) inbox.Inbox { return memory.NewInbox() })
}

// TestIdleFollowerIsBounded reports for ever to a follower that takes nothing: it gets the present state in the end.
func TestIdleFollowerIsBounded(t *testing.T) {
	t.Parallel()
	i := memory.NewInbox()
	ctx := context.Background()
	for _, id := range []events.SessionID{1, 2} {
		if _, err := i.Open(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	f, err := i.Reports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	report := func(r inbox.Report) {
		t.Helper()
		if err := i.Report(r); err != nil {
			t.Fatal(err)
		}
	}
	report(inbox.Report{Session: 1, Joined: []inbox.Worker{{Session: 1, ID: "w"}}})
	report(inbox.Report{Session: 2, Joined: []inbox.Worker{{Session: 2, ID: "v"}}})
	const count = 25_000
	for range count {
		report(inbox.Report{Session: 1, Credits: []inbox.Credit{{Worker: "w", Tasks: 1}}})
	}
	report(inbox.Report{Session: 2, Gone: true})

	reports := f.Take(1_000_000)
	if len(reports) > 11_000 {
		t.Fatalf("%d reports wait for one follower", len(reports))
	}
	credit, present := 0, map[events.SessionID]bool{1: true, 2: true}
	for _, r := range reports {
		if r.Gone {
			delete(present, r.Session)
			if r.Session == 1 {
				credit = 0
			}
		}
		for _, w := range r.Joined {
			present[w.Session] = true
		}
		for _, c := range r.Credits {
			credit += c.Tasks
		}
	}
	if credit != count || !present[1] || present[2] {
		t.Fatalf("the follower knows %d credits of %d and sessions %v", credit, count, present)
	}
}

// TestWorkerIsWhereItJoinedLast: of a worker that moved between sessions, a follower that begins later sees the last one.
func TestWorkerIsWhereItJoinedLast(t *testing.T) {
	t.Parallel()
	i := memory.NewInbox()
	ctx := context.Background()
	for _, id := range []events.SessionID{1, 2} {
		if _, err := i.Open(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []events.SessionID{1, 2, 1} {
		if err := i.Report(inbox.Report{Session: id, Joined: []inbox.Worker{{Session: id, ID: "w"}}}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := i.Reports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var at []events.SessionID
	for _, r := range f.Take(10) {
		for _, w := range r.Joined {
			at = append(at, w.Session)
		}
	}
	if len(at) != 1 || at[0] != 1 {
		t.Errorf("the worker is in sessions %v; it joined 1 last", at)
	}
}
