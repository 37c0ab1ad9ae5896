package fencing

import (
	"math/rand/v2"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
)

// topic is one partition of a plain log. What is trimmed stays for the judge.
type topic struct {
	all     [][]byte
	trimmed int
	late    [][]byte // sent, given up and still on their way
}

// at returns the message with index i.
func (t *topic) at(i int) fold.Message { return message(i, t.all[i]) }

func message(i int, body []byte) fold.Message {
	return fold.Message{At: fold.Position{Segment: 1, Entry: uint64(i + 1)}, Body: body}
}

// after returns the index of the first message behind a position.
func after(p fold.Position) int { return int(p.Entry) }

// packet is an append on its way; told is called with its outcome, perhaps never, perhaps wrongly with false.
type packet struct {
	body []byte
	told func(ok bool)
}

// conn is one producer's connection: in order, but what was sent last may be sent again, and an append may fail while those
// behind it arrive.
type conn struct {
	queue   []packet
	recent  [][]byte
	results []func()
}

func (c *conn) push(body []byte, told func(ok bool)) { c.queue = append(c.queue, packet{body, told}) }

func (c *conn) empty() bool { return len(c.queue) == 0 && len(c.results) == 0 }

// cut is the death of the producer: what is on its way may arrive up to some point, and nobody hears of it.
func (c *conn) cut(r *rand.Rand) {
	c.queue = c.queue[:r.IntN(len(c.queue)+1)]
	c.results = nil
	for i := range c.queue {
		c.queue[i].told = nil
	}
}

func (c *conn) tell(p packet, ok bool) {
	if p.told != nil {
		c.results = append(c.results, func() { p.told(ok) })
	}
}

// deliver brings one append into the log, or one result back.
func (w *world) deliver(c *conn, t *topic) {
	if len(c.results) > 0 && (len(c.queue) == 0 || w.r.IntN(2) == 0) {
		result := c.results[0]
		c.results = c.results[1:]
		result()
		return
	}
	if len(c.queue) == 0 {
		return
	}
	p := c.queue[0]
	c.queue = c.queue[1:]
	if w.storm && w.r.IntN(25) == 0 { // it fails; those behind it were sent already
		w.Failed++
		if w.r.IntN(3) == 0 {
			t.late = append(t.late, p.body)
		}
		c.tell(p, false)
		return
	}
	t.all = append(t.all, p.body)
	c.recent = append(c.recent, p.body)
	c.recent = c.recent[max(0, len(c.recent)-3):]
	if !w.storm {
		c.tell(p, true)
		return
	}
	switch w.r.IntN(40) {
	case 0: // the result is lost
	case 1: // it is stored, and its producer is told otherwise
		c.tell(p, false)
	case 2, 3, 4: // the connection breaks: sent again, in order, then the rest
		c.tell(p, true)
		again := make([]packet, 0, len(c.recent)+len(c.queue))
		for _, body := range c.recent {
			again = append(again, packet{body: body})
		}
		c.queue = append(again, c.queue...)
		w.Repeated += len(c.recent)
	case 5: // a copy hangs somewhere
		c.tell(p, true)
		t.late = append(t.late, p.body)
	default:
		c.tell(p, true)
	}
}

// arrive brings what was given up into the log.
func (w *world) arrive(t *topic) {
	if len(t.late) > 0 {
		i := w.r.IntN(len(t.late))
		t.all = append(t.all, t.late[i])
		t.late = append(t.late[:i], t.late[i+1:]...)
		w.Late++
	}
}
