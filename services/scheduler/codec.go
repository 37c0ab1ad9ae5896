package scheduler

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

// rowVersion is the first byte of every row's body. In version 1 tasks had no offers.
const rowVersion = 2

var errDamagedRow = errors.New("the row is damaged; the due index has to be made again")

func appendTimer(b []byte, t *timer) []byte {
	b = append(b, rowVersion)
	b = appendText(b, t.namespace)
	return appendText(b, t.workflowID)
}

func decodeTimer(body []byte) (events.Namespace, events.WorkflowID, error) {
	r := reading{b: body}
	r.version()
	ns, id := text[events.Namespace](&r), text[events.WorkflowID](&r)
	return ns, id, r.end()
}

func appendItem(b []byte, i *matcher.Item) []byte {
	b = append(b, rowVersion)
	b = appendNumbers(b, uint64(i.From), uint64(i.Opened), uint64(i.StartBy))
	if t := i.Task; t != nil {
		b = appendNumbers(b, flag(i.TimesOut), uint64(t.Attempt), uint64(t.NotBefore), uint64(t.Scheduled))
		b = appendText(b, t.Namespace)
		b = appendText(b, t.WorkflowID)
		b = appendText(b, t.Name)
		b = appendText(b, t.Queue)
		return appendNumbers(b, uint64(t.OfferTo), uint64(t.OfferUntil))
	}
	a := i.Activation
	b = appendNumbers(b, uint64(a.Number), a.Activation.Activation, uint64(a.Activation.Attempt), uint64(a.Activation.Base),
		uint64(a.Activation.ReplayFrom), uint64(a.Activation.Upto), uint64(a.Activation.NotBefore), uint64(a.Activation.OfferTo),
		uint64(a.Activation.OfferUntil), uint64(a.At))
	b = appendText(b, a.Namespace)
	b = appendText(b, a.WorkflowID)
	b = appendText(b, a.Activation.Type)
	b = appendText(b, a.Activation.Queue)
	return appendText(b, a.Activation.FailedBuild)
}

// decodeRow reads what says whether there is room for an item.
func decodeRow(row dueindex.Item, known interned) (matcher.Row, error) {
	r := reading{b: row.Body, known: known}
	r.version()
	out := matcher.Row{ID: itemID(row.Key), Kind: matcher.Activation, Start: row.Due}
	if row.Key.Kind == dueindex.KindTask {
		out.Kind = matcher.Task
		r.skip(3 + 4)
	} else {
		r.skip(3 + 1)
		out.Begun = r.number() > 1
		r.skip(8)
	}
	r.bytes() // the namespace
	r.bytes() // the workflow id
	out.Name, out.Queue = name[string](&r), name[events.TaskQueue](&r)
	return out, r.err
}

func decodeItem(row dueindex.Item, p events.Partition, known interned) (matcher.Item, error) {
	r := reading{b: row.Body, known: known}
	version := r.version()
	item := matcher.Item{Partition: p, From: events.Seq(r.number()), Opened: events.Time(r.number()), StartBy: events.Time(r.number())}
	if row.Key.Kind == dueindex.KindTask {
		item.TimesOut = r.number() != 0
		item.Task = &events.OpenTask{
			Task:    events.TaskID{Run: row.Key.RunID, Step: row.Key.Timer.Step},
			Attempt: events.Attempt(r.number()), NotBefore: events.Time(r.number()), Scheduled: events.EventNumber(r.number()),
			Namespace: name[events.Namespace](&r), WorkflowID: text[events.WorkflowID](&r), Name: name[events.TaskName](&r),
			Queue: name[events.TaskQueue](&r),
		}
		if version > 1 {
			item.Task.OfferTo, item.Task.OfferUntil = events.SessionID(r.number()), events.Time(r.number())
		}
		return item, r.end()
	}
	item.Activation = &events.OpenActivation{
		RunID: row.Key.RunID, Number: events.EventNumber(r.number()),
		Activation: events.ActivationScheduled{
			Activation: r.number(), Attempt: events.Attempt(r.number()), Base: events.EventNumber(r.number()),
			ReplayFrom: events.EventNumber(r.number()), Upto: events.EventNumber(r.number()), NotBefore: events.Time(r.number()),
			OfferTo: events.SessionID(r.number()), OfferUntil: events.Time(r.number()),
		},
		At: events.Time(r.number()), Namespace: name[events.Namespace](&r), WorkflowID: text[events.WorkflowID](&r),
	}
	item.Activation.Activation.Type = name[events.WorkflowType](&r)
	item.Activation.Activation.Queue = name[events.TaskQueue](&r)
	item.Activation.Activation.FailedBuild = name[events.BuildID](&r)
	return item, r.end()
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendText[T ~string](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reading reads a body; after the first error everything is zero.
type reading struct {
	b     []byte
	known interned
	err   error
}

// interned are names that many rows have: each is kept once.
type interned map[string]string

// maxNames bounds them; when there are more they are forgotten and come again.
const maxNames = 4096

func (n interned) of(b []byte) string {
	s, ok := n[string(b)]
	if !ok {
		if len(n) >= maxNames {
			clear(n)
		}
		s = string(b)
		n[s] = s
	}
	return s
}

func (r *reading) version() (version byte) {
	switch {
	case len(r.b) == 0 || r.b[0] == 0:
		r.err = errDamagedRow
	case r.b[0] > rowVersion:
		r.err = fmt.Errorf("row version %d is not known to this build: upgrade to the version that wrote it", r.b[0])
	default:
		version, r.b = r.b[0], r.b[1:]
	}
	return version
}

func (r *reading) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if r.err != nil || size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reading) skip(numbers int) {
	for range numbers {
		r.number()
	}
}

func (r *reading) bytes() []byte {
	n := r.number()
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func text[T ~string](r *reading) T { return T(r.bytes()) }

func name[T ~string](r *reading) T { return T(r.known.of(r.bytes())) }

func (r *reading) fail() {
	if r.err == nil {
		r.err = errDamagedRow
	}
}

func (r *reading) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = errDamagedRow
	}
	return r.err
}
