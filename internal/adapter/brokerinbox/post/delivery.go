package post

import (
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The body of a deliveries item is the epoch of the session that they are made for and the list of them. Events in it have
// the encoding that they have in the log.
const (
	taskDelivery       = 1
	activationDelivery = 2
)

func appendDelivery(b []byte, d *inbox.Delivery) []byte {
	b = appendText(b, d.Worker)
	b = binary.AppendUvarint(b, uint64(d.Partition))
	b = binary.AppendUvarint(b, uint64(d.From))
	b = binary.AppendUvarint(b, uint64(d.Number))
	b = binary.AppendVarint(b, int64(d.NotAfter))
	if t := d.Task; t != nil {
		b = append(b, taskDelivery)
		b = appendText(b, t.Namespace)
		b = appendText(b, t.WorkflowID)
		b = append(b, t.Task.Run[:]...)
		b = binary.AppendUvarint(b, uint64(t.Task.Step))
		b = binary.AppendUvarint(b, uint64(t.Attempt))
		b = appendText(b, t.Name)
		b = appendText(b, t.Queue)
		b = binary.AppendVarint(b, int64(t.NotBefore))
		b = binary.AppendUvarint(b, uint64(t.Scheduled))
		b = binary.AppendUvarint(b, uint64(t.OfferTo))
		b = binary.AppendVarint(b, int64(t.OfferUntil))
		if t.Call == nil {
			return appendText(b, "")
		}
		return appendText(b, string(events.AppendEvent(nil, *t.Call)))
	}
	a := d.Activation
	b = append(b, activationDelivery)
	b = appendText(b, a.Namespace)
	b = appendText(b, a.WorkflowID)
	b = append(b, a.RunID[:]...)
	b = binary.AppendUvarint(b, uint64(a.Number))
	b = binary.AppendVarint(b, int64(a.At))
	return appendText(b, string(events.AppendEvent(nil, a.Activation)))
}

func readDelivery(r *reading) inbox.Delivery {
	d := inbox.Delivery{
		Worker: text[events.WorkerID](r), Partition: events.Partition(r.number()), From: events.Seq(r.number()), Number: uint32(r.number()),
		NotAfter: events.Time(r.signed()),
	}
	switch k := r.byte(); {
	case r.err != nil:
	case k == taskDelivery:
		t := &events.OpenTask{
			Namespace: text[events.Namespace](r), WorkflowID: text[events.WorkflowID](r), Task: events.TaskID{Run: r.run(), Step: events.Step(r.number())},
			Attempt: events.Attempt(r.number()), Name: text[events.TaskName](r), Queue: text[events.TaskQueue](r), NotBefore: events.Time(r.signed()),
			Scheduled: events.EventNumber(r.number()), OfferTo: events.SessionID(r.number()), OfferUntil: events.Time(r.signed()),
		}
		if b := r.bytes(); len(b) > 0 {
			call := readEvent[events.TaskScheduled](r, b)
			t.Call = &call
		}
		d.Task = t
	case k == activationDelivery:
		a := &events.OpenActivation{
			Namespace: text[events.Namespace](r), WorkflowID: text[events.WorkflowID](r), RunID: r.run(), Number: events.EventNumber(r.number()),
			At: events.Time(r.signed()),
		}
		a.Activation = readEvent[events.ActivationScheduled](r, r.bytes())
		d.Activation = a
	default:
		r.err = fmt.Errorf("a delivery of kind %d is not known", k)
	}
	return d
}

// readEvent reads an event that has to be of one type.
func readEvent[T events.Event](r *reading, b []byte) (want T) {
	if r.err != nil {
		return want
	}
	e, err := events.DecodeEvent(b)
	if err != nil {
		r.err = fmt.Errorf("an event in a delivery: %w", err)
		return want
	}
	got, ok := e.(T)
	if !ok {
		r.err = fmt.Errorf("a delivery has an event %T, not %T", e, want)
	}
	return got
}

// deliveryItems encodes deliveries, in as many items as their size asks for.
func deliveryItems(session events.SessionID, epoch uint64, all []inbox.Delivery) ([]item, error) {
	var items []item
	var body []byte
	count := 0
	flush := func() {
		if count > 0 {
			whole := binary.AppendUvarint(nil, epoch)
			whole = binary.AppendUvarint(whole, uint64(count))
			items = append(items, item{deliveries, session, append(whole, body...)})
		}
		body, count = nil, 0
	}
	for i := range all {
		one := appendDelivery(nil, &all[i])
		if len(one) > maxItemBytes && all[i].Task != nil && all[i].Task.Call != nil { // its gateway reads it in the log
			open := *all[i].Task
			open.Call = nil
			without := all[i]
			without.Task = &open
			one = appendDelivery(nil, &without)
		}
		if len(one) > maxItemBytes {
			return nil, fmt.Errorf("a delivery of %d bytes, and the limit is %d", len(one), maxItemBytes)
		}
		if len(body)+len(one) > maxItemBytes {
			flush()
		}
		body = append(body, one...)
		count++
	}
	flush()
	return items, nil
}

func readDeliveries(b []byte) (epoch uint64, all []inbox.Delivery, err error) {
	r := reading{b: b}
	epoch = r.number()
	all = list(&r, readDelivery)
	return epoch, all, r.err
}
