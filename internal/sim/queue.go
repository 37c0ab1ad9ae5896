package sim

import "container/heap"

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

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || (h[i].at == h[j].at && h[i].order < h[j].order)
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = happening{}
	*h = (*h)[:last]
	return x
}

// after lets something happen in d µs; what happens at one time happens in the order of asking.
func (w *world) after(d int64, what kind, run func()) {
	w.order++
	heap.Push(&w.queue, happening{at: w.now + max(d, 0), order: w.order, what: what, run: run})
}

// next takes what happens next; ok is false when nothing does.
func (w *world) next() (happening, bool) {
	if len(w.queue) == 0 {
		return happening{}, false
	}
	h := heap.Pop(&w.queue).(happening)
	return h, true
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
