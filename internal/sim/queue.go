package sim

import "slices"

// happening is something that happens at a virtual time.
type happening struct {
	at    int64 // µs since the world began
	order uint64
	what  kind
	do    doer
}

// doer is what a happening does. What happens often is an object that knows what it needs, instead of a closure each time.
type doer interface{ happen() }

// act is a doer for what happens seldom.
type act func()

func (f act) happen() { f() }

// kind names what happens, for the trace and its hash.
type kind uint8

const (
	kindTurn kind = iota + 1
	kindMessage
	kindWork
	kindClient
	kindNemesis
	kindCheck
)

func (k kind) String() string {
	return [...]string{"", "turn", "message", "work", "client", "nemesis", "check"}[k]
}

// happenings is a heap with four children each, earliest first.
type happenings []happening

func (h happening) before(o *happening) bool {
	return h.at < o.at || h.at == o.at && h.order < o.order
}

func (h *happenings) push(x happening) {
	s := append(*h, x)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !x.before(&s[up]) {
			break
		}
		s[i], i = s[up], up
	}
	s[i] = x
	*h = s
}

func (h *happenings) pop() happening {
	s := *h
	first, last := s[0], len(s)-1
	x := s[last]
	s[last] = happening{}
	s = s[:last]
	*h = s
	for i := 0; last > 0; {
		least := 4*i + 1
		if least >= last {
			s[i] = x
			break
		}
		for k := least + 1; k < min(4*i+5, last); k++ {
			if s[k].before(&s[least]) {
				least = k
			}
		}
		if !s[least].before(&x) {
			s[i] = x
			break
		}
		s[i], i = s[least], least
	}
	return first
}

// lanes are the delays that most of what has to wait for seconds is asked for with, such as the patience of a client. It is
// mostly over by the time when it happens. As time does not fall, what comes later in a lane happens later: it needs no heap.
var lanes = [...]int64{second, 2 * second, activationDeadline.Microseconds() / 3, patience}

// lane is what was asked for with one delay, the next one at first.
type lane struct {
	waiting []happening
	first   int
}

func (l *lane) empty() bool { return l.first == len(l.waiting) }

func (l *lane) push(x happening) {
	if l.first > len(l.waiting)/2 {
		n := copy(l.waiting, l.waiting[l.first:])
		clear(l.waiting[n:])
		l.waiting, l.first = l.waiting[:n], 0
	}
	l.waiting = append(l.waiting, x)
}

func (l *lane) pop() happening {
	x := l.waiting[l.first]
	l.waiting[l.first].do = nil
	l.first++
	return x
}

// after lets something happen in d µs; what happens at one time happens in the order of asking.
func (w *world) after(d int64, what kind, f func()) { w.later(d, what, act(f)) }

// later is after with an object.
func (w *world) later(d int64, what kind, do doer) {
	w.order++
	x := happening{at: w.now + max(d, 0), order: w.order, what: what, do: do}
	for i := range lanes {
		if d == lanes[i] {
			w.lanes[i].push(x)
			return
		}
	}
	w.queue.push(x)
}

// next takes what happens next; ok is false when nothing does.
func (w *world) next() (happening, bool) {
	var first *happening
	var in *lane // of the first; nil if it is in the queue
	if len(w.queue) > 0 {
		first = &w.queue[0]
	}
	for i := range w.lanes {
		l := &w.lanes[i]
		if !l.empty() && (first == nil || l.waiting[l.first].before(first)) {
			first, in = &l.waiting[l.first], l
		}
	}
	a := w.nextTurn()
	switch {
	case a != nil && (first == nil || a.before(first)):
		a.set, a.woken = false, false
		return happening{at: a.at, what: kindTurn, do: act(a.turn)}, true
	case first == nil:
		return happening{}, false
	case in != nil:
		return in.pop(), true
	}
	return w.queue.pop(), true
}

// nextTurn returns the actor whose turn is the first of all, nil if none has asked for one. There are few actors, and most of
// what they ask for is overtaken by an earlier request: looking at all of them costs less than a place in the queue for each.
func (w *world) nextTurn() (first *actor) {
	for i := 0; i < len(w.actors); i++ {
		a := w.actors[i]
		switch {
		case a.dead:
			w.actors = slices.Delete(w.actors, i, i+1)
			i--
		case !a.set:
		case first == nil || a.at < first.at || a.at == first.at && a.order < first.order:
			first = a
		}
	}
	return first
}

// actor is something that has turns. A turn is asked for by poke; several requests before it make one turn, the earliest.
type actor struct {
	w      *world
	dead   bool
	listed bool
	set    bool
	woken  bool // there is something to do in the turn that is asked for
	at     int64
	order  uint64
	turn   func()
}

func (a *actor) before(h *happening) bool { return a.at < h.at || a.at == h.at && a.order < h.order }

// wake asks for a turn because there is something to do. What comes until then does not hasten it: it waits as behind a sync.
func (a *actor) wake() {
	if a.woken || a.dead {
		return
	}
	a.woken = true
	a.poke(a.w.soon())
}

// poke asks for a turn in d µs at the latest.
func (a *actor) poke(d int64) {
	w := a.w
	at := w.now + max(d, 0)
	if a.dead || (a.set && a.at <= at) {
		return
	}
	if !a.listed {
		a.listed, w.actors = true, append(w.actors, a)
	}
	w.order++
	a.set, a.at, a.order = true, at, w.order
}
