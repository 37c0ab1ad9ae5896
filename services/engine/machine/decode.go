package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

var errShort = errors.New("it ends too early")

// sharedRow is up to how many bytes of a row its texts are parts of one string: each of them keeps all of it in memory.
const sharedRow = 512

// reader takes values off b. After the first error it gives zero values.
type reader struct {
	b      []byte
	shared string // b, as it was in the beginning, if it is small
	err    error
}

func newReader(b []byte) reader {
	if len(b) > sharedRow {
		return reader{b: b}
	}
	return reader{b: b, shared: string(b)}
}

func (d *reader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *reader) take(n int) []byte {
	if d.err == nil && n > len(d.b) {
		d.err = errShort
	}
	if d.err != nil {
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *reader) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *reader) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("%d is not a truth value", v)
	}
	return v == 1
}

func (d *reader) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *reader) uintTo(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.fail("the number %d is above its limit %d", v, limit)
		return 0
	}
	return v
}

func (d *reader) int() int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads the number of things that follow, each of at least one byte.
func (d *reader) count() int { return int(d.uintTo(uint64(len(d.b)))) }

func (d *reader) text() string {
	t := d.take(d.count())
	if len(t) == 0 || d.shared == "" {
		return string(t)
	}
	end := len(d.shared) - len(d.b)
	return d.shared[end-len(t) : end]
}

func (d *reader) activation() activation {
	var a activation
	a.number = d.uint()
	a.attempt = events.Attempt(d.uintTo(math.MaxUint32))
	a.open = d.bool()
	a.retry = d.bool()
	a.notBefore = events.Time(d.int())
	a.upto = events.EventNumber(d.uint())
	a.failures = uint32(d.uintTo(math.MaxUint32))
	a.timeouts = uint32(d.uintTo(math.MaxUint32))
	a.failedBuild = events.BuildID(d.text())
	if a.open && a.retry {
		d.fail("activation %d is both in flight and over", a.number)
	}
	return a
}

func (d *reader) steps() steps {
	k := steps{high: events.Step(d.uint())}
	last := events.Step(0)
	for range d.count() {
		h := hole{events.Step(d.uint()), events.Step(d.uint())}
		if d.err != nil {
			return steps{}
		}
		if h.from <= last || h.to < h.from || h.to >= k.high {
			d.fail("the unused steps %d to %d are out of order", h.from, h.to)
			return steps{}
		}
		last = h.to
		k.holes = append(k.holes, h)
	}
	k.backoffs = d.times(true)
	return k
}

func (d *reader) times(zero bool) map[events.Step]events.Time {
	n := d.count()
	if n == 0 || d.err != nil {
		return nil
	}
	times := make(map[events.Step]events.Time, n)
	last := events.Step(0)
	for range n {
		s, t := events.Step(d.uint()), events.Time(d.int())
		if d.err == nil && (s <= last || t < 0 || (t == 0 && !zero)) {
			d.fail("step %d with time %d is out of order", s, t)
		}
		if d.err != nil {
			return nil
		}
		last = s
		times[s] = t
	}
	return times
}

func (d *reader) task() (events.Step, *task) {
	s := events.Step(d.uint())
	t := &task{
		name: events.TaskName(d.text()), queue: events.TaskQueue(d.text()),
		attempt: events.Attempt(d.uintTo(math.MaxUint32)), scheduled: events.EventNumber(d.uint()),
		called: events.Time(d.int()), offered: events.Time(d.int()),
	}
	o := &t.options
	for _, to := range []*time.Duration{
		&o.StartToClose, &o.Heartbeat, &o.ScheduleToStart, &o.ScheduleToClose, &o.Retry.Initial, &o.Retry.Max,
	} {
		*to = time.Duration(d.int())
	}
	o.Retry.Factor = math.Float64frombits(d.uint())
	o.Retry.MaxAttempts = uint32(d.uintTo(math.MaxUint32))
	for range d.count() {
		o.Retry.NonRetryable = append(o.Retry.NonRetryable, d.text())
	}
	t.details.Encoding = d.text()
	if data := d.text(); data != "" {
		t.details.Data = []byte(data)
	}
	t.details.Blob = d.text()
	t.details.BlobBytes = d.int()
	return s, t
}

func (d *reader) inbox() inbox {
	var b inbox
	for range d.count() {
		x := box{name: events.SignalName(d.text()), read: d.uint(), last: events.EventNumber(d.uint()), receives: d.bool()}
		last := events.EventNumber(0)
		n := d.count()
		x.unread = slices.Grow(x.unread, n)
		for range n {
			u := unread{events.EventNumber(d.uint()), int(d.uintTo(math.MaxInt32))}
			if d.err == nil && u.number <= last {
				d.fail("the unread signals %q are out of order", x.name)
			}
			if d.err != nil {
				return inbox{}
			}
			last = u.number
			x.unread = append(x.unread, u)
			b.unread++
			b.bytes += u.bytes
		}
		x.received = x.read + uint64(len(x.unread))
		if n := len(b.boxes); d.err == nil && n > 0 && b.boxes[n-1].name >= x.name {
			d.fail("the signal name %q is out of order", x.name)
		}
		if d.err != nil {
			return inbox{}
		}
		b.boxes = append(b.boxes, x)
	}
	return b
}

func (d *reader) views() views {
	var v views
	for range d.count() {
		x := view{name: events.ViewName(d.text()), bytes: int(d.uintTo(math.MaxInt32))}
		if n := len(v.all); d.err == nil && n > 0 && v.all[n-1].name >= x.name {
			d.fail("the view %q is out of order", x.name)
		}
		if d.err != nil {
			return views{}
		}
		v.all = append(v.all, x)
		v.bytes += x.bytes
	}
	return v
}

func (d *reader) groups() []events.WaitGroup {
	var groups []events.WaitGroup
	for range d.count() {
		var g events.WaitGroup
		for range d.count() {
			g.Steps = append(g.Steps, events.Step(d.uint()))
		}
		for range d.count() {
			g.Signals = append(g.Signals, events.SignalWait{Name: events.SignalName(d.text()), Index: d.uint()})
		}
		if d.err != nil {
			return nil
		}
		groups = append(groups, g)
	}
	return groups
}
