package brokerlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testSeveralAppenders(t *testing.T, f Fixture) {
	const each = 40
	var group sync.WaitGroup
	logs := []brokerlog.Log{f.Log, f.Log, f.Another(t)}
	for n, l := range logs {
		a := appender(t, l, brokerlog.Events, 0)
		group.Go(func() { appendAll(t, a, names(fmt.Sprint(n), 1, each)...) })
	}
	group.Wait()
	next := make([]int, len(logs))
	for _, m := range read(t, reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), each*len(logs)) {
		var who, n int
		if _, err := fmt.Sscanf(string(m.Body), "%d-%d", &who, &n); err != nil {
			t.Fatal(err)
		}
		if next[who]++; n != next[who] {
			t.Fatalf("message %d of appender %d came where %d was due", n, who, next[who])
		}
	}
}

func testDone(t *testing.T, f Fixture) {
	const count = 1000
	a := appender(t, f.Log, brokerlog.Commands, 0)
	var mu sync.Mutex
	var order []int
	all := make(chan struct{})
	var calling sync.Mutex // would deadlock if done were called from within Append
	for n := range count {
		if n < f.MaxPending/2 {
			calling.Lock()
		}
		a.Append(bg(t), fmt.Append(nil, n), func(err error) {
			if err != nil {
				t.Errorf("append %d: %v", n, err)
			}
			calling.Lock()
			defer calling.Unlock()
			mu.Lock()
			defer mu.Unlock()
			if order = append(order, n); len(order) == count {
				close(all)
			}
		})
		if n < f.MaxPending/2 {
			calling.Unlock()
		}
	}
	select {
	case <-all:
	case <-bg(t).Done():
		t.Fatal("not all outcomes came")
	}
	mu.Lock()
	defer mu.Unlock()
	for i, n := range order {
		if i != n {
			t.Fatalf("outcome %d is of append %d", i, n)
		}
	}
}

func testBodies(t *testing.T, f Fixture) {
	big := bytes.Repeat([]byte{0, 1, 2, 3, 254, 255, '\n'}, brokerlog.MaxMessageBytes/7+1)[:brokerlog.MaxMessageBytes]
	for _, topic := range brokerlog.Topics() {
		want := []string{"\x00", "a", string(big), "b"}
		write(t, f.Log, topic, 1, want...)
		sameBodies(t, read(t, reader(t, f.Another(t), topic, 1, fold.Position{}), len(want)), want)
	}
}

func testTooBig(t *testing.T, f Fixture) {
	a := appender(t, f.Log, brokerlog.Events, 0)
	outcome := make(chan error, 1)
	a.Append(bg(t), make([]byte, brokerlog.MaxMessageBytes+1), func(err error) { outcome <- err })
	if err := await(t, outcome); err == nil {
		t.Fatal("a message above the limit was taken")
	}
	write(t, f.Log, brokerlog.Events, 0, "after")
	sameBodies(t, read(t, reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), 1), []string{"after"})
}

// testAppendBlocks fills what may be on its way while the broker answers nobody.
func testAppendBlocks(t *testing.T, f Fixture) {
	if f.Stall == nil {
		t.Skip("this broker cannot be stalled")
	}
	a := appender(t, f.Log, brokerlog.Events, 0)
	appendAll(t, a, "first")
	resume := f.Stall(t)
	defer resume()
	outcomes := make(chan error, f.MaxPending)
	for n := range f.MaxPending {
		a.Append(bg(t), fmt.Append(nil, n), func(err error) { outcomes <- err })
	}
	ctx, cancel := context.WithTimeout(bg(t), 100*time.Millisecond)
	defer cancel()
	refused := make(chan error, 1)
	a.Append(ctx, []byte("too many"), func(err error) { refused <- err })
	wantErr(t, "one message too many", await(t, refused), context.DeadlineExceeded)
	if len(outcomes) > 0 {
		t.Fatalf("%d outcomes of a broker that answers nobody", len(outcomes))
	}
	resume()
	for range f.MaxPending {
		check(t, await(t, outcomes))
	}
	appendAll(t, a, "last")
}

func testWrongPartition(t *testing.T, f Fixture) {
	p := events.Partition(f.Log.Partitions())
	if _, err := f.Log.Appender(bg(t), brokerlog.Events, p); err == nil {
		t.Error("an appender for a partition that is not there")
	}
	if _, err := f.Log.Read(bg(t), brokerlog.Events, p, fold.Position{}); err == nil {
		t.Error("a reader of a partition that is not there")
	}
	if _, err := f.Log.End(bg(t), brokerlog.Events, p); err == nil {
		t.Error("the end of a partition that is not there")
	}
	if err := f.Log.Keep(bg(t), brokerlog.Events, p, "reader", fold.Position{}); err == nil {
		t.Error("a hold in a partition that is not there")
	}
}

func testAppenderClose(t *testing.T, f Fixture) {
	a, other := appender(t, f.Log, brokerlog.Events, 0), appender(t, f.Log, brokerlog.Events, 0)
	const count = 50
	outcomes := make(chan error, count)
	for n := range count {
		a.Append(bg(t), fmt.Append(nil, n), func(err error) { outcomes <- err })
	}
	a.Close()
	a.Close()
	for range count {
		if err := await(t, outcomes); err != nil && !errors.Is(err, brokerlog.ErrClosed) {
			t.Fatalf("outcome of what was on its way: %v", err)
		}
	}
	late := make(chan error, 1)
	a.Append(bg(t), []byte("late"), func(err error) { late <- err })
	wantErr(t, "append to a closed appender", await(t, late), brokerlog.ErrClosed)
	appendAll(t, other, "other")
}

func testLogClose(t *testing.T, f Fixture) {
	l := f.Another(t)
	a, r := appender(t, l, brokerlog.Events, 0), reader(t, l, brokerlog.Events, 0, fold.Position{})
	next := make(chan error, 1)
	go func() {
		_, err := r.Next(bg(t), 1)
		next <- err
	}()
	check(t, l.Close())
	wantErr(t, "Next of a closed log", await(t, next), brokerlog.ErrClosed)
	late := make(chan error, 1)
	a.Append(bg(t), []byte("late"), func(err error) { late <- err })
	wantErr(t, "Append to a closed log", await(t, late), brokerlog.ErrClosed)
	_, err := l.Appender(bg(t), brokerlog.Events, 0)
	wantErr(t, "Appender of a closed log", err, brokerlog.ErrClosed)
	_, err = l.Read(bg(t), brokerlog.Events, 0, fold.Position{})
	wantErr(t, "Read of a closed log", err, brokerlog.ErrClosed)
	_, err = l.End(bg(t), brokerlog.Events, 0)
	wantErr(t, "End of a closed log", err, brokerlog.ErrClosed)
	wantErr(t, "Keep in a closed log", l.Keep(bg(t), brokerlog.Events, 0, "reader", fold.Position{}), brokerlog.ErrClosed)
	wantErr(t, "Drop in a closed log", l.Drop(bg(t), "reader"), brokerlog.ErrClosed)
	check(t, l.Close())
	write(t, f.Log, brokerlog.Events, 0, "other")
}
