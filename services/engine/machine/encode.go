package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// rowVersion is the first byte of an encoded run.
const rowVersion = 2

// ErrRow is wrapped by every error of [Decode] but one that wraps [ErrVersion].
var ErrRow = errors.New("the row of a run is damaged")

// ErrVersion says that another build wrote the row. The run's history has everything that is in it.
var ErrVersion = errors.New("the row of a run is of another version")

// Outdated reports whether an earlier version wrote the encoded run.
func Outdated(b []byte) bool { return len(b) > 0 && b[0] > 0 && b[0] < rowVersion }

// AppendTo appends the encoded run to dst and returns it. Equal states have equal bytes. A run without open work takes
// at most 300 bytes beyond its ids, unless it has many signal names or timers.
func (r *Run) AppendTo(dst []byte) []byte {
	w := writer(append(dst, rowVersion))
	w.text(string(r.namespace))
	w.text(string(r.workflowID))
	w = append(w, r.id[:]...)
	w.text(string(r.kind))
	w.text(string(r.queue))
	w.uint(uint64(r.next))
	w.int(int64(r.time))
	w.uint(uint64(r.status))
	w.uint(uint64(r.ended))
	w.int(int64(r.endedAt))
	w.bool(r.purged)
	w.int(int64(r.due))
	w.uint(uint64(r.cancel))
	w.bool(r.quarantined)
	w.text(r.reason)
	w.uint(uint64(r.code.replayFrom))
	w.uint(uint64(r.code.base))
	w.uint(uint64(r.code.upto))
	w.int(int64(r.code.shown))
	w.uint(uint64(r.code.refusals))
	w.activation(&r.flight)
	w.steps(&r.steps)
	w.tasks(r.tasks)
	w.times(r.timers)
	w.inbox(&r.inbox)
	w.views(&r.views)
	w.bool(r.wait.now)
	w.groups(r.wait.groups)
	return w
}

// Decode reads what [Run.AppendTo] wrote. It keeps nothing of b. It never panics; an error wraps [ErrRow] or
// [ErrVersion].
func Decode(b []byte) (*Run, error) {
	d := newReader(b)
	if v := d.byte(); d.err == nil && v != rowVersion {
		return nil, fmt.Errorf("%w: it has %d, this build reads %d", ErrVersion, v, rowVersion)
	}
	r := &Run{}
	r.namespace = events.Namespace(d.text())
	r.workflowID = events.WorkflowID(d.text())
	copy(r.id[:], d.take(len(r.id)))
	r.kind = events.WorkflowType(d.text())
	r.queue = events.TaskQueue(d.text())
	r.next = events.EventNumber(d.uint())
	r.time = events.Time(d.int())
	r.status = events.Status(d.uintTo(uint64(events.StatusTimedOut)))
	r.ended = events.EventNumber(d.uint())
	r.endedAt = events.Time(d.int())
	r.purged = d.bool()
	r.due = events.Time(d.int())
	r.cancel = events.EventNumber(d.uint())
	r.quarantined = d.bool()
	r.reason = d.text()
	r.code.replayFrom = events.EventNumber(d.uint())
	r.code.base = events.EventNumber(d.uint())
	r.code.upto = events.EventNumber(d.uint())
	r.code.shown = events.Time(d.int())
	r.code.refusals = uint32(d.uintTo(math.MaxUint32))
	r.flight = d.activation()
	r.steps = d.steps()
	if n := d.count(); n > 0 {
		r.tasks = make(map[events.Step]*task, n)
		for range n {
			s, t := d.task()
			if d.err == nil && (s == 0 || r.tasks[s] != nil || t.attempt == 0) {
				d.fail("task %d is there twice or has no attempt", s)
			}
			r.tasks[s] = t
		}
	}
	r.timers = d.times(false)
	r.inbox = d.inbox()
	r.views = d.views()
	now, groups := d.bool(), d.groups()
	if mutant.On(mutant.ForgetWaitSet) {
		groups = nil
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes follow its end", len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRow, d.err)
	}
	r.setWait(events.WaitSet{Now: now, Any: groups})
	return r, nil
}

// writer appends values.
type writer []byte

func (w *writer) uint(v uint64) {
	if v < 0x80 { // most of them
		*w = append(*w, byte(v))
		return
	}
	*w = binary.AppendUvarint(*w, v)
}

func (w *writer) int(v int64) { *w = binary.AppendVarint(*w, v) }

func (w *writer) bool(v bool) {
	if v {
		*w = append(*w, 1)
	} else {
		*w = append(*w, 0)
	}
}

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	*w = append(*w, s...)
}

func (w *writer) activation(a *activation) {
	w.uint(a.number)
	w.uint(uint64(a.attempt))
	w.bool(a.open)
	w.bool(a.retry)
	w.int(int64(a.notBefore))
	w.uint(uint64(a.upto))
	w.uint(uint64(a.failures))
	w.uint(uint64(a.timeouts))
	w.text(string(a.failedBuild))
}

func (w *writer) steps(k *steps) {
	w.uint(uint64(k.high))
	w.uint(uint64(len(k.holes)))
	for _, h := range k.holes {
		w.uint(uint64(h.from))
		w.uint(uint64(h.to))
	}
	w.times(k.backoffs)
}

// fewSteps is how many steps are sorted without making an object.
const fewSteps = 16

// sortedSteps appends the keys of a map to dst, which is empty, in their order.
func sortedSteps[V any](dst []events.Step, of map[events.Step]V) []events.Step {
	for s := range of {
		dst = append(dst, s)
	}
	slices.Sort(dst)
	return dst
}

func (w *writer) times(times map[events.Step]events.Time) {
	w.uint(uint64(len(times)))
	if len(times) == 0 {
		return // most runs, at most times
	}
	var room [fewSteps]events.Step
	for _, s := range sortedSteps(room[:0], times) {
		w.uint(uint64(s))
		w.int(int64(times[s]))
	}
}

func (w *writer) tasks(tasks map[events.Step]*task) {
	w.uint(uint64(len(tasks)))
	if len(tasks) == 0 {
		return
	}
	var room [fewSteps]events.Step
	for _, s := range sortedSteps(room[:0], tasks) {
		w.task(s, tasks[s])
	}
}

func (w *writer) task(s events.Step, t *task) {
	w.uint(uint64(s))
	w.text(string(t.name))
	w.text(string(t.queue))
	w.uint(uint64(t.attempt))
	w.uint(uint64(t.scheduled))
	w.int(int64(t.called))
	w.int(int64(t.offered))
	o := &t.options
	for _, d := range []time.Duration{o.StartToClose, o.Heartbeat, o.ScheduleToStart, o.ScheduleToClose, o.Retry.Initial, o.Retry.Max} {
		w.int(int64(d))
	}
	w.uint(math.Float64bits(o.Retry.Factor))
	w.uint(uint64(o.Retry.MaxAttempts))
	w.uint(uint64(len(o.Retry.NonRetryable)))
	for _, c := range o.Retry.NonRetryable {
		w.text(c)
	}
	w.text(t.details.Encoding)
	w.text(string(t.details.Data))
	w.text(t.details.Blob)
	w.int(t.details.BlobBytes)
}

func (w *writer) inbox(b *inbox) {
	w.uint(uint64(len(b.boxes)))
	for i := range b.boxes {
		x := &b.boxes[i]
		w.text(string(x.name))
		w.uint(x.read)
		w.uint(uint64(x.last))
		w.bool(x.receives)
		w.uint(uint64(len(x.unread)))
		for _, u := range x.unread {
			w.uint(uint64(u.number))
			w.uint(uint64(u.bytes))
		}
	}
}

func (w *writer) views(v *views) {
	w.uint(uint64(len(v.all)))
	for _, x := range v.all {
		w.text(string(x.name))
		w.uint(uint64(x.bytes))
	}
}

func (w *writer) groups(groups []events.WaitGroup) {
	w.uint(uint64(len(groups)))
	for _, g := range groups {
		w.uint(uint64(len(g.Steps)))
		for _, s := range g.Steps {
			w.uint(uint64(s))
		}
		w.uint(uint64(len(g.Signals)))
		for _, s := range g.Signals {
			w.text(string(s.Name))
			w.uint(s.Index)
		}
	}
}
