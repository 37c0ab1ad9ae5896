package sqlite

import (
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// bodyVersion is the first byte of every body. A body has what lists and filters do not look at: result, failure and what
// the run waits for.
const bodyVersion = 1

// maxCauses bounds how deep a failure is read.
const maxCauses = 64

func appendBody(b []byte, r *row.Run) []byte {
	b = append(b, bodyVersion)
	b = appendPayload(b, r.Result)
	b = appendFailure(b, r.Failure)
	b = appendNumber(b, len(r.Tasks))
	for i := range r.Tasks {
		t := &r.Tasks[i]
		b = appendNumber(b, t.Step)
		b = appendText(b, t.Name)
		b = appendText(b, t.Queue)
		b = appendNumber(b, t.Attempt)
		b = appendNumber(b, t.Scheduled)
		b = appendNumber(b, t.NextAttempt)
		b = appendFailure(b, t.LastFailure)
	}
	b = appendNumber(b, len(r.Timers))
	for i := range r.Timers {
		t := &r.Timers[i]
		b = appendNumber(b, t.Step)
		b = appendNumber(b, t.Due)
		b = appendText(b, t.Label)
		b = appendFailure(b, t.LastFailure)
	}
	b = appendNumber(b, len(r.Signals))
	for _, s := range r.Signals {
		b = appendText(b, s.Name)
		b = appendNumber(b, s.Index)
	}
	b = appendNumber(b, len(r.Inbox))
	for _, n := range r.Inbox {
		b = appendText(b, n.Name)
		b = appendNumber(b, n.Received)
		b = appendNumber(b, n.Read)
	}
	a := r.Activation
	if a == nil {
		return appendNumber(b, 0)
	}
	b = appendNumber(b, 1)
	b = appendNumber(b, a.Activation)
	b = appendNumber(b, a.Attempt)
	b = appendNumber(b, a.Since)
	b = appendNumber(b, a.NotBefore)
	return appendFailure(b, a.LastFailure)
}

// appendHead makes what lists show and no query looks for.
func appendHead(b []byte, r *row.Run) []byte {
	b = appendNumber(b, uint32(r.Partition))
	b = appendText(b, r.Queue)
	b = appendNumber(b, r.Ended)
	b = appendNumber(b, r.CancelRequested)
	b = appendNumber(b, r.Unread)
	b = appendNumber(b, r.TasksScheduled)
	b = appendNumber(b, r.Continued)
	return appendNumber(b, len(r.Views))
}

// decodeHead reads a head and how many views the run has.
func decodeHead(b []byte, r *row.Run) (views int, err error) {
	d := decoder{b: b}
	r.Partition, r.Queue = events.Partition(number[uint32](&d)), text[events.TaskQueue](&d)
	r.Ended, r.CancelRequested = number[events.Time](&d), number[events.Time](&d)
	r.Unread, r.TasksScheduled, r.Continued = number[uint64](&d), number[uint64](&d), number[uint64](&d)
	views = number[int](&d)
	return views, d.end()
}

func decodeBody(b []byte, r *row.Run) error {
	d := decoder{b: b}
	if v := d.byte(); v != bodyVersion && !d.bad {
		return fmt.Errorf("%w: a row has version %d, this build reads %d", readmodel.ErrDamaged, v, bodyVersion)
	}
	r.Result = d.payload()
	r.Failure = d.failure(0)
	for range d.count() {
		r.Tasks = append(r.Tasks, row.Task{
			Step: number[events.Step](&d), Name: text[events.TaskName](&d), Queue: text[events.TaskQueue](&d), Attempt: number[events.Attempt](&d),
			Scheduled: number[events.Time](&d), NextAttempt: number[events.Time](&d), LastFailure: d.failure(0),
		})
	}
	for range d.count() {
		r.Timers = append(r.Timers, row.Timer{
			Step: number[events.Step](&d), Due: number[events.Time](&d), Label: text[string](&d), LastFailure: d.failure(0),
		})
	}
	for range d.count() {
		r.Signals = append(r.Signals, row.SignalWait{Name: text[events.SignalName](&d), Index: number[uint64](&d)})
	}
	for range d.count() {
		r.Inbox = append(r.Inbox, row.Inbox{Name: text[events.SignalName](&d), Received: number[uint64](&d), Read: number[uint64](&d)})
	}
	if d.count() > 0 {
		r.Activation = &row.Activation{
			Activation: number[uint64](&d), Attempt: number[events.Attempt](&d), Since: number[events.Time](&d), NotBefore: number[events.Time](&d),
			LastFailure: d.failure(0),
		}
	}
	return d.end()
}

func appendPayload(b []byte, p events.Payload) []byte {
	b = appendText(b, p.Encoding)
	b = appendText(b, p.Data)
	b = appendText(b, p.Blob)
	return appendNumber(b, p.BlobBytes)
}

func decodePayload(b []byte) (events.Payload, error) {
	d := decoder{b: b}
	p := d.payload()
	return p, d.end()
}

func appendFailure(b []byte, f *events.Failure) []byte {
	for ; f != nil; f = f.Cause {
		b = append(b, 1)
		b = appendText(b, f.Code)
		b = appendText(b, f.Message)
		b = appendText(b, f.Type)
		if f.NonRetryable {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = appendPayload(b, f.Details)
	}
	return append(b, 0)
}

func appendNumber[T ~int | ~int64 | ~uint32 | ~uint64](b []byte, n T) []byte {
	return binary.AppendUvarint(b, uint64(n))
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads what the append functions wrote. After the first wrong byte everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func number[T ~int | ~int64 | ~uint32 | ~uint64](d *decoder) T {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return T(n)
}

// count reads the number of things that follow, each of at least one byte.
func (d *decoder) count() int {
	n := number[uint64](d)
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func text[T ~string](d *decoder) T {
	n := d.count()
	s := T(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) payload() events.Payload {
	p := events.Payload{Encoding: text[string](d)}
	if data := text[string](d); data != "" {
		p.Data = []byte(data)
	}
	p.Blob, p.BlobBytes = text[string](d), number[int64](d)
	return p
}

func (d *decoder) failure(depth int) *events.Failure {
	if d.byte() == 0 {
		return nil
	}
	if depth > maxCauses {
		d.bad, d.b = true, nil
		return nil
	}
	f := &events.Failure{
		Code: text[string](d), Message: text[string](d), Type: text[string](d), NonRetryable: d.byte() != 0, Details: d.payload(),
	}
	f.Cause = d.failure(depth + 1)
	return f
}

func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("%w: a row cannot be decoded", readmodel.ErrDamaged)
	}
	return nil
}
