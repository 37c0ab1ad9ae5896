package brokerjournal_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// slowBroker is a clock by which everything takes 4 ms at least. Its timers are those of the bubble.
type slowBroker struct {
	clock.Clock
	looks atomic.Int64
}

func (c *slowBroker) Boot() time.Duration {
	return time.Duration(c.looks.Add(1)) * 4 * time.Millisecond
}

// TestCommandsGather: after a step of several commands the owner waits for as many, for a few milliseconds at most; after a step of
// one command it waits for no other.
func TestCommandsGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, j := newCluster().process(t, func(o *brokerjournal.Options) { o.Clock = &slowBroker{Clock: clock.Real()} })
		o := acquire(t, j)
		send := func(n int) {
			t.Helper()
			for range n {
				command := events.Envelope{Namespace: events.DefaultNamespace, WorkflowID: idIn(j), Command: events.CompleteTask{}}
				if err := j.Send(command, nil); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		seq := events.Seq(0)
		commit := func(consumed int) {
			t.Helper()
			seq++
			if err := o.Commit(bg(t), journal.Step{Records: []*events.Record{record(o, seq, fmt.Sprint(seq))}, Consumed: consumed}); err != nil {
				t.Fatal(err)
			}
		}
		// wait returns how many commands are there when Wait has returned, and after how long; more are sent a millisecond after
		// its beginning.
		wait := func(more int) (int, time.Duration) {
			t.Helper()
			began, done := time.Now(), make(chan error, 1)
			go func() { done <- o.Wait(bg(t)) }()
			if more > 0 {
				<-time.After(time.Millisecond)
				send(more)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			return len(o.Take(100)), time.Since(began)
		}
		for _, test := range []struct {
			name         string
			before, more int
			commands     int
			least, most  time.Duration
		}{
			{name: "the first one", before: 1, commands: 1},
			{name: "after one", before: 3, commands: 3},
			{name: "after three, one comes", before: 1, commands: 1, least: 4 * time.Millisecond, most: 5 * time.Millisecond},
			{name: "after one, one comes", before: 1, commands: 1},
			{name: "after one, four come", before: 4, commands: 4},
			{name: "after four, the others come", before: 2, more: 2, commands: 4, least: time.Millisecond, most: time.Millisecond},
			{name: "after four, more come", before: 5, commands: 5},
		} {
			send(test.before)
			got, took := wait(test.more)
			if got != test.commands || took < test.least || took > test.most {
				t.Errorf("%s: %d commands after %v; want %d after %v to %v", test.name, got, took, test.commands, test.least, test.most)
			}
			commit(got)
		}
		o.Release()
		_ = j.Close()
	})
}
