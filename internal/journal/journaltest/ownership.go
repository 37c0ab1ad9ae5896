package journaltest

import (
	"context"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testAcquireFences(t *testing.T, f Fixture) {
	j := f.Journal
	old, out := acquire(t, j, 0), newOutcomes()
	old.write(t, 3)
	for n := uint64(1); n <= 4; n++ {
		check(t, j.Send(signal(j, 0, int(n)), out.of(t, n)))
	}
	takeAll(t, old, 4) // 5 stays for the next owner
	check(t, j.Send(signal(j, 0, 5), out.of(t, 5)))

	w := acquire(t, j, 0)
	if w.Epoch() <= old.Epoch() {
		t.Fatalf("epoch %d follows epoch %d", w.Epoch(), old.Epoch())
	}
	if w.Last() != 3 {
		t.Fatalf("the new owner begins after %d, want 3", w.Last())
	}
	if !j.Features().CommandsLogged {
		for n := uint64(1); n <= 4; n++ {
			out.wait(t, int(n))
			if err, _ := out.get(n); !isLost(err) {
				t.Fatalf("done(%v) for command %d, which the former owner had taken; want ErrLost", err, n)
			}
		}
		if c := takeAll(t, w, 1); c[0].N != 5 {
			t.Fatalf("the new owner got command %d, want 5", c[0].N)
		}
	}
	late := old.record("late")
	wantErr(t, "Commit of a former owner", old.Commit(bg(t), journal.Step{Records: []*events.Record{late}}), journal.ErrLost)
	wantErr(t, "empty Commit of a former owner", old.Commit(bg(t), journal.Step{}), journal.ErrLost)
	wantErr(t, "Wait of a former owner", old.Wait(bg(t)), journal.ErrLost)
	if c := old.Take(10); c != nil {
		t.Fatalf("a former owner took %v", c)
	}
	old.Release() // changes nothing for the new owner
	want := w.write(t, 2)
	sameRecords(t, read(t, follow(t, j, journal.Position{Next: 4}), 2), want)
}

func testRelease(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	check(t, j.Send(signal(j, 0, 1), out.of(t, 1)))
	check(t, j.Send(signal(j, 0, 2), out.of(t, 2)))
	takeAll(t, w, 1)
	w.Release()
	w.Release()
	if !j.Features().CommandsLogged {
		out.wait(t, 1)
		if err, _ := out.get(1); !isLost(err) {
			t.Fatalf("done(%v) after Release, want ErrLost", err)
		}
		if _, called := out.get(2); called {
			t.Fatal("a command that nobody took is done")
		}
	}
	wantErr(t, "Commit after Release", w.Commit(bg(t), journal.Step{Records: w.records(1)}), journal.ErrLost)
	wantErr(t, "Wait after Release", w.Wait(bg(t)), journal.ErrLost)
	next := acquire(t, j, 0)
	if next.Epoch() <= w.Epoch() || next.Last() != 0 {
		t.Fatalf("after Release: epoch %d after %d, last %d", next.Epoch(), w.Epoch(), next.Last())
	}
	takeAll(t, next, 1)
}

func testWrongSteps(t *testing.T, f Fixture) {
	j := f.Journal
	steps := map[string]func(w *writer) journal.Step{
		"gap": func(w *writer) journal.Step {
			w.next++
			return journal.Step{Records: w.records(1)}
		},
		"repeated seq": func(w *writer) journal.Step {
			w.next--
			return journal.Step{Records: w.records(1)}
		},
		"gap inside": func(w *writer) journal.Step {
			rs := w.records(3)
			return journal.Step{Records: []*events.Record{rs[0], rs[2]}}
		},
		"other partition": func(w *writer) journal.Step {
			rs := w.records(1)
			rs[0].Partition++
			return journal.Step{Records: rs}
		},
		"other epoch": func(w *writer) journal.Step {
			rs := w.records(1)
			rs[0].Epoch++
			return journal.Step{Records: rs}
		},
		"consumes what was not taken": func(w *writer) journal.Step {
			return journal.Step{Records: w.records(1), Consumed: 1}
		},
	}
	want := acquire(t, j, 0).write(t, 1)
	for name, step := range steps {
		w := acquire(t, j, 0)
		wantErr(t, name, w.Commit(bg(t), step(w)), journal.ErrLost)
		wantErr(t, "after "+name, w.Commit(bg(t), journal.Step{}), journal.ErrLost)
	}
	want = append(want, acquire(t, j, 0).write(t, 1)...)
	sameRecords(t, read(t, follow(t, j, journal.Position{}), 2), want)
	if _, last := j.Bounds(0); last != 2 {
		t.Fatalf("a refused step left records: last is %d, want 2", last)
	}
}

func testCancelledCommit(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Commit with an ended context", w.Commit(ctx, journal.Step{Records: w.records(1)}), journal.ErrLost)
	wantErr(t, "Commit after an unknown outcome", w.Commit(bg(t), journal.Step{}), journal.ErrLost)
	next := acquire(t, j, 0)
	want := next.write(t, 1)
	all := read(t, follow(t, j, journal.Position{}), int(next.Last())+1)
	sameRecords(t, all[next.Last():], want)
}

// testTakeOver lets owners commit as fast as they can while the next one takes over: what an owner was told is durable is in
// the log, and nothing of it follows what its successor has written.
func testTakeOver(t *testing.T, f Fixture) {
	j := f.Journal
	const owners, most = 20, 300 // commits of one owner: the log stays short however slow the machine
	var all sync.WaitGroup
	durable := make([][]events.Seq, owners)
	epochs := make([]uint64, owners)
	begin := make([]events.Seq, owners)
	for n := range owners {
		w := acquire(t, j, 0)
		epochs[n], begin[n] = w.Epoch(), w.Last()
		busy := make(chan struct{})
		all.Go(func() {
			for turn := range most {
				records := w.records(1)
				if err := w.Commit(context.WithoutCancel(t.Context()), journal.Step{Records: records}); err != nil {
					if !isLost(err) {
						t.Errorf("Commit: %v", err)
					}
					return
				}
				durable[n] = append(durable[n], records[0].Seq)
				if turn == 3 {
					close(busy)
				}
				if n == owners-1 && turn == 10 {
					return // nobody follows
				}
			}
		})
		select {
		case <-busy:
		case <-bg(t).Done():
			t.Fatal("an owner cannot commit")
		}
	}
	all.Wait()
	_, last := j.Bounds(0)
	log := read(t, follow(t, j, journal.Position{}), int(last))
	for i, r := range log {
		if i > 0 && r.Epoch < log[i-1].Epoch {
			t.Fatalf("record %d of epoch %d follows epoch %d", r.Seq, r.Epoch, log[i-1].Epoch)
		}
	}
	for n, seqs := range durable {
		for _, seq := range seqs {
			if log[seq-1].Epoch != epochs[n] || seq <= begin[n] {
				t.Fatalf("record %d of epoch %d is acknowledged and in the log there is one of epoch %d", seq, epochs[n], log[seq-1].Epoch)
			}
		}
	}
}
