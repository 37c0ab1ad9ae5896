// Package brokerlogtest checks that an adapter keeps every promise of the brokerlog port.
package brokerlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Fixture is a fresh log with at least two partitions, and what the suite has to do to its broker.
type Fixture struct {
	Log brokerlog.Log
	// Another connects one more process to the same log.
	Another func(t *testing.T) brokerlog.Log
	// MaxPending is how many small messages of one appender may be on their way before it blocks.
	MaxPending int
	// Trim makes the broker forget now what it may forget in a partition; nil when it does that by itself at once.
	Trim func(t *testing.T, topic brokerlog.Topic, p events.Partition)
	// Stall lets the broker answer nobody until resume is called, which may be called twice; nil when that cannot be done.
	Stall func(t *testing.T) (resume func())
	// Restart ends the broker as kill -9 does and starts it again; nil when that cannot be done.
	Restart func(t *testing.T)
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, features brokerlog.Features, open func(t *testing.T) Fixture) {
	t.Logf("features: %+v", features)
	run := func(name string, needs bool, why string, test func(t *testing.T, f Fixture)) {
		t.Run(name, func(t *testing.T) {
			if !needs {
				t.Skipf("not promised by this adapter: %s", why)
			}
			t.Parallel()
			f := open(t)
			if got := f.Log.Features(); got != features {
				t.Fatalf("Features() = %+v, declared %+v", got, features)
			}
			if f.Log.Partitions() < 2 {
				t.Fatalf("the suite needs 2 partitions, got %d", f.Log.Partitions())
			}
			test(t, f)
		})
	}
	always := func(name string, test func(t *testing.T, f Fixture)) { run(name, true, "", test) }
	trimming := func(name string, test func(t *testing.T, f Fixture)) {
		run(name, features.KeepsAsked, "the broker forgets by rules of its own", test)
	}
	durable := func(name string, test func(t *testing.T, f Fixture)) {
		run(name, features.Durable, "messages end with the broker", test)
	}

	always("Empty", testEmpty)
	always("OrderAndPositions", testOrderAndPositions)
	always("ReadFromEveryPosition", testReadFromEveryPosition)
	always("NextWaits", testNextWaits)
	always("TopicsAndPartitionsAreApart", testApart)
	always("SeveralAppenders", testSeveralAppenders)
	always("DoneOnceAndInOrder", testDone)
	always("BodiesComeBackWhole", testBodies)
	always("TooBig", testTooBig)
	always("AppendBlocks", testAppendBlocks)
	always("WrongPartition", testWrongPartition)
	always("Ahead", testAhead)

	always("AppenderClose", testAppenderClose)
	always("ReaderClose", testReaderClose)
	always("LogClose", testLogClose)

	always("NothingIsForgottenWithoutHold", testNoHold)
	always("HoldsKeep", testHoldsKeep)
	always("HoldsMoveForwardOnly", testForwardOnly)
	trimming("TrimmedPositionsAreRefused", testTrimmed)
	trimming("DropReleases", testDrop)
	trimming("HoldOfTrimmedIsRefused", testHoldOfTrimmed)
	trimming("ReaderNeverSkips", testReaderNeverSkips)

	durable("RestartKeepsMessagesAndHolds", testRestartKeeps)
	durable("RestartUnderLoad", testRestartUnderLoad)
}

// patience bounds what is expected to happen soon, also on a slow machine whose broker begins anew.
const patience = 4 * time.Minute

func bg(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func appender(t *testing.T, l brokerlog.Log, topic brokerlog.Topic, p events.Partition) brokerlog.Appender {
	t.Helper()
	a, err := l.Appender(bg(t), topic, p)
	check(t, err)
	t.Cleanup(a.Close)
	return a
}

func reader(t *testing.T, l brokerlog.Log, topic brokerlog.Topic, p events.Partition, from fold.Position) brokerlog.Reader {
	t.Helper()
	r, err := l.Read(bg(t), topic, p, from)
	check(t, err)
	t.Cleanup(r.Close)
	return r
}

// await waits for an outcome.
func await(t *testing.T, outcome <-chan error) error {
	t.Helper()
	select {
	case err := <-outcome:
		return err
	case <-bg(t).Done():
		t.Fatal("done was not called")
		return nil
	}
}

// appendAll appends messages and waits until all are durable.
func appendAll(t *testing.T, a brokerlog.Appender, bodies ...string) {
	t.Helper()
	outcome := make(chan error, len(bodies))
	for _, body := range bodies {
		a.Append(bg(t), []byte(body), func(err error) { outcome <- err })
	}
	for range bodies {
		check(t, await(t, outcome))
	}
}

// names returns prefix-first … prefix-last.
func names(prefix string, first, last int) []string {
	var all []string
	for n := first; n <= last; n++ {
		all = append(all, fmt.Sprintf("%s-%d", prefix, n))
	}
	return all
}

// write appends messages to a partition with an appender of their own.
func write(t *testing.T, l brokerlog.Log, topic brokerlog.Topic, p events.Partition, bodies ...string) {
	t.Helper()
	a := appender(t, l, topic, p)
	appendAll(t, a, bodies...)
	a.Close()
}

// read reads exactly n messages, whose positions must rise.
func read(t *testing.T, r brokerlog.Reader, n int) []fold.Message {
	t.Helper()
	var all []fold.Message
	for len(all) < n {
		limit := min(n-len(all), 7)
		messages, err := r.Next(bg(t), limit)
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(all), n, err)
		}
		if len(messages) == 0 || len(messages) > limit {
			t.Fatalf("Next(%d) returned %d messages and no error", limit, len(messages))
		}
		all = append(all, messages...)
	}
	for i, m := range all {
		if m.At.IsZero() || i > 0 && m.At.Compare(all[i-1].At) <= 0 {
			t.Fatalf("message %d is at %v", i, m.At)
		}
	}
	return all
}

// quiet checks that there is no message for a while.
func quiet(t *testing.T, r brokerlog.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg(t), 50*time.Millisecond)
	defer cancel()
	messages, err := r.Next(ctx, 1)
	if messages != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("at the end of the log: %d messages, error %v", len(messages), err)
	}
}

func sameBodies(t *testing.T, got []fold.Message, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Body, []byte(want[i])) {
			t.Fatalf("message %d is %.40q, want %.40q", i, got[i].Body, want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
}

func (f Fixture) trim(t *testing.T, topic brokerlog.Topic, p events.Partition) {
	t.Helper()
	if f.Trim != nil {
		f.Trim(t, topic, p)
	}
}
