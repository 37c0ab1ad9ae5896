package machine_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// coder is a run and the worker that reports progress for it.
type coder struct {
	t     *testing.T
	run   *machine.Run
	shown events.EventNumber
	step  events.Step
}

func newCoder(t *testing.T) *coder {
	t.Helper()
	c := &coder{t: t, run: startedRun(t, 1)}
	c.settle()
	return c
}

func (c *coder) settle() {
	c.t.Helper()
	for _, e := range c.run.Settle(begin) {
		c.shown = c.run.Next() - 1
		must(c.t, c.run.Apply(e, c.run.Next(), begin))
	}
}

// report decides a progress with the given intents, which asks to go on at once.
func (c *coder) report(intents ...events.Intent) (events.Answer, *events.Failure) {
	c.t.Helper()
	var activation events.ReportProgress
	if _, err := fmt.Sscanf(c.run.Describe()[strings.Index(c.run.Describe(), "\nactivation"):], "\nactivation %d attempt %d",
		&activation.Activation, &activation.Attempt); err != nil {
		c.t.Fatal(err)
	}
	activation.Upto, activation.Intents, activation.Wait = c.shown, intents, events.WaitSet{Now: true}
	evs, answer := c.run.Decide(events.Envelope{RunID: c.run.ID(), Command: activation}, begin)
	for _, e := range evs {
		must(c.t, c.run.Apply(e, c.run.Next(), begin))
	}
	c.settle()
	if failed, ok := evs[0].(events.ActivationFailed); ok {
		return answer, &failed.Failure
	}
	return answer, nil
}

func (c *coder) next() events.Step {
	c.step++
	return c.step
}

func many(n int, one func() events.Intent) []events.Intent {
	var intents []events.Intent
	for range n {
		intents = append(intents, one())
	}
	return intents
}

func TestOpenThingsAreBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fill  func(c *coder) []events.Intent
		one   func(c *coder) events.Intent
		less  func(c *coder) events.Intent // makes room for one
		limit string
	}{
		{
			"tasks", func(c *coder) []events.Intent {
				return many(machine.MaxOpenTasks, func() events.Intent { return events.ScheduleTask{Step: c.next(), Name: "a"} })
			}, func(c *coder) events.Intent { return events.ScheduleTask{Step: c.next(), Name: "a"} },
			func(*coder) events.Intent { return events.CancelTask{Step: 7} },
			"10001 tasks would be open; the limit is 10000",
		},
		{
			"timers", func(c *coder) []events.Intent {
				return many(machine.MaxOpenTimers, func() events.Intent { return events.StartTimer{Step: c.next(), Due: begin} })
			}, func(c *coder) events.Intent { return events.BackOffStep{Step: c.next(), Until: begin} },
			func(*coder) events.Intent { return events.CancelTimer{Step: 7} },
			"10001 timers would be open; the limit is 10000",
		},
		{
			"views", func(*coder) []events.Intent {
				n := 0
				return many(machine.MaxViews, func() events.Intent { n++; return events.SetView{Name: events.ViewName(fmt.Sprint("v", n))} })
			}, func(*coder) events.Intent { return events.SetView{Name: "one-more"} },
			nil, "the run would have 1001 views; the limit is 1000",
		},
		{
			"bytes of views", func(*coder) []events.Intent {
				n := 0
				return many(8, func() events.Intent {
					n++
					return events.SetView{Name: events.ViewName(fmt.Sprint("v", n)), Value: events.Payload{Encoding: "json", Data: make([]byte, 128<<10)}}
				})
			}, func(*coder) events.Intent {
				return events.SetView{Name: "one-more", Value: events.Payload{Encoding: "json", Data: []byte("1")}}
			},
			func(*coder) events.Intent {
				return events.SetView{Name: "v3", Value: events.Payload{Encoding: "json", Data: []byte("1")}}
			},
			"the views of the run would have 1048577 bytes; the limit is 1048576",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCoder(t)
			if a, _ := c.report(test.fill(c)...); a.Code != events.OK {
				t.Fatalf("up to the limit: %+v", a)
			}
			before := c.step
			one := test.one(c)
			a, failure := c.report(one)
			if a.Code != events.InvalidArgument || failure == nil || failure.Code != events.CodeRunLimit || !strings.Contains(failure.Message, test.limit) {
				t.Fatalf("one above the limit: %+v, %+v", a, failure)
			}
			// The encoded run knows the bound too.
			decoded, err := machine.Decode(c.run.AppendTo(nil))
			must(t, err)
			c.run, c.step = decoded, before
			if _, failure := c.report(one); failure == nil || failure.Code != events.CodeRunLimit {
				t.Fatalf("after decoding, one above the limit: %+v", failure)
			}
			if test.less != nil {
				if a, failure := c.report(test.less(c), one); a.Code != events.OK {
					t.Fatalf("one more and one less: %+v, %+v", a, failure)
				}
			}
		})
	}
}

// A name that has been published before is not a new one, and the end of a run needs no room.
func TestBoundsLetTheRunGoOn(t *testing.T) {
	t.Parallel()
	c := newCoder(t)
	n := 0
	if a, failure := c.report(many(machine.MaxViews, func() events.Intent { n++; return events.SetView{Name: events.ViewName(fmt.Sprint("v", n))} })...); failure != nil {
		t.Fatal(a)
	}
	again := events.SetView{Name: "v7", Value: events.Payload{Encoding: "json", Data: []byte("7")}}
	if a, _ := c.report(again, again); a.Code != events.OK {
		t.Fatalf("a view once more: %+v", a)
	}
	fresh := events.SetView{Name: "fresh"}
	if _, failure := c.report(fresh, events.ContinueRun{}); failure == nil || failure.Code != events.CodeRunLimit {
		t.Fatalf("continuing keeps the views and goes over their bound: %+v", failure)
	}
	if a, failure := c.report(fresh, events.CompleteRun{}); a.Code != events.OK || c.run.Status() != events.StatusCompleted {
		t.Fatalf("the end: %+v, %+v", a, failure)
	}
	if row := c.run.AppendTo(nil); len(row) > 300 || bytes.Contains(row, []byte("v7")) {
		t.Errorf("an ended run keeps %d bytes", len(row))
	}
}

// A step that backs off again is open once.
func TestAStepBackingOffCountsOnce(t *testing.T) {
	t.Parallel()
	c := newCoder(t)
	backoff := events.BackOffStep{Step: c.next(), Until: begin}
	armed := many(machine.MaxOpenTimers-1, func() events.Intent { return events.StartTimer{Step: c.next(), Due: begin + 1} })
	if a, failure := c.report(append(armed, backoff)...); failure != nil {
		t.Fatal(a)
	}
	evs, _ := c.run.Decide(events.Envelope{Command: events.FireTimer{Timer: events.TimerID{Kind: events.TimerStepRetry, Step: backoff.Step}}}, begin)
	for _, e := range evs {
		must(t, c.run.Apply(e, c.run.Next(), begin))
	}
	if a, failure := c.report(backoff); a.Code != events.OK {
		t.Fatalf("backing off again at the limit: %+v, %+v", a, failure)
	}
	if _, failure := c.report(events.StartTimer{Step: c.next(), Due: begin}); failure == nil || failure.Code != events.CodeRunLimit {
		t.Fatalf("one more timer: %+v", failure)
	}
}
