package post

import "slices"

// outbox is what a process sends to one partition: a stream of numbered messages. One counts as arrived when it came back from
// the log in its turn; until then it is kept, and sent again with all behind it when an append has failed.
type outbox struct {
	queue  []item // in no message yet
	bytes  int    // of queue
	sent   []sent // the first has number low
	low    uint64
	resend int // of sent, the first to be handed out again
	try    uint64
}

type sent struct{ items []byte }

// put queues an item.
func (o *outbox) put(i item) {
	o.queue = append(o.queue, i)
	o.bytes += len(i.body)
}

// without takes the items of a session out of the queue that a new state replaces.
func (o *outbox) without(replaced func(item) bool) {
	o.queue = slices.DeleteFunc(o.queue, replaced)
	o.bytes = 0
	for _, i := range o.queue {
		o.bytes += len(i.body)
	}
}

func (o *outbox) pending() bool {
	return o.resend < len(o.sent) || len(o.queue) > 0 && len(o.sent) < Window
}

// next returns the next message to append.
func (o *outbox) next(life uint64) []byte {
	if o.resend == len(o.sent) {
		var items []byte
		n := 0
		for n < len(o.queue) && (n == 0 || len(items)+len(o.queue[n].body) <= maxItemBytes) {
			items = appendItem(items, o.queue[n])
			o.bytes -= len(o.queue[n].body)
			n++
		}
		if o.queue = slices.Delete(o.queue, 0, n); len(o.queue) == 0 {
			o.queue = nil
		}
		o.sent = append(o.sent, sent{items})
	}
	m := o.sent[o.resend]
	o.resend++
	return appendMessage(nil, life, o.low+uint64(o.resend)-1, o.low, m.items)
}

// cameBack takes note of an own message and reports whether it is the next.
func (o *outbox) cameBack(n uint64) bool {
	if n != o.low || len(o.sent) == 0 {
		return false
	}
	o.sent[0] = sent{}
	o.sent = o.sent[1:]
	o.low++
	o.resend = max(0, o.resend-1)
	return true
}

// again sends everything again that has not come back. Only the first failure of a try counts.
func (o *outbox) again(try uint64) bool {
	if try != o.try || len(o.sent) == 0 {
		return false
	}
	o.try++
	o.resend = 0
	return true
}

// inStream is how far a process has read what another one sends to a partition.
type inStream struct {
	next uint64
	// base is the first message that was seen. Those from doubt to before it may not have arrived when it was sent. When one of
	// them comes, it had failed, and the base came too early.
	doubt, base uint64
	seen        uint64 // when, in messages read
}

// inStreams are those of a partition.
type inStreams struct {
	of   map[uint64]*inStream // by life
	read uint64
}

// maxStreams bounds the senders of a partition that are remembered. The one that was silent for longest is forgotten.
const maxStreams = 1024

// verdict is what a message is to its reader.
type verdict uint8

const (
	repeated verdict = iota
	early            // something before it has not come yet, and will: all are sent again
	accepted
)

// judge returns what a message is, and whether messages before it are lost. A sender that was not known begins with whatever
// message comes first: those before it lie before the place where the reader began.
func (s *inStreams) judge(m *message) (v verdict, lost bool) {
	s.read++
	in := s.of[m.life]
	if in == nil {
		if len(s.of) >= maxStreams {
			s.forgetOne()
		}
		in = &inStream{next: m.n, doubt: m.low, base: m.n}
		if s.of == nil {
			s.of = map[uint64]*inStream{}
		}
		s.of[m.life] = in
	}
	in.seen = s.read
	if m.low > in.next {
		in.next, lost = m.low, true
	}
	switch {
	case m.n < in.next:
		if m.n < in.doubt || m.n >= in.base {
			return repeated, lost
		}
		in.next, in.doubt, lost = m.n, in.base, true // from here on all comes again
	case m.n > in.next:
		return early, lost
	}
	in.next++
	return accepted, lost
}

func (s *inStreams) forgetOne() {
	var oldest uint64
	found := false
	for life, in := range s.of { // sorted: seen differs
		if !found || in.seen < s.of[oldest].seen {
			oldest, found = life, true
		}
	}
	delete(s.of, oldest)
}
