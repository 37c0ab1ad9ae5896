package journaltest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testClose(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	w.write(t, 2)
	reader := follow(t, j, journal.Position{Next: 3})
	next, wait := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := reader.Next(bg(t), 1)
		next <- err
	}()
	other := acquire(t, j, 1)
	go func() { wait <- other.Wait(bg(t)) }()
	for n := uint64(1); n <= 3; n++ {
		check(t, j.Send(signal(j, 0, int(n)), out.of(t, n)))
	}
	takeAll(t, w, 1)
	f.Close()
	wantErr(t, "Next of a closed journal", <-next, journal.ErrClosed)
	wantErr(t, "Wait of a closed journal", <-wait, journal.ErrClosed, journal.ErrLost)
	if !j.Features().CommandsLogged {
		for i, n := range out.wait(t, 3) {
			if err, _ := out.get(n); !isLost(err) || n != uint64(i+1) {
				t.Fatalf("done number %d is of command %d with %v; want order and ErrLost", i+1, n, err)
			}
		}
	}
	refused := func(error) { t.Error("done of a refused command was called") }
	wantErr(t, "Send of a client to a closed journal", j.Send(signal(j, 0, 9), refused), journal.ErrClosed)
	wantErr(t, "Send from inside to a closed journal", j.Send(completion(j, 0, 9), refused), journal.ErrClosed)
	wantErr(t, "Commit to a closed journal", w.Commit(bg(t), journal.Step{Records: w.records(1)}), journal.ErrClosed, journal.ErrLost)
	_, err := j.Acquire(bg(t), 0)
	wantErr(t, "Acquire of a closed journal", err, journal.ErrClosed)
	_, err = j.Follow(bg(t), []journal.Position{{}})
	wantErr(t, "Follow of a closed journal", err, journal.ErrClosed)
	w.Release()
}

func testCrashKeepsRecords(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	want := w.write(t, 20)
	other := acquire(t, j, 1).write(t, 3)
	check(t, j.Send(signal(j, 0, 1), out.of(t, 1)))
	takeAll(t, w, 1)
	check(t, j.Send(signal(j, 0, 2), out.of(t, 2)))

	j2 := f.Crash(t)
	if j2.Partitions() != j.Partitions() {
		t.Fatalf("%d partitions became %d", j.Partitions(), j2.Partitions())
	}
	bounds(t, j2, 0, 1, 20)
	sameRecords(t, read(t, follow(t, j2, journal.Position{}), 20), want)
	sameRecords(t, read(t, follow(t, j2, journal.Position{Partition: 1}), 3), other)
	next := acquire(t, j2, 0)
	if next.Epoch() <= w.Epoch() {
		t.Fatalf("epoch %d follows epoch %d", next.Epoch(), w.Epoch())
	}
	if next.ID() == w.ID() {
		t.Fatal("two lives of a process have one owner id")
	}
	if next.Last() != 20 {
		t.Fatalf("last is %d, want 20", next.Last())
	}
	if !j.Features().CommandsLogged && next.Take(10) != nil {
		t.Fatal("a command that was never logged came back")
	}
	if err, called := out.get(1); called && err == nil && !j.Features().CommandsLogged {
		t.Fatal("a command without a record is done")
	}
	next.write(t, 1)
	bounds(t, j2, 0, 1, 21)
}

// testCrashKeepsCommands: commands that were logged come to the next owner until a step with records has handled them.
func testCrashKeepsCommands(t *testing.T, f Fixture) {
	j, out := f.Journal, newOutcomes()
	for n := uint64(1); n <= 6; n++ {
		check(t, j.Send(signal(j, 0, int(n)), out.of(t, n)))
	}
	for i, n := range out.wait(t, 6) {
		if err, _ := out.get(n); err != nil || n != uint64(i+1) {
			t.Fatalf("done number %d is of command %d with %v", i+1, n, err)
		}
	}
	expect := func(o journal.Owner, from, to uint64) {
		t.Helper()
		for i, c := range takeAll(t, o, int(to-from)+1) {
			if c.N != from+uint64(i) {
				t.Fatalf("command %d came where %d was due", c.N, from+uint64(i))
			}
		}
	}
	w := acquire(t, j, 0)
	expect(w, 1, 4)
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: 2}))
	w.Release()
	w = acquire(t, j, 0)
	expect(w, 3, 6)
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: 3}))

	next := acquire(t, f.Crash(t), 0)
	expect(next, 6, 6)
	if more := next.Take(1); more != nil {
		t.Fatalf("a handled command came again: %v", more)
	}
}

func testCrashKeepsHoldsAndBounds(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	w.write(t, 10)
	check(t, j.Hold("reader", []journal.Position{{Next: 6}}))
	check(t, j.Trim(0, 9))
	w.write(t, 1) // makes both durable

	j2 := f.Crash(t)
	bounds(t, j2, 0, 6, 11)
	holds, err := j2.Holds("reader")
	check(t, err)
	if len(holds) != 1 || holds[0] != (journal.Position{Next: 6}) {
		t.Fatalf("holds are %v, want 6", holds)
	}
	check(t, j2.Trim(0, 9))
	bounds(t, j2, 0, 6, 11)
	check(t, j2.Hold("reader", nil))
	check(t, j2.Trim(0, 100))
	acquire(t, j2, 0).write(t, 1)
	bounds(t, j2, 0, 12, 12)
}

// testUnderLoad lets senders, owners that take over from each other and a reader work at the same time: what is done is in
// the log once, what was refused is not.
func testUnderLoad(t *testing.T, f Fixture) {
	j := f.Journal
	const senders, each, partitions = 8, 60, 2
	ctx, stop := context.WithCancel(bg(t))
	defer stop()

	var owners, workers sync.WaitGroup
	for p := range events.Partition(partitions) {
		owners.Go(func() { ownPartition(ctx, t, j, p) })
	}
	results := make([]map[string]error, senders)
	for s := range senders {
		results[s] = map[string]error{}
		workers.Go(func() {
			for n := range each {
				name := fmt.Sprintf("%d-%d", s, n)
				command := completion(j, events.Partition(n%partitions), n)
				command.RequestID = events.RequestID(name)
				done := make(chan error, 1)
				if err := j.Send(command, func(err error) { done <- err }); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
				results[s][name] = <-done
			}
		})
	}
	workers.Wait()
	stop()
	owners.Wait()

	logged := map[string]int{}
	for p := range events.Partition(partitions) {
		_, last := j.Bounds(p)
		for _, r := range read(t, follow(t, j, journal.Position{Partition: p}), int(last)) {
			for _, a := range r.Answers {
				logged[string(a.RequestID)]++
			}
		}
	}
	for _, result := range results {
		for name, err := range result {
			switch n := logged[name]; {
			case err == nil && n != 1:
				t.Errorf("command %s is done and %d times in the log", name, n)
			case err != nil && !isLost(err):
				t.Errorf("command %s: %v", name, err)
			case n > 1:
				t.Errorf("command %s is %d times in the log", name, n)
			}
		}
	}
}

// ownPartition answers commands, gives up its ownership every now and then and begins anew.
func ownPartition(ctx context.Context, t *testing.T, j journal.Journal, p events.Partition) {
	var epoch uint64
	for ctx.Err() == nil {
		o, err := j.Acquire(ctx, p)
		if err != nil {
			return
		}
		if o.Epoch() <= epoch {
			t.Errorf("epoch %d follows epoch %d", o.Epoch(), epoch)
		}
		epoch = o.Epoch()
		w := &writer{Owner: o, partition: p, next: o.Last() + 1, number: 1}
		for turn := range 10 {
			if o.Wait(ctx) != nil {
				break
			}
			taken := o.Take(4)
			if turn == 9 {
				break // with commands taken and not answered
			}
			r := w.record()
			for _, c := range taken {
				r.Answers = append(r.Answers, events.Answer{RequestID: c.RequestID, Code: events.OK})
			}
			if err := o.Commit(context.WithoutCancel(ctx), journal.Step{Records: []*events.Record{r}, Consumed: len(taken)}); err != nil {
				t.Errorf("Commit: %v", err)
			}
		}
	}
}
