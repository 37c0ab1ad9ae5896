package matcher

import (
	"container/list"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Worker is one worker process as its gateway announces it.
type Worker struct {
	Session events.SessionID
	ID      events.WorkerID
	Build   events.BuildID
	Queue   events.TaskQueue
	// Tasks and Workflows are the names it has code for.
	Tasks, Workflows []string
}

// Held names an attempt that a worker has: of a task, or of an activation when Step is 0.
type Held struct {
	Worker     events.WorkerID
	Run        events.RunID
	Step       events.Step
	Activation uint64
	Attempt    events.Attempt
}

// session is one life of a gateway.
type session struct {
	id      events.SessionID
	workers []*worker
	held    list.List // of *entry, in the order in which they were given
}

type worker struct {
	session   *session
	id        events.WorkerID
	build     events.BuildID
	queue     events.TaskQueue
	tasks     []string // sorted
	workflows []string // sorted
	credit    [2]int   // by kind; below 0 when credits were taken back too late
	busy      [2]int   // what it holds, by kind
	live      list.List
}

func (w *worker) offers(k Kind, name string) bool {
	names := w.tasks
	if k == Activation {
		names = w.workflows
	}
	_, ok := slices.BinarySearch(names, name)
	return ok
}

// before reports whether an attempt is older than the claimed one of the same task or run.
func (h Held) before(c claim) bool {
	return h.Activation < c.activation || h.Activation == c.activation && h.Attempt < c.attempt
}

func claimOf(id events.SessionID, h Held) claim {
	return claim{session: id, worker: h.Worker, attempt: h.Attempt, activation: h.Activation}
}

func (i Item) before(c claim) bool {
	return Held{Activation: i.activation(), Attempt: i.Attempt()}.before(c)
}

// Join adds a worker, or changes one of the same session. A worker known from another session has moved: it begins without
// credits, and what it was given there stays with that session.
func (m *Matcher) Join(now events.Time, announced Worker) {
	s := m.sessions[announced.Session]
	if s == nil {
		s = &session{id: announced.Session}
		m.sessions[announced.Session] = s
	}
	w := m.workers[announced.ID]
	if w != nil && (w.session != s || w.queue != announced.Queue) {
		m.remove(now, w)
		w = nil
	}
	if w == nil {
		w = &worker{session: s, id: announced.ID, queue: announced.Queue}
		m.workers[w.id] = w
		s.workers = append(s.workers, w)
		for _, kind := range []Kind{Task, Activation} {
			g := m.group(kind, w.queue)
			i, _ := slices.BinarySearchFunc(g.workers, w.id, func(w *worker, id events.WorkerID) int { return strings.Compare(string(w.id), string(id)) })
			g.workers = slices.Insert(g.workers, i, w)
		}
	}
	w.build = announced.Build
	w.tasks = sorted(announced.Tasks)
	w.workflows = sorted(announced.Workflows)
	for _, kind := range []Kind{Task, Activation} {
		g := m.group(kind, w.queue)
		g.joined++
		m.touch(g)
	}
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// Leave removes a worker of a session. What it holds stays with its gateway, which answers for it: by a command for what
// was begun, by Return for the rest.
func (m *Matcher) Leave(now events.Time, from events.SessionID, id events.WorkerID) {
	if w := m.workers[id]; w != nil && w.session.id == from {
		m.remove(now, w)
	}
}

func (m *Matcher) remove(now events.Time, w *worker) {
	delete(m.workers, w.id)
	w.session.workers = slices.DeleteFunc(w.session.workers, func(other *worker) bool { return other == w })
	for at := w.live.Front(); at != nil; at = at.Next() {
		delete(m.live, at.Value.(events.RunID))
	}
	for _, kind := range []Kind{Task, Activation} {
		g := m.group(kind, w.queue)
		g.workers = slices.DeleteFunc(g.workers, func(other *worker) bool { return other == w })
		g.joined++
		for _, l := range g.lanes {
			waiting := l.sticky[w.id]
			delete(l.sticky, w.id)
			for e := waiting.min(); e != nil; e = waiting.min() {
				m.wakes.remove(e)
				waiting.remove(e)
				m.line(now, e)
			}
		}
	}
}

// Gone ends a session: its workers leave, and everything it was given is given away again.
func (m *Matcher) Gone(now events.Time, id events.SessionID) {
	s := m.sessions[id]
	if s == nil {
		return
	}
	for len(s.workers) > 0 {
		m.remove(now, s.workers[0])
	}
	delete(m.sessions, id)
	m.claims.dropAll(id)
	for at := s.held.Front(); at != nil && !mutant.On(mutant.VanishedGatewayKeepsWork); at = s.held.Front() {
		m.giveBack(now, at.Value.(*entry))
	}
}

// Running says that a worker of the session holds an attempt: it is not given to others. known is true when the item is in
// memory and held by that session now; otherwise it is remembered until the item is seen.
func (m *Matcher) Running(id events.SessionID, h Held) (known bool) {
	s := m.sessions[id]
	if s == nil {
		return false
	}
	e := m.entries[ID{Run: h.Run, Step: h.Step}]
	switch {
	case e == nil, e.before(claimOf(id, h)):
		m.claim(s, h)
		return false
	case e.Attempt() != h.Attempt || e.activation() != h.Activation:
		return false
	case e.session == s && e.worker == h.Worker:
		return true // said again
	case e.session == nil:
		m.unwait(e)
	default:
		m.release(e)
	}
	m.hold(e, s, h.Worker)
	return true
}

// claim remembers what a session said of an attempt that is not open here yet, unless somebody has a later one.
func (m *Matcher) claim(s *session, h Held) {
	key := ID{Run: h.Run, Step: h.Step}
	if old, ok := m.claims.get(key); !ok || !h.before(old) {
		m.claims.put(key, claimOf(s.id, h))
	}
}

// Refuse gives up a session's first choice of an attempt: anybody may have it at once. Known or not, it is never an error.
func (m *Matcher) Refuse(now events.Time, from events.SessionID, h Held) {
	s := m.sessions[from]
	if s == nil {
		return
	}
	h.Worker = ""
	e := m.entries[ID{Run: h.Run, Step: h.Step}]
	if e == nil || e.before(claimOf(from, h)) {
		m.claim(s, h)
		return
	}
	to, _ := e.offer()
	if e.session != nil || e.refused || to != from || e.Attempt() != h.Attempt || e.activation() != h.Activation {
		return
	}
	m.endOffer(now, e)
}

// Return gives back what a session could not hand to its worker. The credit it took is not free again until the session
// grants it anew. known is false when the session does not hold that attempt; a claim on it that was made before its item
// came is forgotten.
func (m *Matcher) Return(now events.Time, from events.SessionID, h Held) (known bool) {
	key := ID{Run: h.Run, Step: h.Step}
	if c, ok := m.claims.get(key); ok && c == claimOf(from, h) {
		m.claims.drop(key)
	}
	e := m.entries[key]
	if e == nil || e.session == nil || e.session.id != from || e.worker != h.Worker || e.Attempt() != h.Attempt || e.activation() != h.Activation {
		return false
	}
	m.giveBack(now, e)
	return true
}

// Credit changes what a worker of the session can take.
func (m *Matcher) Credit(from events.SessionID, id events.WorkerID, tasks, activations int) {
	w := m.workers[id]
	if w == nil || w.session.id != from {
		return
	}
	for kind, n := range []int{tasks, activations} {
		w.credit[kind] += n
		if n > 0 {
			m.touch(m.group(Kind(kind), w.queue))
		}
	}
}

// Live says that a run is in a worker's memory, or that it no longer is.
func (m *Matcher) Live(from events.SessionID, id events.WorkerID, run events.RunID, evicted bool) {
	w := m.workers[id]
	if w == nil || w.session.id != from {
		return
	}
	if evicted {
		if m.live[run].worker == w {
			m.setLive(run, nil)
		}
		return
	}
	m.setLive(run, w)
}

// setLive moves a run's home. An activation that waits for the old home goes on waiting there until its patience ends.
func (m *Matcher) setLive(run events.RunID, w *worker) {
	old, known := m.live[run]
	if known {
		if old.worker == w {
			return
		}
		m.unstick(run, old.worker)
		old.worker.live.Remove(old.place)
		delete(m.live, run)
	}
	if w != nil && len(m.live) < m.limits.Live {
		m.live[run] = home{worker: w, place: w.live.PushBack(run)}
	}
}

// unstick lets anybody have the activation that waits for the worker where its run was live.
func (m *Matcher) unstick(run events.RunID, old *worker) {
	e := m.entries[ID{Run: run}]
	if e == nil || e.home == nil || e.lane.sticky[old.id] != e.home {
		return
	}
	m.wakes.remove(e)
	e.home.remove(e)
	e.home = &e.lane.general
	e.home.push(e)
	m.touch(e.lane.group)
}
