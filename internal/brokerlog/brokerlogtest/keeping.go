package brokerlogtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
)

// twice writes messages 1 … 10 and 11 … 20 with a chance for the broker to separate them, for one that forgets in large
// pieces, and returns their positions from index 1.
func twice(t *testing.T, f Fixture) []fold.Position {
	t.Helper()
	write(t, f.Log, brokerlog.Events, 0, names("m", 1, 10)...)
	f.trim(t, brokerlog.Events, 0)
	write(t, f.Log, brokerlog.Events, 0, names("m", 11, 20)...)
	at := []fold.Position{{}}
	for _, m := range read(t, reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), 20) {
		at = append(at, m.At)
	}
	return at
}

// continues checks that reading goes on behind message n of those that [twice] wrote.
func continues(t *testing.T, f Fixture, at []fold.Position, n int) {
	t.Helper()
	r := reader(t, f.Log, brokerlog.Events, 0, at[n])
	sameBodies(t, read(t, r, 20-n), names("m", n+1, 20))
	r.Close()
}

func refused(t *testing.T, f Fixture, from fold.Position) {
	t.Helper()
	_, err := f.Log.Read(bg(t), brokerlog.Events, 0, from)
	wantErr(t, fmt.Sprintf("Read from the trimmed position %v", from), err, brokerlog.ErrTrimmed)
}

func keep(t *testing.T, f Fixture, name string, behind fold.Position) {
	t.Helper()
	check(t, f.Log.Keep(bg(t), brokerlog.Events, 0, name, behind))
}

func testNoHold(t *testing.T, f Fixture) {
	at := twice(t, f)
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 0)
	keep(t, f, "a", fold.Position{})
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 0)
	check(t, f.Log.Drop(bg(t), "a"))
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 0)
}

func testHoldsKeep(t *testing.T, f Fixture) {
	at := twice(t, f)
	keep(t, f, "slow", at[10]) // the last of its piece
	keep(t, f, "fast", at[20])
	f.trim(t, brokerlog.Events, 0)
	for _, n := range []int{10, 11, 15, 20} {
		continues(t, f, at, n)
	}
	check(t, f.Another(t).Keep(bg(t), brokerlog.Events, 0, "slow", at[15]))
	f.trim(t, brokerlog.Events, 0)
	for _, n := range []int{15, 20} {
		continues(t, f, at, n)
	}
}

func testForwardOnly(t *testing.T, f Fixture) {
	at := twice(t, f)
	keep(t, f, "a", at[12])
	keep(t, f, "a", at[3])
	keep(t, f, "a", fold.Position{})
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 12)
	if f.Log.Features().KeepsAsked {
		refused(t, f, at[3])
	}
}

func testTrimmed(t *testing.T, f Fixture) {
	at := twice(t, f)
	keep(t, f, "a", at[15])
	f.trim(t, brokerlog.Events, 0)
	for _, n := range []int{0, 1, 9, 10} {
		refused(t, f, at[n])
	}
	continues(t, f, at, 15)
}

func testDrop(t *testing.T, f Fixture) {
	at := twice(t, f)
	keep(t, f, "a", at[5])
	keep(t, f, "b", at[12])
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 5)
	check(t, f.Another(t).Drop(bg(t), "a"))
	keep(t, f, "b", at[15])
	f.trim(t, brokerlog.Events, 0)
	refused(t, f, at[5])
	continues(t, f, at, 15)
	check(t, f.Log.Drop(bg(t), "b"))
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 15) // without any hold nothing is forgotten
}

func testHoldOfTrimmed(t *testing.T, f Fixture) {
	at := twice(t, f)
	keep(t, f, "a", at[15])
	f.trim(t, brokerlog.Events, 0)
	for _, n := range []int{0, 5} {
		err := f.Log.Keep(bg(t), brokerlog.Events, 0, "b", at[n])
		wantErr(t, fmt.Sprintf("hold behind message %d, which is trimmed", n), err, brokerlog.ErrTrimmed)
	}
	keep(t, f, "b", at[16])
}

// testReaderNeverSkips trims what a reader has before it: it says so, or has the messages already.
func testReaderNeverSkips(t *testing.T, f Fixture) {
	at := twice(t, f)
	r := reader(t, f.Log, brokerlog.Events, 0, fold.Position{})
	read(t, r, 1)
	keep(t, f, "a", at[20])
	f.trim(t, brokerlog.Events, 0)
	write(t, f.Log, brokerlog.Events, 0, names("m", 21, 30)...)
	for n := 1; n < 30; {
		messages, err := r.Next(bg(t), 3)
		if errors.Is(err, brokerlog.ErrTrimmed) {
			return
		}
		check(t, err)
		sameBodies(t, messages, names("m", n+1, n+len(messages)))
		n += len(messages)
	}
}
