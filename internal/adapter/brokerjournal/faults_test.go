package brokerjournal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// cluster is a broker, the objects of its processes, and any number of these.
type cluster struct {
	broker  *memory.Broker
	objects memory.Objects
}

func newCluster() *cluster {
	return &cluster{broker: memory.NewBroker(memory.BrokerOptions{Partitions: 2, Batch: 3})}
}

// process starts one more process.
func (c *cluster) process(t *testing.T, change func(*brokerjournal.Options)) (*memory.BrokerLog, *brokerjournal.Journal) {
	t.Helper()
	log := c.broker.Connect()
	t.Cleanup(func() { _ = log.Close() })
	return log, open(t, log, &c.objects, change)
}

// bg is for what is expected soon.
func bg(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func acquire(t *testing.T, j journal.Journal) journal.Owner {
	t.Helper()
	o, err := j.Acquire(bg(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Release)
	return o
}

// record makes the record with a sequence number, with a text as its only event.
func record(o journal.Owner, seq events.Seq, text string) *events.Record {
	run := events.MakeRunID(1, [10]byte{1})
	return &events.Record{
		Header: events.Header{
			Epoch: o.Epoch(), Owner: o.ID(), Seq: seq, Time: events.Time(seq), Schema: events.Schema,
			Namespace: events.DefaultNamespace, WorkflowID: "w", RunID: run, First: events.EventNumber(seq),
		},
		Events: []events.Event{events.SignalReceived{Name: "s", Input: events.Payload{Encoding: events.EncodingJSON, Data: []byte(text)}}},
	}
}

// write commits n records.
func write(t *testing.T, o journal.Owner, from events.Seq, n int) {
	t.Helper()
	for i := range events.Seq(n) {
		if err := o.Commit(bg(t), journal.Step{Records: []*events.Record{record(o, from+i, fmt.Sprint(from+i))}}); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads partition 0 from a record up to another.
func readAll(t *testing.T, j journal.Journal, from, to events.Seq) []*events.Record {
	t.Helper()
	r, err := j.Follow(bg(t), []journal.Position{{Next: from}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []*events.Record
	for events.Seq(len(all)) < to-from+1 {
		records, err := r.Next(bg(t), 100)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, records...)
	}
	return all
}

func isLost(err error) bool { return errors.Is(err, journal.ErrLost) }

// TestOwnersOverAFaultyBroker lets three processes own a partition in turn and at once, while appends fail, arrive late, twice,
// or without an answer: what was committed is in every reading, acknowledged commands are handled, and all readings agree.
func TestOwnersOverAFaultyBroker(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			faultyBroker(t, seed)
		})
	}
}

func faultyBroker(t *testing.T, seed uint64) {
	c := newCluster()
	random := rand.New(rand.NewPCG(seed, 1)) // used under the broker's lock
	c.broker.SetFaults(memory.BrokerFaults{Append: func(brokerlog.Topic, events.Partition, []byte) memory.AppendFault {
		if random.IntN(20) > 0 {
			return memory.AppendStored
		}
		return memory.AppendFault(1 + random.IntN(int(memory.AppendTwice)))
	}})
	var all []*brokerjournal.Journal
	for n := range 3 {
		_, j := c.process(t, func(o *brokerjournal.Options) {
			o.GiveUpAfter, o.SendTimeout = 100*time.Millisecond, 50*time.Millisecond
			o.RecentBytes = []int{1, 0, 1000}[n]
		})
		all = append(all, j)
	}
	ctx, stop := context.WithCancel(bg(t))
	defer stop()
	books := &books{committed: map[events.Seq]string{}}
	var owners, senders sync.WaitGroup
	for n, j := range all {
		owners.Go(func() { ownInTurns(ctx, t, j, books, seed*10+uint64(n)) })
		senders.Go(func() { sendAll(ctx, t, j, books, n) })
	}
	senders.Wait()
	c.broker.SetFaults(memory.BrokerFaults{})
	for c.broker.Arrive(1) > 0 {
	}
	books.untilHandled(ctx, t, all[1])
	stop()
	owners.Wait()
	books.compare(t, c, all)
}

// books are what owners and clients were told.
type books struct {
	mu        sync.Mutex
	committed map[events.Seq]string
	done      []string // acknowledged commands
}

// ownInTurns owns the partition for some turns, again and again.
func ownInTurns(ctx context.Context, t *testing.T, j journal.Journal, b *books, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	for ctx.Err() == nil {
		o, err := j.Acquire(ctx, 0)
		if err != nil {
			if !isLost(err) && ctx.Err() == nil {
				t.Errorf("Acquire: %v", err)
				return
			}
			continue
		}
		next := o.Last() + 1
		for range 1 + random.IntN(30) {
			if o.Wait(ctx) != nil {
				break
			}
			taken := o.Take(1 + random.IntN(5))
			text := fmt.Sprintf("%d:", o.ID())
			for _, command := range taken {
				text += " " + string(command.RequestID)
			}
			err := o.Commit(context.WithoutCancel(ctx), journal.Step{Records: []*events.Record{record(o, next, text)}, Consumed: len(taken)})
			if err != nil {
				if !isLost(err) {
					t.Errorf("Commit: %v", err)
				}
				break
			}
			b.commit(t, next, text)
			next++
		}
		o.Release()
	}
}

func (b *books) commit(t *testing.T, seq events.Seq, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if other, is := b.committed[seq]; is {
		t.Errorf("record %d was committed twice: %q and %q", seq, other, text)
	}
	b.committed[seq] = text
}

// untilHandled waits until records have handled all acknowledged commands. An owner that was told that a commit is lost may
// have handled them nevertheless.
func (b *books) untilHandled(ctx context.Context, t *testing.T, j journal.Journal) {
	t.Helper()
	r, err := j.Follow(ctx, []journal.Position{{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	left := map[string]bool{}
	for _, name := range b.done {
		left[name] = true
	}
	for len(left) > 0 {
		records, err := r.Next(ctx, 100)
		if err != nil {
			t.Fatalf("acknowledged commands are not handled: %v: %v", left, err)
		}
		for _, r := range records {
			for name := range strings.FieldsSeq(text(r)) {
				delete(left, name)
			}
		}
	}
}

// text returns the text of a record.
func text(r *events.Record) string {
	return string(r.Events[0].(events.SignalReceived).Input.Data) //nolint:forcetypeassert // nothing else is written here
}

// compare holds what was committed against every process's reading, and against that of a new one.
func (b *books) compare(t *testing.T, c *cluster, all []*brokerjournal.Journal) {
	t.Helper()
	_, fresh := c.process(t, nil)
	_, last := fresh.Bounds(0)
	want := readAll(t, fresh, 1, last)
	for _, r := range want {
		if committed, is := b.committed[r.Seq]; is && committed != text(r) {
			t.Errorf("record %d is %q and was committed as %q", r.Seq, text(r), committed)
		}
		delete(b.committed, r.Seq)
	}
	if len(b.committed) > 0 {
		t.Errorf("committed and lost: %v", b.committed)
	}
	for n, j := range all {
		for i, r := range readAll(t, j, 1, last) {
			if !bytes.Equal(events.AppendRecord(nil, r), events.AppendRecord(nil, want[i])) {
				t.Fatalf("process %d reads record %d as %+v instead of %+v", n, i+1, r, want[i])
			}
		}
	}
}

// sendAll sends commands until each is acknowledged.
func sendAll(ctx context.Context, t *testing.T, j journal.Journal, b *books, sender int) {
	const count = 100
	for n := range count {
		name := fmt.Sprintf("%d-%d", sender, n)
		for acknowledged := false; !acknowledged; {
			command := events.Envelope{Namespace: events.DefaultNamespace, WorkflowID: idIn(j), RequestID: events.RequestID(name), Command: events.CompleteTask{}}
			told := make(chan error, 1)
			if err := j.Send(command, func(err error) { told <- err }); err != nil {
				t.Errorf("Send: %v", err)
				return
			}
			select {
			case err := <-told:
				if acknowledged = err == nil; err != nil && !isLost(err) {
					t.Errorf("done(%v)", err)
				}
			case <-ctx.Done():
				t.Errorf("command %s was not told", name)
				return
			}
		}
		b.mu.Lock()
		b.done = append(b.done, name)
		b.mu.Unlock()
	}
}

// idIn returns a workflow id of partition 0.
func idIn(j journal.Journal) events.WorkflowID {
	for i := 0; ; i++ {
		id := events.WorkflowID(fmt.Sprint("w-", i))
		if events.PartitionOf(events.DefaultNamespace, id, j.Partitions()) == 0 {
			return id
		}
	}
}

// TestZombie: an owner that was cut off commits nothing after another has taken over, and reads what that one wrote.
func TestZombie(t *testing.T) {
	t.Parallel()
	c := newCluster()
	log, a := c.process(t, nil)
	_, b := c.process(t, nil)
	zombie := acquire(t, a)
	write(t, zombie, 1, 3)
	log.Cut()
	outcome := make(chan error, 1)
	go func() {
		outcome <- zombie.Commit(bg(t), journal.Step{Records: []*events.Record{record(zombie, 4, "zombie")}})
	}()
	o := acquire(t, b)
	if o.Last() != 3 || o.Epoch() <= zombie.Epoch() {
		t.Fatalf("epoch %d with last %d follows epoch %d", o.Epoch(), o.Last(), zombie.Epoch())
	}
	write(t, o, 4, 5)
	log.Heal()
	if err := <-outcome; !isLost(err) {
		t.Fatalf("the zombie's Commit: %v", err)
	}
	for i, r := range readAll(t, a, 1, 8) {
		if text(r) != fmt.Sprint(i+1) {
			t.Fatalf("record %d is %+v", i+1, r)
		}
	}
	if err := zombie.Wait(bg(t)); !isLost(err) {
		t.Fatalf("the zombie's Wait: %v", err)
	}
}

// checkpointed waits until a checkpoint behind a record is stored.
func (c *cluster) checkpointed(t *testing.T, seq events.Seq) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for range again.C {
		names, err := c.objects.List(bg(t), "log/0/fold/")
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(names, fmt.Sprintf("log/0/fold/%020d", seq)) {
			return
		}
	}
}

// TestLostTail: a log that has lost what the cluster knows of is not read as if nothing had happened.
func TestLostTail(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, j := c.process(t, nil)
	reader, err := j.Follow(bg(t), []journal.Position{{Next: 6}})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	o := acquire(t, j)
	write(t, o, 1, 5)
	c.checkpointed(t, 5)
	c.broker.LoseTail(brokerlog.Events, 0, 2)
	if _, err := reader.Next(bg(t), 1); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a reader of the lost tail: %v", err)
	}
	if err := o.Wait(bg(t)); !isLost(err) {
		t.Errorf("its owner: %v", err)
	}
	_, err = brokerjournal.Open(bg(t), brokerjournal.Options{
		Log: c.broker.Connect(), Objects: &c.objects, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), "partition 0") {
		t.Errorf("a new process: %v", err)
	}
}

// TestTrimmedLog: what holds and checkpoints allow is forgotten by the broker, and the rest is read without it.
func TestTrimmedLog(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, j := c.process(t, nil)
	sleeping, sleeper := c.process(t, nil)
	o := acquire(t, j)
	write(t, o, 1, 10)
	c.checkpointed(t, 10)
	sleeping.Cut()
	for n := range events.Seq(4) {
		write(t, o, 11+10*n, 10)
		c.checkpointed(t, 20+10*n)
	}
	if err := j.Hold("reader", []journal.Position{{Next: 36}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Trim(0, 45); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(bg(t), journal.Step{Records: []*events.Record{record(o, 51, "51")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.broker.Connect().Read(bg(t), brokerlog.Events, 0, fold.Position{}); !errors.Is(err, brokerlog.ErrTrimmed) {
		t.Errorf("the broker has forgotten nothing: %v", err)
	}
	names, err := c.objects.List(bg(t), "log/0/fold/")
	if err != nil || strings.HasSuffix(names[0], "00000000000000000010") {
		t.Errorf("the oldest checkpoints are kept: %v, %v", names, err)
	}
	_, fresh := c.process(t, nil)
	if first, last := fresh.Bounds(0); first != 36 || last != 51 {
		t.Errorf("a new process sees %d…%d, want 36…51", first, last)
	}
	if got := readAll(t, fresh, 36, 51); got[0].Seq != 36 || got[15].Seq != 51 {
		t.Errorf("it reads %d…%d", got[0].Seq, got[15].Seq)
	}
	sleeping.Heal()
	if got := readAll(t, sleeper, 40, 51); got[0].Seq != 40 || got[11].Seq != 51 {
		t.Errorf("one that slept reads %d…%d", got[0].Seq, got[11].Seq)
	}
	if next := acquire(t, sleeper); next.Last() != 51 {
		t.Errorf("its ownership begins behind record %d", next.Last())
	}
}

// TestBeginningAsOthersMovedIt: a process that takes over sees how far the owner before has trimmed, and one that comes too
// late does not move the beginning back.
func TestBeginningAsOthersMovedIt(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, a := c.process(t, nil)
	_, b := c.process(t, nil)
	first := acquire(t, a)
	write(t, first, 1, 20)
	if err := a.Trim(0, 15); err != nil {
		t.Fatal(err)
	}
	if o := acquire(t, b); o.Last() != 20 {
		t.Fatalf("last is %d", o.Last())
	}
	if begin, last := b.Bounds(0); begin != 15 || last != 20 {
		t.Errorf("the next owner sees %d…%d, want 15…20", begin, last)
	}
	if err := b.Trim(0, 18); err != nil {
		t.Fatal(err)
	}
	if err := a.Trim(0, 16); err != nil {
		t.Fatal(err)
	}
	_, fresh := c.process(t, nil)
	if begin, _ := fresh.Bounds(0); begin != 18 {
		t.Errorf("a late trim moved the beginning to %d", begin)
	}
}

// TestDamagedCheckpoint: an older checkpoint serves as well, while the log has what follows it.
func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, j := c.process(t, nil)
	o := acquire(t, j)
	for _, last := range []events.Seq{10, 20} {
		write(t, o, last-9, 10)
		c.checkpointed(t, last)
	}
	if err := c.objects.Put(bg(t), "log/0/fold/00000000000000000020", []byte("rot")); err != nil {
		t.Fatal(err)
	}
	_, fresh := c.process(t, nil)
	if _, last := fresh.Bounds(0); last != 20 {
		t.Errorf("last is %d", last)
	}
}

// TestLargeStep: what does not fit into one message goes in several.
func TestLargeStep(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, j := c.process(t, nil)
	o := acquire(t, j)
	var step journal.Step
	text := strings.Repeat("x", 900<<10)
	for seq := range events.Seq(12) {
		step.Records = append(step.Records, record(o, seq+1, text))
	}
	if err := o.Commit(bg(t), step); err != nil {
		t.Fatal(err)
	}
	for i, r := range readAll(t, j, 1, 12) {
		if !bytes.Equal(events.AppendRecord(nil, r), events.AppendRecord(nil, step.Records[i])) {
			t.Errorf("record %d came back otherwise", i+1)
		}
	}
}

// TestOtherCluster: a program of another cluster cannot open the log, and is told what to set.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	c := newCluster()
	_, j := c.process(t, nil)
	acquire(t, j).Release()
	link := c.broker.Connect()
	defer func() { _ = link.Close() }()
	_, err := brokerjournal.Open(bg(t), brokerjournal.Options{
		Log: link, Objects: &memory.Objects{}, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Cluster: "other",
	})
	if !errors.Is(err, fold.ErrForeign) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("Open: %v", err)
	}
}

// TestSendFails: an append that failed is an unknown outcome, told in the order of the calls.
func TestSendFails(t *testing.T) {
	t.Parallel()
	c := newCluster()
	n := 0
	c.broker.SetFaults(memory.BrokerFaults{Append: func(brokerlog.Topic, events.Partition, []byte) memory.AppendFault {
		n++
		return map[int]memory.AppendFault{2: memory.AppendFailed, 3: memory.AppendStoredUntold}[n]
	}})
	_, j := c.process(t, func(o *brokerjournal.Options) { o.SendTimeout = 50 * time.Millisecond })
	told := make(chan error, 4)
	for range cap(told) {
		if err := j.Send(events.Envelope{Namespace: events.DefaultNamespace, WorkflowID: idIn(j), Command: events.CompleteTask{}}, func(err error) { told <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for i, lost := range []bool{false, true, true, false} {
		if err := <-told; isLost(err) != lost || !lost && err != nil {
			t.Errorf("command %d: %v", i+1, err)
		}
	}
}
