package brokerlogtest

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testEmpty(t *testing.T, f Fixture) {
	for _, topic := range brokerlog.Topics() {
		for p := range events.Partition(2) {
			end, err := f.Log.End(bg(t), topic, p)
			check(t, err)
			if !end.IsZero() {
				t.Errorf("partition %d of %s is empty and ends at %v", p, topic, end)
			}
		}
	}
	quiet(t, reader(t, f.Log, brokerlog.Events, 0, fold.Position{}))
	check(t, f.Log.Drop(bg(t), "nobody"))
}

func testOrderAndPositions(t *testing.T, f Fixture) {
	want := names("m", 1, 100)
	live := reader(t, f.Another(t), brokerlog.Events, 0, fold.Position{})
	write(t, f.Log, brokerlog.Events, 0, want...)
	first := read(t, live, len(want))
	sameBodies(t, first, want)
	end, err := f.Log.End(bg(t), brokerlog.Events, 0)
	check(t, err)
	if last := first[len(first)-1].At; end != last {
		t.Fatalf("the log ends at %v, its last message is at %v", end, last)
	}
	second := read(t, reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), len(want))
	for i := range first {
		if first[i].At != second[i].At {
			t.Fatalf("message %d is at %v for one reader and at %v for another", i, first[i].At, second[i].At)
		}
	}
}

func testReadFromEveryPosition(t *testing.T, f Fixture) {
	for _, topic := range []brokerlog.Topic{brokerlog.Events, brokerlog.Commands} {
		want := names("m", 1, 20)
		write(t, f.Log, topic, 0, want...)
		for i, m := range read(t, reader(t, f.Log, topic, 0, fold.Position{}), len(want)) {
			r := reader(t, f.Log, topic, 0, m.At)
			rest := want[i+1:]
			sameBodies(t, read(t, r, len(rest)), rest)
			if i == len(want)-1 {
				quiet(t, r)
				write(t, f.Another(t), topic, 0, "new")
				sameBodies(t, read(t, r, 1), []string{"new"})
			}
			r.Close()
		}
	}
}

func testNextWaits(t *testing.T, f Fixture) {
	r := reader(t, f.Log, brokerlog.Commands, 0, fold.Position{})
	cancelled, cancel := context.WithCancel(bg(t))
	cancel()
	_, err := r.Next(cancelled, 1)
	wantErr(t, "Next after the context's end", err, context.Canceled)
	quiet(t, r)
	type answer struct {
		messages []fold.Message
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		messages, err := r.Next(bg(t), 10)
		got <- answer{messages, err}
	}()
	write(t, f.Another(t), brokerlog.Commands, 0, "a")
	select {
	case a := <-got:
		check(t, a.err)
		sameBodies(t, a.messages, []string{"a"})
	case <-bg(t).Done():
		t.Fatal("Next did not return")
	}
}

func testApart(t *testing.T, f Fixture) {
	for _, topic := range brokerlog.Topics() {
		for p := range events.Partition(2) {
			write(t, f.Log, topic, p, names(string(topic), int(p)*10, int(p)*10+3)...)
		}
	}
	for _, topic := range brokerlog.Topics() {
		for p := range events.Partition(2) {
			r := reader(t, f.Log, topic, p, fold.Position{})
			sameBodies(t, read(t, r, 4), names(string(topic), int(p)*10, int(p)*10+3))
			quiet(t, r)
		}
	}
}

func testAhead(t *testing.T, f Fixture) {
	empty := fold.Position{Segment: 1 << 40, Entry: 1}
	_, err := f.Log.Read(bg(t), brokerlog.Events, 1, empty)
	wantErr(t, "Read behind the end of an empty log", err, brokerlog.ErrAhead)

	write(t, f.Log, brokerlog.Events, 0, names("m", 1, 10)...)
	end, err := f.Log.End(bg(t), brokerlog.Events, 0)
	check(t, err)
	for _, from := range []fold.Position{
		{Segment: end.Segment, Entry: end.Entry + 1}, {Segment: end.Segment, Entry: end.Entry + 1000}, {Segment: end.Segment + 1000},
	} {
		_, err := f.Log.Read(bg(t), brokerlog.Events, 0, from)
		wantErr(t, "Read behind the end", err, brokerlog.ErrAhead)
	}
}

func testReaderClose(t *testing.T, f Fixture) {
	r, other := reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), reader(t, f.Log, brokerlog.Events, 0, fold.Position{})
	next := make(chan error, 1)
	go func() {
		_, err := r.Next(bg(t), 1)
		next <- err
	}()
	r.Close()
	wantErr(t, "Next of a closed reader", await(t, next), brokerlog.ErrClosed)
	r.Close()
	write(t, f.Log, brokerlog.Events, 0, "a")
	_, err := r.Next(bg(t), 1)
	wantErr(t, "Next of a closed reader", err, brokerlog.ErrClosed)
	sameBodies(t, read(t, other, 1), []string{"a"})
}
