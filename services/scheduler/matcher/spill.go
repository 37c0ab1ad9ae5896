package matcher

import "github.com/continuo-dev/continuo/pkg/events"

// Saved tells that an item is in the index now. The matcher lets go of it (gone true) when nobody holds it and it is not
// needed in memory: it may start only after horizon, or its lane has more than its bound, or older items of its lane were
// let go before and must come first. Called for the newest items first, it lets go of the newest.
func (m *Matcher) Saved(id ID, horizon events.Time) (gone bool) {
	e := m.entries[id]
	if e == nil {
		return false
	}
	l := e.lane
	if e.fresh {
		e.fresh = false
		l.fresh--
	}
	switch {
	case e.session != nil:
		return false
	case e.ready > horizon:
		m.drop(e)
		return true
	case l.spilled > 0 && l.first.before(rankOf(e)) || l.waiting > m.room():
		m.drop(e)
		m.spill(l, rankOf(e))
		return true
	}
	return false
}

// Row is what an item of the index is asked for before it is read in whole.
type Row struct {
	ID    ID
	Kind  Kind
	Queue events.TaskQueue
	Name  string
	// Begun says that it is an activation of a run that had one before.
	Begun bool
	Start events.Time
}

// Loads reports whether an item that the index has and whose time has come near is wanted: [Matcher.Add] follows then. It is
// not when its lane is full.
func (m *Matcher) Loads(r Row) bool {
	l := m.lane(r.Kind, r.Queue, r.Name, r.Begun)
	if !m.claims.has(r.ID) && (l.spilled > 0 || l.waiting >= m.room()) {
		m.spill(l, rank{ready: r.Start})
		return false
	}
	return true
}

// Add adds an item of the index that is wanted. held says that a worker already has this attempt.
func (m *Matcher) Add(now events.Time, item Item) (held bool) { return m.add(now, item, false) }

// rank is a place in the order of a lane.
type rank struct {
	ready   events.Time
	arrival uint64
}

func rankOf(e *entry) rank { return rank{e.ready, e.arrival} }

func (r rank) before(o rank) bool {
	return r.ready < o.ready || r.ready == o.ready && r.arrival < o.arrival
}

func (m *Matcher) spill(l *lane, r rank) {
	if l.spilled == 0 {
		m.spilling++
		l.first = r
	} else if r.before(l.first) {
		l.first = r
	}
	l.spilled++
	l.added++
}

func (m *Matcher) setSpilled(l *lane, n int) {
	n = max(n, 0)
	switch {
	case l.spilled == 0 && n > 0:
		m.spilling++
	case l.spilled > 0 && n == 0:
		m.spilling--
	}
	l.spilled = n
}

// Hungry reports whether a lane has let items go and has room for them again: it is time for a sweep of the index.
func (m *Matcher) Hungry() bool {
	if m.spilling == 0 {
		return false
	}
	for _, g := range m.groups {
		for _, l := range g.lanes {
			if room := m.room(); l.spilled > 0 && l.waiting-l.fresh <= room/2 && l.waiting <= room-room/4 {
				return true
			}
		}
	}
	return false
}

// Wants reports whether a lane that has let items go can take some now: a sweep goes on.
func (m *Matcher) Wants() bool {
	if m.spilling == 0 {
		return false
	}
	for _, g := range m.groups {
		for _, l := range g.lanes {
			if l.spilled > 0 && l.waiting < m.room() {
				return true
			}
		}
	}
	return false
}

// BeginSweep begins a pass over everything the index has and that may start, oldest first, each offered with Refills.
func (m *Matcher) BeginSweep() {
	for _, g := range m.groups {
		for _, l := range g.lanes {
			l.left, l.added = 0, 0
		}
	}
}

// Refills reports whether an item of a sweep that is not in memory is wanted: [Matcher.Add] follows then. It is not while its
// lane is full.
func (m *Matcher) Refills(r Row) bool {
	l := m.lane(r.Kind, r.Queue, r.Name, r.Begun)
	if !m.claims.has(r.ID) && l.waiting >= m.room() {
		if l.left++; l.left == 1 {
			l.leftFirst = rank{ready: r.Start}
		}
		if l.spilled == 0 {
			m.setSpilled(l, 1)
		}
		return false
	}
	m.setSpilled(l, max(l.spilled-1, l.left))
	return true
}

// EndSweep ends the pass: the counts of what only the index has are exact again.
func (m *Matcher) EndSweep() {
	for _, g := range m.groups {
		for _, l := range g.lanes {
			if l.left > 0 && l.added == 0 {
				l.first = l.leftFirst
			}
			m.setSpilled(l, l.left+l.added)
		}
	}
}
