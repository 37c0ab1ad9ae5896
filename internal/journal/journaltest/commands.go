package journaltest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testEmpty(t *testing.T, f Fixture) {
	j := f.Journal
	if j.Partitions() < 2 {
		t.Fatalf("the suite needs 2 partitions, got %d", j.Partitions())
	}
	for p := range events.Partition(j.Partitions()) {
		if first, last := j.Bounds(p); first != 1 || last != 0 {
			t.Errorf("empty partition %d has bounds %d, %d; want 1, 0", p, first, last)
		}
	}
	holds, err := j.Holds("nobody")
	check(t, err)
	if holds != nil {
		t.Errorf("holds of an unknown reader: %v", holds)
	}
	for _, next := range []events.Seq{0, 1} {
		records, err := follow(t, j, journal.Position{Next: next}).TryNext(10)
		if err != nil || records != nil {
			t.Errorf("reading an empty log from %d: %v, %v", next, records, err)
		}
	}
	w := acquire(t, j, 0)
	if w.Last() != 0 || w.Take(10) != nil {
		t.Errorf("a fresh owner has last %d and commands", w.Last())
	}
}

func testCommandsInOrder(t *testing.T, f Fixture) {
	j := f.Journal
	for n := 1; n <= 5; n++ { // before there is an owner
		check(t, j.Send(signal(j, 1, n), nil))
	}
	w := acquire(t, j, 1)
	for n := 6; n <= 10; n++ {
		check(t, j.Send(completion(j, 1, n), nil))
	}
	for i, c := range takeAll(t, w, 10) {
		if c.N != uint64(i+1) {
			t.Fatalf("command %d came at place %d", c.N, i+1)
		}
	}
	if more := w.Take(1); more != nil {
		t.Fatalf("a command came twice: %v", more)
	}
}

func testTakeIsBounded(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	for n := 1; n <= 5; n++ {
		check(t, j.Send(completion(j, 0, n), nil))
	}
	check(t, w.Wait(bg(t)))
	if got := len(w.Take(2)); got > 2 {
		t.Fatalf("Take(2) returned %d commands", got)
	}
	if got := w.Take(0); got != nil {
		t.Fatalf("Take(0) returned %v", got)
	}
}

// outcomes collects calls of done.
type outcomes struct {
	mu    sync.Mutex
	order []uint64
	errs  map[uint64]error
	more  chan struct{}
}

func newOutcomes() *outcomes {
	return &outcomes{errs: map[uint64]error{}, more: make(chan struct{}, 1)}
}

func (o *outcomes) of(t *testing.T, n uint64) func(error) {
	return func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, twice := o.errs[n]; twice {
			t.Errorf("done of command %d was called twice", n)
		}
		o.errs[n] = err
		o.order = append(o.order, n)
		select {
		case o.more <- struct{}{}:
		default:
		}
	}
}

// wait waits until n outcomes are there and returns the order they came in.
func (o *outcomes) wait(t *testing.T, n int) []uint64 {
	t.Helper()
	ctx := bg(t)
	for {
		o.mu.Lock()
		order := append([]uint64(nil), o.order...)
		o.mu.Unlock()
		if len(order) >= n {
			return order
		}
		select {
		case <-o.more:
		case <-ctx.Done():
			t.Fatalf("done was called for %v only, want %d calls", order, n)
		}
	}
}

func (o *outcomes) get(n uint64) (err error, called bool) { //nolint:revive // the error is data here
	o.mu.Lock()
	defer o.mu.Unlock()
	err, called = o.errs[n]
	return err, called
}

func (o *outcomes) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.order)
}

func testDoneAfterRecord(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	for n := uint64(1); n <= 3; n++ {
		check(t, j.Send(signal(j, 0, int(n)), out.of(t, n)))
	}
	takeAll(t, w, 3)
	if out.count() != 0 {
		t.Fatal("done was called before any record was written")
	}
	durable := false
	reader := follow(t, j, journal.Position{Partition: 0})
	check(t, j.Send(signal(j, 0, 4), func(error) {
		_, last := j.Bounds(0)
		durable = last == 2
	}))
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: 2}))
	out.wait(t, 2)
	if _, called := out.get(3); called {
		t.Fatal("done was called for a command that no step has consumed")
	}
	takeAll(t, w, 1)
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: 2}))
	out.wait(t, 3)
	read(t, reader, 2)
	if !durable {
		t.Fatal("done was called while its record was not readable")
	}
}

func testDoneInOrderOnce(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	const count = 100
	for n := uint64(1); n <= count; n++ {
		check(t, j.Send(completion(j, 0, int(n)), out.of(t, n)))
	}
	for left := count; left > 0; {
		taken := takeAll(t, w, min(left, 7))
		check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: len(taken)}))
		left -= len(taken)
	}
	for i, n := range out.wait(t, count) {
		if n != uint64(i+1) {
			t.Fatalf("done number %d is of command %d", i+1, n)
		}
		if err, _ := out.get(n); err != nil {
			t.Fatalf("command %d: %v", n, err)
		}
	}
}

func testConsumeWithoutRecords(t *testing.T, f Fixture) {
	j := f.Journal
	w, out := acquire(t, j, 0), newOutcomes()
	check(t, j.Send(signal(j, 0, 1), out.of(t, 1)))
	takeAll(t, w, 1)
	check(t, w.Commit(bg(t), journal.Step{Consumed: 1}))
	out.wait(t, 1)
	if err, _ := out.get(1); err != nil {
		t.Fatalf("done(%v)", err)
	}
	if _, last := j.Bounds(0); last != 0 {
		t.Fatalf("last is %d after a step without records", last)
	}
	w.write(t, 1)
}

func testNilDone(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	check(t, j.Send(signal(j, 0, 1), nil))
	takeAll(t, w, 1)
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: 1}))
	check(t, j.Send(signal(j, 0, 2), nil))
	takeAll(t, w, 1)
	w.Release()
}

func testClientsAreBounded(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	n := 0
	for ; n < f.ClientLimit; n++ {
		check(t, j.Send(signal(j, 0, n), nil))
	}
	refused := func(error) { t.Error("done of a refused command was called") }
	wantErr(t, "one client command too many", j.Send(signal(j, 0, n), refused), journal.ErrFull)
	for range 3 { // what comes from inside is never refused
		check(t, j.Send(completion(j, 0, n), nil))
	}
	wantErr(t, "still too many", j.Send(signal(j, 0, n), refused), journal.ErrFull)
	check(t, j.Send(signal(j, 1, n), nil)) // the other partition has room

	taken := takeAll(t, w, f.ClientLimit+3)
	check(t, w.Commit(bg(t), journal.Step{Records: w.records(1), Consumed: len(taken)}))
	check(t, j.Send(signal(j, 0, n), nil))
}

func testWaitWakes(t *testing.T, f Fixture) {
	j := f.Journal
	w := acquire(t, j, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Wait after the context's end", w.Wait(ctx), context.Canceled)

	waited := make(chan error, 1)
	go func() { waited <- w.Wait(bg(t)) }()
	check(t, j.Send(signal(j, 1, 1), nil)) // of another partition
	check(t, j.Send(signal(j, 0, 1), nil))
	check(t, <-waited)
	if len(w.Take(10)) != 1 {
		t.Fatal("Wait returned without a command")
	}
}

func testPartitionsAreIndependent(t *testing.T, f Fixture) {
	j := f.Journal
	a, b := acquire(t, j, 0), acquire(t, j, 1)
	check(t, j.Send(signal(j, 0, 1), nil))
	check(t, j.Send(signal(j, 1, 2), nil))
	if c := takeAll(t, b, 1); c[0].N != 2 {
		t.Fatalf("partition 1 got command %d", c[0].N)
	}
	a.write(t, 3)
	b.Release()
	a.write(t, 2)
	if _, last := j.Bounds(0); last != 5 {
		t.Fatalf("partition 0 ends at %d, want 5", last)
	}
	if _, last := j.Bounds(1); last != 0 {
		t.Fatalf("partition 1 ends at %d, want 0", last)
	}
}

func isLost(err error) bool { return errors.Is(err, journal.ErrLost) }
