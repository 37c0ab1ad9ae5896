package sessions

import (
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// maxKeptEvent is the largest ending event, in bytes of its payload or failure, that is kept in the ring.
const maxKeptEvent = 256 << 10

// waiter is a call that waits for the end of a run.
type waiter struct{ run events.RunID }

// endedRing remembers the runs that ended lately, bounded by count and bytes.
type endedRing struct {
	runs  map[events.RunID]Ended
	order []events.RunID // oldest first, from first on
	first int
	bytes int
	// from is, per partition, the position since which every end is known.
	from []events.Seq
}

func (c *Core) hasEnded(run events.RunID) bool {
	_, ok := c.ended.runs[run]
	return ok
}

func (r *endedRing) add(e Ended, limitRuns, limitBytes int) {
	if _, there := r.runs[e.RunID]; there {
		return
	}
	if eventBytes(e.Event) > maxKeptEvent {
		e.Event = nil
	}
	r.runs[e.RunID] = e
	r.order = append(r.order, e.RunID)
	r.bytes += entryBytes(e)
	for len(r.runs) > limitRuns || (r.bytes > limitBytes && len(r.runs) > 1) {
		oldest := r.runs[r.order[r.first]]
		delete(r.runs, oldest.RunID)
		r.bytes -= entryBytes(oldest)
		r.from[oldest.Partition] = max(r.from[oldest.Partition], oldest.Seq+1)
		r.first++
	}
	if r.first > 1024 && r.first > len(r.order)/2 {
		r.order = slices.Delete(r.order, 0, r.first)
		r.first = 0
	}
}

func entryBytes(e Ended) int { return 200 + len(e.WorkflowID) + eventBytes(e.Event) }

func eventBytes(e events.Event) int {
	switch e := e.(type) {
	case events.RunCompleted:
		return len(e.Result.Data)
	case events.RunFailed:
		return failureBytes(&e.Failure)
	case events.RunCancelled:
		return failureBytes(&e.Failure)
	case events.RunTerminated:
		return len(e.Reason)
	default:
		return 0
	}
}

func failureBytes(f *events.Failure) (n int) {
	for depth := 0; f != nil && depth < 16; f, depth = f.Cause, depth+1 {
		n += len(f.Message) + len(f.Details.Data)
	}
	return n
}

// recorded follows the log.
func (c *Core) recorded(r *events.Record) {
	for i, e := range r.Events {
		c.event(r, r.First+events.EventNumber(i), e)
	}
	for _, a := range r.Answers {
		c.answer(r, a)
	}
}

func (c *Core) event(r *events.Record, number events.EventNumber, e events.Event) {
	task := func(s events.Step) *task { return c.tasks[events.TaskID{Run: r.RunID, Step: s}] }
	switch e := e.(type) {
	case events.RunStarted:
		c.started.add(r.RunID, r.WorkflowID)
	case events.ActivationScheduled:
		c.offeredActivation(r, number, e)
	case events.TaskScheduled:
		c.offeredTask(r, number, e)
	case events.TaskCompleted:
		c.taskOver(task(e.Step), e.Attempt)
	case events.TaskFailed:
		c.taskOver(task(e.Step), e.Attempt)
	case events.TaskAttemptFailed:
		c.taskOver(task(e.Step), e.Attempt)
	case events.TaskCancelled:
		c.cancelled.add(events.TaskID{Run: r.RunID, Step: e.Step}, struct{}{})
		if t := task(e.Step); t != nil && t.state != reporting {
			c.stopTask(t)
		}
	case events.ProgressMade:
		c.activationOver(r.RunID, e.Activation, e.Attempt)
		if held := c.runs[r.RunID]; held != nil && held.live != nil && held.live.ID != e.Worker {
			c.dropLive(r.RunID)
		}
	case events.ProgressRefused:
		c.activationOver(r.RunID, e.Activation, e.Attempt)
	case events.ActivationFailed:
		c.activationOver(r.RunID, e.Activation, e.Attempt)
	case events.ActivationTimedOut:
		c.activationOver(r.RunID, e.Activation, e.Attempt)
	case events.RunCompleted, events.RunFailed, events.RunCancelled, events.RunTerminated, events.RunTimedOut:
		c.runEnded(Ended{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Partition: r.Partition, Seq: r.Seq, Event: e, Number: number,
			Status: events.StatusAfter(events.StatusRunning, e),
		})
	default:
	}
}

// taskOver stops an attempt that the log says is over while a worker runs it; one whose result is on its way waits for
// its own answer.
func (c *Core) taskOver(t *task, attempt events.Attempt) {
	if t != nil && t.state != reporting && t.Attempt.Attempt <= attempt {
		c.stopTask(t)
	}
}

func (c *Core) activationOver(run events.RunID, number uint64, attempt events.Attempt) {
	a := c.activations[run]
	if a == nil || a.state == reporting {
		return
	}
	over := Activation{WorkflowID: a.WorkflowID, RunID: run, Activation: number, Attempt: attempt}
	if a.Activation == over || a.olderThan(over) {
		c.forgetActivation(a)
	}
}

func (c *Core) runEnded(e Ended) {
	c.ended.add(e, c.config.RingRuns, c.config.RingBytes)
	c.started.remove(e.RunID)
	if held := c.runs[e.RunID]; held != nil {
		for _, step := range slices.Clone(held.steps) {
			if t := c.tasks[events.TaskID{Run: e.RunID, Step: step}]; t != nil && t.state != reporting {
				c.stopTask(t)
			}
		}
		c.dropLive(e.RunID)
	}
	if a := c.activations[e.RunID]; a != nil && a.state != reporting {
		c.forgetActivation(a)
	}
	for _, call := range c.waiting[e.RunID] {
		delete(c.waiters, call)
		c.emit(RunOver{Call: call, Run: e})
	}
	delete(c.waiting, e.RunID)
}

func (c *Core) await(in Await) {
	if e, ok := c.ended.runs[in.RunID]; ok {
		c.emit(RunOver{Call: in.Call, Run: e})
		return
	}
	if len(c.asks)+len(c.waiters) >= c.config.MaxCalls {
		c.emit(RunOver{Call: in.Call, Err: &events.Error{
			Code: events.Overloaded, Message: "too many calls wait in this gateway", RetryAfterMs: 1000,
		}})
		return
	}
	c.waiters[in.Call] = &waiter{run: in.RunID}
	c.waiting[in.RunID] = append(c.waiting[in.RunID], in.Call)
	workflow, started := c.started.get(in.RunID)
	c.emit(Waiting{Call: in.Call, Open: started && workflow == in.WorkflowID, From: c.ended.from[in.Partition]})
}

func (c *Core) dropWaiter(call Call, w *waiter) {
	delete(c.waiters, call)
	rest := slices.DeleteFunc(c.waiting[w.run], func(other Call) bool { return other == call })
	if len(rest) == 0 {
		delete(c.waiting, w.run)
		return
	}
	c.waiting[w.run] = rest
}

var errGap = &events.Error{
	Code: events.Unavailable, Message: "this gateway has lost its place in the log and begins again; ask again", RetryAfterMs: 100,
}

// tailFrom begins a partition's tail, or begins it again after a gap: what happened in the gap is unknown, so whoever
// waits is told to ask again.
func (c *Core) tailFrom(in TailFrom) {
	first := c.ended.from[in.Partition] == 0
	c.ended.from[in.Partition] = max(c.ended.from[in.Partition], in.Next)
	if first {
		return
	}
	c.started.clear()
	for _, call := range slices.Sorted(maps.Keys(c.waiters)) {
		c.dropWaiter(call, c.waiters[call])
		c.emit(RunOver{Call: call, Err: errGap})
	}
	l := &c.lanes[in.Partition]
	for _, n := range slices.Sorted(maps.Keys(l.open)) {
		switch p := l.open[n]; p.state {
		case kept:
			delete(l.open, n)
			c.resolve(p, Reply{Err: errGap})
		case sent:
			p.gap = true
		case queued, lost:
		}
	}
	c.mend(in.Partition, l)
}
