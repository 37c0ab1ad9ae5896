package matcher

import (
	"cmp"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// group is everything of one kind on one queue: the lanes of work, by name, and the workers that listen.
type group struct {
	kind    Kind
	queue   events.TaskQueue
	lanes   []*lane   // sorted by name, the one of begun runs first
	workers []*worker // sorted by id
	joined  uint64    // counts changes of workers, so that lanes know when to look at them again
	turn    string    // the name served last: the next one begins
	pruneAt int
	dirty   bool // work or credits came since the last Match
}

// lane is the backlog of one name: what waits in memory, and how much of it only the index has. Activations of runs that have
// begun have a lane of their own beside that of the runs that have not.
type lane struct {
	group *group
	name  string
	begun bool
	// general is for any worker, sticky for the worker where the run is live, early for builds other than the one that
	// failed. All hold what may start now, except early, whose entries wait for their time as well.
	general heap
	sticky  map[events.WorkerID]*heap
	early   map[events.BuildID]*heap

	waiting int // entries not held
	later   int // of those, the ones whose time has not come
	fresh   int // of those, the ones the index does not have yet
	held    int
	spilled int // only in the index, about
	left    int // during a sweep: rows passed over
	added   int // during a sweep: entries spilled since it began
	passed  int // begun runs served in a row while this one waited

	first     rank // at or before what was spilled, if something was
	leftFirst rank // the first of left

	offering []*worker // of the group's, those that offer the name
	joined   uint64    // the group's count that offering was made for
}

func (l *lane) idle() bool { return l.waiting == 0 && l.held == 0 && l.spilled == 0 }

// workers returns the workers that offer the lane's name, sorted by id.
func (l *lane) workers() []*worker {
	if l.joined != l.group.joined {
		l.offering = l.offering[:0]
		for _, w := range l.group.workers {
			if w.offers(l.group.kind, l.name) {
				l.offering = append(l.offering, w)
			}
		}
		l.joined = l.group.joined
	}
	return l.offering
}

func (l *lane) stickyOf(w events.WorkerID) *heap {
	h := l.sticky[w]
	if h == nil {
		h = &heap{order: byReady}
		if l.sticky == nil {
			l.sticky = make(map[events.WorkerID]*heap)
		}
		l.sticky[w] = h
	}
	return h
}

func (l *lane) earlyOf(b events.BuildID) *heap {
	h := l.early[b]
	if h == nil {
		h = &heap{order: byReady}
		if l.early == nil {
			l.early = make(map[events.BuildID]*heap)
		}
		l.early[b] = h
	}
	return h
}

// minPrune is how many lanes or groups may be idle before they are looked through.
const minPrune = 64

func (m *Matcher) group(kind Kind, queue events.TaskQueue) *group {
	i, ok := slices.BinarySearchFunc(m.groups, queue, func(g *group, q events.TaskQueue) int {
		if g.queue == q {
			return cmp.Compare(g.kind, kind)
		}
		return strings.Compare(string(g.queue), string(q))
	})
	if ok {
		return m.groups[i]
	}
	if len(m.groups) >= m.pruneAt {
		m.groups = slices.DeleteFunc(m.groups, func(g *group) bool {
			return len(g.workers) == 0 && !g.dirty && !slices.ContainsFunc(g.lanes, func(l *lane) bool { return !l.idle() })
		})
		m.pruneAt = max(minPrune, 2*len(m.groups))
		return m.group(kind, queue)
	}
	g := &group{kind: kind, queue: queue, pruneAt: minPrune, joined: 1}
	m.groups = slices.Insert(m.groups, i, g)
	return g
}

func (m *Matcher) lane(kind Kind, queue events.TaskQueue, name string, begun bool) *lane {
	g := m.group(kind, queue)
	i, ok := g.place(name, begun)
	if ok {
		return g.lanes[i]
	}
	if len(g.lanes) >= g.pruneAt {
		g.lanes = slices.DeleteFunc(g.lanes, (*lane).idle)
		g.pruneAt = max(minPrune, 2*len(g.lanes))
		return m.lane(kind, queue, name, begun)
	}
	l := &lane{group: g, name: name, begun: begun}
	g.lanes = slices.Insert(g.lanes, i, l)
	return l
}

// place returns where a lane is or would be.
func (g *group) place(name string, begun bool) (i int, ok bool) {
	return slices.BinarySearchFunc(g.lanes, name, func(l *lane, n string) int {
		switch {
		case l.name != n:
			return strings.Compare(l.name, n)
		case l.begun == begun:
			return 0
		case l.begun:
			return -1
		}
		return 1
	})
}

// named returns the lanes that have the name of the one at i, which is the first that has it: one, or two.
func (g *group) named(i int) []*lane {
	n := 1
	if i+1 < len(g.lanes) && g.lanes[i+1].name == g.lanes[i].name {
		n = 2
	}
	return g.lanes[i : i+n]
}

func (m *Matcher) touch(g *group) {
	if !g.dirty {
		g.dirty = true
		m.dirty = append(m.dirty, g)
	}
}

// room is how many entries of a lane may wait in memory. When the whole memory is full every lane keeps a floor, so
// that dead lanes cannot starve those with workers.
func (m *Matcher) room() int {
	if m.waiting > m.limits.Total {
		return m.limits.Floor
	}
	return m.limits.Lane
}

// Lane is what waits under one name of a queue.
type Lane struct {
	Queue events.TaskQueue
	Kind  Kind
	Name  string
	// Waiting may start now, Later when its back-off is over, Held was given to a worker. Waiting includes what is only in
	// the index; that part is exact after each sweep and about right in between.
	Waiting, Later, Held int
	// Oldest is when the longest-waiting item that may start could have started; 0 when none is in memory.
	Oldest events.Time
	// Workers is the number of workers that offer the name.
	Workers int
}

// Lanes returns what waits or is held, sorted by queue, kind and name.
func (m *Matcher) Lanes() []Lane {
	var lanes []Lane
	for _, g := range m.groups {
		for i := 0; i < len(g.lanes); {
			both := g.named(i)
			i += len(both)
			out := Lane{Queue: g.queue, Kind: g.kind, Name: both[0].name, Workers: len(both[0].workers())}
			idle := true
			for _, l := range both {
				idle = idle && l.idle()
				out.Waiting += l.waiting - l.later + l.spilled
				out.Later += l.later
				out.Held += l.held
				if at := l.oldest(); at != 0 && (out.Oldest == 0 || at < out.Oldest) {
					out.Oldest = at
				}
			}
			if !idle {
				lanes = append(lanes, out)
			}
		}
	}
	return lanes
}

// oldest returns when the longest-waiting entry that may start could have started; 0 when there is none.
func (l *lane) oldest() (at events.Time) {
	if e := l.general.min(); e != nil {
		at = e.ready
	}
	for _, w := range l.workers() {
		if e := l.sticky[w.id].min(); e != nil && (at == 0 || e.ready < at) {
			at = e.ready
		}
	}
	return at
}
