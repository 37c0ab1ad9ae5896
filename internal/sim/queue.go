package sim

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
	if len(w.queue) == 0 {
		return happening{}, false
	}
	return w.queue.pop(), true
}

// actor is something that has turns. A turn is asked for by poke; several requests before it make one turn.
type actor struct {
	w     *world
	dead  bool
	set   bool
	at    int64
	asked uint64 // numbers the requests; only the newest counts
	turn  func()
}

// poke asks for a turn in d µs at the latest.
func (a *actor) poke(d int64) {
	at := a.w.now + max(d, 0)
	if a.dead || (a.set && a.at <= at) {
		return
	}
	a.set, a.at = true, at
	a.asked++
	n := a.asked
	a.w.after(d, kindTurn, func() {
		if a.dead || a.asked != n {
			return
		}
		a.set = false
		a.turn()
	})
}
