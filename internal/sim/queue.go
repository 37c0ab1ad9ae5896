package sim

import "slices"

// happening is something that happens at a virtual time.
type happening struct {
	at    int64 // µs since the world began
	order uint64
	what  kind
	run   func()
}

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

// after lets something happen in d µs; what happens at one time happens in the order of asking.
func (w *world) after(d int64, what kind, run func()) {
	w.order++
	w.queue.push(happening{at: w.now + max(d, 0), order: w.order, what: what, run: run})
}

// next takes what happens next; ok is false when nothing does.
func (w *world) next() (happening, bool) {
	a := w.nextTurn()
	switch {
	case a != nil && (len(w.queue) == 0 || a.before(&w.queue[0])):
		a.set = false
		return happening{at: a.at, what: kindTurn, run: a.turn}, true
	case len(w.queue) == 0:
		return happening{}, false
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
	at     int64
	order  uint64
	turn   func()
}

func (a *actor) before(h *happening) bool { return a.at < h.at || a.at == h.at && a.order < h.order }

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
