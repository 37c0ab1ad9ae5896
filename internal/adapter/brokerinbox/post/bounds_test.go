package post

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// pair are a gateway and another process, on one partition.
type pair struct {
	t           *testing.T
	gate, other *Core
}

func newPair(t *testing.T, delivers bool) pair {
	t.Helper()
	p := pair{t, New(Config{Life: 1, Process: 1, Partitions: 1, Silence: 4}), New(Config{Life: 2, Process: 2, Partitions: 1, Delivers: delivers, Silence: 4})}
	p.gate.Begin()
	p.other.Begin()
	p.check(p.gate.Open(7))
	p.run()
	return p
}

func (p pair) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// run passes messages on until there are none, and returns the largest.
func (p pair) run() (largest int) {
	for busy := true; busy; {
		busy = false
		for _, from := range []*Core{p.gate, p.other} {
			for body, _ := from.Next(0); body != nil; body, _ = from.Next(0) {
				busy, largest = true, max(largest, len(body))
				p.gate.Read(0, body)
				p.other.Read(0, body)
			}
		}
	}
	return largest
}

func joined(id events.WorkerID, slots int) inbox.Report {
	return inbox.Report{
		Session: 7, Joined: []inbox.Worker{{Session: 7, ID: id, TaskSlots: slots}}, Credits: []inbox.Credit{{Worker: id, Tasks: slots}},
	}
}

func TestIdleFollowerIsBounded(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	p.check(p.gate.Report(joined("w", 1)))
	p.run()
	f := p.other.Follow()
	for range 3 * ReportLimit {
		p.check(p.gate.Report(inbox.Report{Session: 7, Credits: []inbox.Credit{{Worker: "w", Tasks: 1}}}))
		p.run()
	}
	credits, waited := 0, f.Waiting()
	for _, r := range f.Take(waited) {
		if r.Gone {
			credits = 0
		}
		for _, c := range r.Credits {
			credits += c.Tasks
		}
	}
	if waited > ReportLimit+2 || credits != 1+3*ReportLimit {
		t.Errorf("%d reports waited, and they tell of %d places", waited, credits)
	}
}

func TestReportsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	f := p.other.Follow()
	p.check(p.gate.Report(joined("w", 1)))
	p.run()
	const count = 300_000
	for n := range count { // the broker takes nothing
		p.check(p.gate.Report(inbox.Report{Session: 7, Credits: []inbox.Credit{{Worker: "w", Tasks: 1}}, Refused: []inbox.Running{{Worker: "w", Step: events.Step(n)}}}))
		if waits := p.gate.parts[0].out.bytes; waits > maxQueueBytes+1000 {
			t.Fatalf("%d bytes wait after %d reports", waits, n)
		}
	}
	p.run()
	credits := 0
	for f.Waiting() > 0 {
		for _, r := range f.Take(1000) {
			if r.Gone {
				credits = 0
			}
			for _, c := range r.Credits {
				credits += c.Tasks
			}
		}
	}
	if credits != 1+count {
		t.Errorf("the follower knows of %d places, want %d", credits, 1+count)
	}
}

func TestLargeStateComesInPieces(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	r := joined("w", 10)
	const count = 100_000
	for n := range count {
		r.Live = append(r.Live, inbox.Live{Worker: "w", RunID: events.RunID{byte(n), byte(n >> 8), byte(n >> 16)}})
	}
	p.check(p.gate.Report(r))
	largest := p.run()
	f := p.other.Follow()
	largest = max(largest, p.run())
	reports := f.Take(10)
	if len(reports) != 1 || len(reports[0].Live) != count || reports[0].Credits[0].Tasks != 10 {
		t.Fatalf("%d reports, want one with everything", len(reports))
	}
	if largest > maxItemBytes+1000 {
		t.Errorf("a message has %d bytes", largest)
	}
}

func TestLargeDeliveries(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.check(p.gate.Report(joined("w", 100)))
	p.run()
	input := func(size int) inbox.Delivery {
		return inbox.Delivery{Worker: "w", Number: 1, Task: &events.OpenTask{
			Task: events.TaskID{Step: 1}, Attempt: 1, Call: &events.TaskScheduled{Step: 1, Input: events.Payload{Data: bytes.Repeat([]byte("x"), size)}},
		}}
	}
	var all []inbox.Delivery
	for range 20 {
		all = append(all, input(100<<10))
	}
	p.check(p.other.Deliver(7, append(all, input(maxItemBytes))))
	if largest := p.run(); largest > maxItemBytes+1000 {
		t.Errorf("a message has %d bytes", largest)
	}
	mail := p.gate.TakeMail(7, 100)
	if len(mail) != 21 || mail[0].Task.Call == nil || mail[20].Task.Call != nil {
		t.Fatalf("%d deliveries came; the one that is too large comes without its input", len(mail))
	}
	long := input(1)
	long.Task.WorkflowID = events.WorkflowID(bytes.Repeat([]byte("x"), 2*maxItemBytes))
	if err := p.other.Deliver(7, []inbox.Delivery{long}); err == nil || errors.Is(err, inbox.ErrFull) || errors.Is(err, inbox.ErrGone) {
		t.Errorf("a delivery that fits into no message: %v", err)
	}
	if err := p.gate.Deliver(7, nil); err == nil || errors.Is(err, inbox.ErrGone) {
		t.Errorf("a delivery of a process that does not deliver: %v", err)
	}
}

// TestWorkerIsWhereItJoinedLast: a session whose worker has moved does not tell of it any more.
func TestWorkerIsWhereItJoinedLast(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.check(p.other.Open(8))
	for _, session := range []events.SessionID{7, 8, 7} {
		core := p.gate
		if session == 8 {
			core = p.other
		}
		p.check(core.Report(inbox.Report{Session: session, Joined: []inbox.Worker{{Session: session, ID: "w"}}}))
		p.run()
	}
	f := p.other.Follow()
	p.run()
	at := ""
	for _, r := range f.Take(10) {
		for _, w := range r.Joined {
			at += fmt.Sprint(w.Session)
		}
	}
	if at != "7" {
		t.Errorf("the worker is in sessions %q; it joined 7 last", at)
	}
}
