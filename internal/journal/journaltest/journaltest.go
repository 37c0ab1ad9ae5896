// Package journaltest checks that an adapter keeps every promise of the journal port.
package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Fixture is a fresh journal with at least two partitions.
type Fixture struct {
	Journal journal.Journal
	// ClientLimit is how many client commands may wait in one partition: small, so that the suite can reach it.
	ClientLimit int
	// Close closes the journal as a process does that stops.
	Close func()
	// Crash ends the journal as kill -9 does and opens what it left; nil when nothing is left.
	Crash func(t *testing.T) journal.Journal
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, features journal.Features, open func(t *testing.T) Fixture) {
	run := func(name string, needs bool, why string, test func(t *testing.T, f Fixture)) {
		t.Run(name, func(t *testing.T) {
			if !needs {
				t.Skipf("not promised by this adapter: %s", why)
			}
			t.Parallel()
			f := open(t)
			if got := f.Journal.Features(); got != features {
				t.Fatalf("Features() = %+v, declared %+v", got, features)
			}
			test(t, f)
		})
	}
	always := func(name string, test func(t *testing.T, f Fixture)) { run(name, true, "", test) }
	grouped := func(name string, test func(t *testing.T, f Fixture)) {
		run(name, !features.CommandsLogged, "commands are durable before their records", test)
	}
	durable := func(name string, test func(t *testing.T, f Fixture)) {
		run(name, features.Durable, "records end with the process", test)
	}

	always("Empty", testEmpty)
	always("CommandsInOrder", testCommandsInOrder)
	always("TakeIsBounded", testTakeIsBounded)
	grouped("DoneAfterRecord", testDoneAfterRecord)
	grouped("DoneInOrderOnce", testDoneInOrderOnce)
	always("ConsumeWithoutRecords", testConsumeWithoutRecords)
	always("NilDone", testNilDone)
	grouped("ClientsAreBounded", testClientsAreBounded)
	always("WaitWakes", testWaitWakes)
	always("PartitionsAreIndependent", testPartitionsAreIndependent)

	always("AcquireFencesFormerOwner", testAcquireFences)
	always("ReleaseEndsOwnership", testRelease)
	always("WrongStepIsRefused", testWrongSteps)
	always("CancelledCommitLosesOwnership", testCancelledCommit)
	always("TakeOverWhileCommitting", testTakeOver)

	always("RecordsComeBackWhole", testRecordsComeBackWhole)
	always("FollowFromPastToPresent", testFollowPastToPresent)
	always("SlowReaderHoldsNobodyUp", testSlowReader)
	always("ReaderWaits", testReaderWaits)
	always("ReaderOfManyPartitions", testReaderOfMany)
	always("TrimAndBounds", testTrimAndBounds)
	always("HoldsKeep", testHoldsKeep)
	always("ReaderFallsBehind", testReaderFallsBehind)

	always("Close", testClose)
	durable("CrashKeepsRecords", testCrashKeepsRecords)
	run("CrashKeepsCommands", features.CommandsLogged, "commands end with their owner", testCrashKeepsCommands)
	durable("CrashKeepsHoldsAndBounds", testCrashKeepsHoldsAndBounds)
	grouped("UnderLoad", testUnderLoad)
}

// bg is the context of calls that are expected to return at once or soon.
func bg(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err error, wanted ...error) {
	t.Helper()
	for _, w := range wanted {
		if errors.Is(err, w) {
			return
		}
	}
	t.Fatalf("%s: got error %v, want %v", what, err, wanted)
}

// writer writes records as an owner does, one run per writer.
type writer struct {
	journal.Owner
	partition events.Partition
	run       events.RunID
	next      events.Seq
	number    events.EventNumber
}

func acquire(t *testing.T, j journal.Journal, p events.Partition) *writer {
	t.Helper()
	o, err := j.Acquire(bg(t), p)
	check(t, err)
	if o.Epoch() == 0 || o.ID() == 0 {
		t.Fatalf("owner of epoch %d with id %d; both count from 1", o.Epoch(), o.ID())
	}
	run := events.MakeRunID(1_700_000_000_000, [10]byte{0: byte(p), 8: byte(o.Epoch() >> 8), 9: byte(o.Epoch())})
	return &writer{Owner: o, partition: p, run: run, next: o.Last() + 1, number: 1}
}

// record makes the next record, with one signal for each name.
func (w *writer) record(names ...string) *events.Record {
	r := &events.Record{Header: events.Header{
		Partition: w.partition, Epoch: w.Epoch(), Owner: w.ID(), Seq: w.next, Confirmed: w.next - 1,
		Time: events.Time(1_700_000_000_000_000 + int64(w.next)), Schema: events.Schema,
		Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(fmt.Sprintf("workflow-%d", w.partition)), RunID: w.run, First: w.number,
	}}
	for _, name := range names {
		r.Events = append(r.Events, events.SignalReceived{
			Name: events.SignalName(name), Input: events.Payload{Encoding: events.EncodingJSON, Data: []byte(`"` + name + `"`)},
		})
	}
	w.next++
	w.number += events.EventNumber(len(names))
	return r
}

// records makes n records of one event.
func (w *writer) records(n int) []*events.Record {
	rs := make([]*events.Record, n)
	for i := range rs {
		rs[i] = w.record(fmt.Sprintf("signal-%d", w.next))
	}
	return rs
}

// write commits n records of one event.
func (w *writer) write(t *testing.T, n int) []*events.Record {
	t.Helper()
	rs := w.records(n)
	check(t, w.Commit(bg(t), journal.Step{Records: rs}))
	return rs
}

func follow(t *testing.T, j journal.Journal, from ...journal.Position) journal.Reader {
	t.Helper()
	r, err := j.Follow(bg(t), from)
	check(t, err)
	t.Cleanup(r.Close)
	return r
}

// read reads exactly n records.
func read(t *testing.T, r journal.Reader, n int) []*events.Record {
	t.Helper()
	var all []*events.Record
	for len(all) < n {
		rs, err := r.Next(bg(t), min(n-len(all), 7))
		check(t, err)
		if len(rs) == 0 {
			t.Fatal("Next returned no record and no error")
		}
		all = append(all, rs...)
	}
	return all
}

func sameRecords(t *testing.T, got, want []*events.Record) {
	t.Helper()
	equal := func(a, b *events.Record) bool {
		return bytes.Equal(events.AppendRecord(nil, a), events.AppendRecord(nil, b))
	}
	if slices.EqualFunc(got, want, equal) {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("records differ (-want +got):\n%s", diff)
	}
	t.Fatal("records differ in their encoding")
}

// idIn returns a workflow id of partition p.
func idIn(j journal.Journal, p events.Partition, n int) events.WorkflowID {
	for i := n * 1000; ; i++ {
		id := events.WorkflowID(fmt.Sprintf("w-%d", i))
		if events.PartitionOf(events.DefaultNamespace, id, j.Partitions()) == p {
			return id
		}
	}
}

func signal(j journal.Journal, p events.Partition, n int) events.Envelope {
	return events.Envelope{
		Namespace: events.DefaultNamespace, WorkflowID: idIn(j, p, 1), Session: 7, N: uint64(n),
		Command: events.SignalWorkflow{Name: events.SignalName(fmt.Sprintf("s-%d", n))},
	}
}

func completion(j journal.Journal, p events.Partition, n int) events.Envelope {
	e := signal(j, p, n)
	e.Command = events.CompleteTask{}
	return e
}

// takeAll waits for and takes n commands.
func takeAll(t *testing.T, o journal.Owner, n int) []events.Envelope {
	t.Helper()
	var all []events.Envelope
	for len(all) < n {
		check(t, o.Wait(bg(t)))
		all = append(all, o.Take(n-len(all))...)
	}
	return all
}
