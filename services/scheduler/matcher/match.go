package matcher

import (
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Delivery gives an item to a worker. Number counts how often this attempt was given to anybody, from 1.
type Delivery struct {
	Session events.SessionID
	Worker  events.WorkerID
	Number  uint32
	Item    Item
}

// Match appends to dst who gets what now, until no worker with credit is left for anything that waits. Names of a queue
// take turns. Within a name runs that have begun come before those that have not, so that under a backlog runs end instead of
// all being half done; of 32 that are served one is of the others even so, if any waits. Within these the longest-waiting item
// is first. Activations that back off are served before their time, to another build than the one that failed, when nothing
// else of the name may be.
func (m *Matcher) Match(now events.Time, dst []Delivery) []Delivery {
	for _, e := range m.unclaimed {
		if to, _ := e.offer(); m.entries[e.id] == e && !e.refused && m.sessions[to] == nil {
			m.endOffer(now, e)
		}
	}
	clear(m.unclaimed)
	m.unclaimed = m.unclaimed[:0]
	m.wakeUp(now)
	for _, g := range m.dirty {
		g.dirty = false
		if len(g.workers) > 0 {
			dst = m.matchGroup(now, g, dst)
		}
	}
	m.dirty = m.dirty[:0]
	return dst
}

func (m *Matcher) matchGroup(now events.Time, g *group, dst []Delivery) []Delivery {
	free := 0
	for _, w := range g.workers {
		free += max(w.credit[g.kind], 0)
	}
	i, found := g.place(g.turn, false) // the last one of the name
	if found {
		i++
	}
	for idle := 0; free > 0 && idle < len(g.lanes); {
		if i >= len(g.lanes) {
			i = 0
		}
		lanes := g.named(i)
		i += len(lanes)
		e, w := m.next(now, lanes)
		if e == nil {
			idle += len(lanes)
			continue
		}
		idle = 0
		free--
		g.turn = e.lane.name
		m.unwait(e)
		w.credit[g.kind]--
		m.hold(e, w.session, w.id)
		dst = append(dst, Delivery{Session: w.session.id, Worker: w.id, Number: e.number, Item: e.Item})
	}
	return dst
}

// maxPassed is how many begun runs in a row are served while one that has not begun waits.
const maxPassed = 31

// next returns the entry of a name to be served next and its worker; nil when there is none.
func (m *Matcher) next(now events.Time, lanes []*lane) (*entry, *worker) {
	if len(lanes) == 1 {
		return m.pick(lanes[0])
	}
	others := lanes[1]
	e, w := m.pick(lanes[0])
	if e != nil && e.ready <= now && others.passed < maxPassed {
		if others.waiting > 0 {
			others.passed++
		}
		return e, w
	}
	o, v := m.pick(others)
	if o == nil || e != nil && o.ready > now && before(e, o) {
		return e, w
	}
	others.passed = 0
	return o, v
}

// pick returns the entry of a lane to be served next and its worker; nil when there is none.
func (m *Matcher) pick(l *lane) (*entry, *worker) {
	if l.group.kind == Task {
		e := l.general.min()
		if e == nil {
			return nil, nil
		}
		w := freest(l.workers())
		if w == nil {
			return nil, nil
		}
		return e, w
	}
	e, w := l.general.min(), (*worker)(nil)
	if e != nil {
		if w = rendezvous(e.id.Run, l.workers()); w == nil {
			return nil, nil
		}
	}
	for _, candidate := range l.workers() {
		if candidate.credit[Activation] <= 0 {
			continue
		}
		if s := l.sticky[candidate.id].min(); s != nil && (e == nil || before(s, e)) {
			e, w = s, candidate
		}
		if early := l.earliest(candidate.build); early != nil && (e == nil || before(early, e)) {
			e, w = early, candidate
		}
	}
	return e, w
}

// earliest returns the entry first in line among those that back off because of another build than b.
func (l *lane) earliest(b events.BuildID) *entry {
	if len(l.early) == 0 || b == "" {
		return nil
	}
	var first *entry
	for _, failed := range sortedBuilds(l.early) {
		if e := l.early[failed].min(); failed != b && e != nil && (first == nil || before(e, first)) {
			first = e
		}
	}
	return first
}

func sortedBuilds(m map[events.BuildID]*heap) []events.BuildID {
	builds := make([]events.BuildID, 0, len(m))
	for b := range m {
		builds = append(builds, b)
	}
	slices.Sort(builds)
	return builds
}

func before(a, b *entry) bool {
	return a.ready < b.ready || a.ready == b.ready && a.arrival < b.arrival
}

// freest returns the worker that can take most more tasks; nil when none has credit.
func freest(workers []*worker) *worker {
	var best *worker
	for _, w := range workers {
		if c := w.credit[Task]; c > 0 && (best == nil || c > best.credit[Task]) {
			best = w
		}
	}
	return best
}

// rendezvous returns the worker for a run that is live nowhere: the same one again and again while workers stay the same,
// so that a lost cache entry is likely found where it was, unless that worker has a quarter more to do than the average.
func rendezvous(run events.RunID, workers []*worker) *worker {
	busy, n := 0, 0
	for _, w := range workers {
		if w.credit[Activation] > 0 {
			busy += w.busy[Activation]
			n++
		}
	}
	var best *worker
	var bestScore uint64
	for _, w := range workers {
		if w.credit[Activation] <= 0 || 4*n*w.busy[Activation] > 5*busy+4*n {
			continue
		}
		if s := score(run, w.id); best == nil || s > bestScore {
			best, bestScore = w, s
		}
	}
	return best
}

func score(run events.RunID, w events.WorkerID) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range run {
		h = (h ^ uint64(c)) * 1099511628211
	}
	for i := range len(w) {
		h = (h ^ uint64(w[i])) * 1099511628211
	}
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9
	h = (h ^ (h >> 27)) * 0x94d049bb133111eb
	return h ^ (h >> 31)
}
