// Package matcher gives open work to workers.
//
// It is a pure, single-threaded state machine: open work and news of workers go in, [Matcher.Match] says who gets what.
// Time comes in as an argument. A piece of work is held by at most one worker at a time, a worker never gets more than
// the credits its gateway granted, and names of one queue take turns.
//
//	Open ─▶ lane (queue, kind, name) ──Match──▶ held ──Close──▶ gone
//	          ▲  not before its time            │
//	          └───────── Gone, Return ──────────┘
//
// A lane keeps a bounded number of items in memory. What is above the bound is left to the caller's index, once it is
// there ([Matcher.Saved]), and comes back when the lane has room ([Matcher.Hungry], [Matcher.Refills]).
package matcher

import (
	"container/list"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Limits bound the memory of a matcher. Zero fields mean the defaults.
type Limits struct {
	// Lane is how many items of one name wait in memory; default 10,000. A workflow type has two lanes: the runs that have begun,
	// and the others.
	Lane int
	// Total is how many items wait in memory altogether before lanes are held to Floor; default 200,000.
	Total int
	// Floor is what every lane may keep however full the memory is; default 256.
	Floor int
	// Live is how many runs are remembered to be in a worker's memory; default 1,000,000.
	Live int
	// Patience is how long an activation waits for the worker where its run is live while that one has no credit; default
	// 200 ms. A replay elsewhere costs more than a short wait.
	Patience time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, field := range []struct {
		value *int
		byDef int
	}{{&l.Lane, 10_000}, {&l.Total, 200_000}, {&l.Floor, 256}, {&l.Live, 1_000_000}} {
		if *field.value <= 0 {
			*field.value = field.byDef
		}
	}
	if l.Patience <= 0 {
		l.Patience = 200 * time.Millisecond
	}
	return l
}

// Matcher is the state. Its methods are called by one goroutine.
type Matcher struct {
	limits   Limits
	entries  map[ID]*entry
	groups   []*group // sorted by queue and kind
	pruneAt  int
	dirty    []*group
	wakes    heap
	arrivals uint64
	waiting  int // entries not held
	spilling int // lanes with something spilled
	// unclaimed are offered to sessions that were not known then: one that is unknown still when Match comes is gone. After a
	// start the sessions are heard of later than the log.
	unclaimed []*entry
	// doubt is until when an offer's own end does not count: the clock was set meanwhile.
	doubt events.Time

	sessions map[events.SessionID]*session
	workers  map[events.WorkerID]*worker
	claims   claims
	live     map[events.RunID]home
}

// New returns an empty matcher.
func New(l Limits) *Matcher {
	return &Matcher{
		limits: l.withDefaults(), entries: make(map[ID]*entry), pruneAt: minPrune, wakes: heap{order: byWake},
		sessions: make(map[events.SessionID]*session), workers: make(map[events.WorkerID]*worker), claims: newClaims(maxClaims),
		live: make(map[events.RunID]home),
	}
}

// Open adds an item whose record was just read, in place of an older attempt of the same task or run. It is in memory
// whatever the bounds say until the caller has it in the index. held says that a worker already has this attempt.
func (m *Matcher) Open(now events.Time, item Item) (held bool) { return m.add(now, item, true) }

func (m *Matcher) add(now events.Time, item Item, fresh bool) (held bool) {
	id := item.ID()
	m.Close(id)
	m.arrivals++
	e := &entry{Item: item, id: id, arrival: m.arrivals, ready: item.Start(), slot: [2]int{-1, -1}}
	e.lane = m.lane(item.Kind(), item.queue(), item.name(), item.Begun())
	m.entries[id] = e
	if fresh {
		e.fresh = true
		e.lane.fresh++
	}
	if c, ok := m.claims.get(id); ok && !item.before(c) { // else it is of an attempt that is still to be opened
		m.claims.drop(id)
		if s := m.sessions[c.session]; s != nil && c.attempt == item.Attempt() && c.activation == item.activation() {
			if c.worker != "" {
				m.hold(e, s, c.worker)
				return true
			}
			e.refused = true
		}
	}
	m.wait(now, e)
	return false
}

// Close withdraws an item, whatever attempt is open; ok is false if it is not in memory.
func (m *Matcher) Close(id ID) (item Item, ok bool) {
	e := m.entries[id]
	if e == nil {
		return Item{}, false
	}
	m.drop(e)
	return e.Item, true
}

// Ended forgets where a run was live and who claimed what of it.
func (m *Matcher) Ended(run events.RunID) {
	m.setLive(run, nil)
	m.claims.drop(ID{Run: run})
}

// Disclaim forgets that a worker was said to hold a task that is closed now.
func (m *Matcher) Disclaim(id ID) { m.claims.drop(id) }

// Has reports whether an item is in memory, waiting or held.
func (m *Matcher) Has(id ID) bool { return m.entries[id] != nil }

// Item returns an item that is in memory.
func (m *Matcher) Item(id ID) (item Item, ok bool) {
	e := m.entries[id]
	if e == nil {
		return Item{}, false
	}
	return e.Item, true
}

// Held reports whether a worker has the item.
func (m *Matcher) Held(id ID) bool { e := m.entries[id]; return e != nil && e.session != nil }

// SetTimers notes the timers of a task that is in memory.
func (m *Matcher) SetTimers(id ID, startBy events.Time, timesOut bool) {
	if e := m.entries[id]; e != nil {
		e.StartBy, e.TimesOut = startBy, timesOut
	}
}

// Next returns when Match has something to do although nothing is told meanwhile; ok is false for never.
func (m *Matcher) Next() (at events.Time, ok bool) {
	if e := m.wakes.min(); e != nil {
		return e.wake, true
	}
	return 0, false
}

// wait puts an entry that nobody holds where it belongs.
func (m *Matcher) wait(now events.Time, e *entry) {
	l := e.lane
	l.waiting++
	m.waiting++
	start := e.Start()
	if to, until := e.offer(); to != 0 && !e.refused && (until > start || now < m.doubt) {
		start = max(start, now).Add(events.OfferFor) // at most: the clock may have been ahead when the offer was made
		if now >= m.doubt {
			start = min(until, start)
		}
		if m.sessions[to] == nil {
			if len(m.unclaimed) > 2*len(m.entries)+minPrune {
				m.unclaimed = slices.DeleteFunc(m.unclaimed, func(e *entry) bool { return m.entries[e.id] != e })
			}
			m.unclaimed = append(m.unclaimed, e)
		}
	}
	if start <= now {
		m.line(now, e)
		return
	}
	l.later++
	e.wake = start
	m.wakes.push(e)
	if b := e.failedBuild(); b != "" && e.Activation.Activation.NotBefore > now {
		e.home = l.earlyOf(b)
		e.home.push(e)
		m.touch(l.group)
	}
}

// Doubt says that the clock was set, or that nobody has looked at it before: it does not tell how long ago an offer was made.
// Gateways keep their own, steady time and may be taking what is offered, so what waits or comes within the time of an offer
// stays theirs for the whole of it.
func (m *Matcher) Doubt(now events.Time) {
	m.doubt = now.Add(events.OfferFor)
	var offered []*entry
	for _, e := range m.wakes.entries {
		if to, _ := e.offer(); to != 0 && !e.refused && e.home == nil {
			offered = append(offered, e)
		}
	}
	for _, e := range offered {
		m.wakes.remove(e)
		e.wake = max(e.Start(), now).Add(events.OfferFor)
		m.wakes.push(e)
	}
}

// endOffer lets anybody have what a session has the first choice of.
func (m *Matcher) endOffer(now events.Time, e *entry) {
	e.refused = true
	if e.session != nil || e.home != nil || e.slot[byWake] < 0 {
		return
	}
	m.wakes.remove(e)
	if start := e.Start(); start > now {
		e.wake = start
		m.wakes.push(e)
		return
	}
	e.lane.later--
	m.line(now, e)
}

// line puts an entry that may start into the line it is served from.
func (m *Matcher) line(now events.Time, e *entry) {
	l := e.lane
	e.home = &l.general
	if e.Activation != nil && e.Attempt() == 1 {
		if w := m.live[e.id.Run].worker; w != nil && w.queue == l.group.queue && w.offers(Activation, l.name) {
			e.home = l.stickyOf(w.id)
			e.wake = now.Add(m.limits.Patience)
			m.wakes.push(e)
		}
	}
	e.home.push(e)
	m.touch(l.group)
}

// wakeUp moves on what has waited until now: for its time, or in vain for the worker where its run is live.
func (m *Matcher) wakeUp(now events.Time) {
	for e := m.wakes.min(); e != nil && e.wake <= now; e = m.wakes.min() {
		m.wakes.remove(e)
		sticky := e.home != nil && e.lane.sticky[m.live[e.id.Run].id()] == e.home
		early := e.home != nil && !sticky
		if e.home != nil {
			e.home.remove(e)
			e.home = nil
		}
		if sticky {
			e.home = &e.lane.general
			e.home.push(e)
			m.touch(e.lane.group)
			continue
		}
		if early {
			m.tidyEarly(e)
		}
		e.lane.later--
		m.line(now, e)
	}
}

// unwait takes an entry out of everything it waits in.
func (m *Matcher) unwait(e *entry) {
	l := e.lane
	if e.slot[byWake] >= 0 {
		m.wakes.remove(e)
		if e.home == nil || l.early[e.failedBuild()] == e.home {
			l.later--
		}
	}
	if e.home != nil {
		e.home.remove(e)
		e.home = nil
		m.tidyEarly(e)
	}
	l.waiting--
	m.waiting--
}

func (m *Matcher) tidyEarly(e *entry) {
	if b := e.failedBuild(); b != "" && e.lane.early[b].min() == nil {
		delete(e.lane.early, b)
	}
}

func (m *Matcher) hold(e *entry, s *session, w events.WorkerID) {
	e.refused = true
	if e.held == nil {
		e.lane.held++
	} else {
		e.session.held.Remove(e.held)
	}
	e.session, e.worker, e.held = s, w, s.held.PushBack(e)
	e.number++
	if worker := m.workers[w]; worker != nil && worker.session == s {
		worker.busy[e.Kind()]++
	}
}

func (m *Matcher) release(e *entry) {
	if worker := m.workers[e.worker]; worker != nil && worker.session == e.session && worker.busy[e.Kind()] > 0 {
		worker.busy[e.Kind()]--
	}
	e.session.held.Remove(e.held)
	e.session, e.worker, e.held = nil, "", nil
	e.lane.held--
}

// drop removes an entry from the matcher.
func (m *Matcher) drop(e *entry) {
	if e.session != nil {
		m.release(e)
	} else {
		m.unwait(e)
	}
	if e.fresh {
		e.lane.fresh--
	}
	delete(m.entries, e.id)
}

// giveBack lets others have what was held. It keeps its place in the order.
func (m *Matcher) giveBack(now events.Time, e *entry) {
	m.release(e)
	m.wait(now, e)
}

// home is the worker in whose memory a run is.
type home struct {
	worker *worker
	place  *list.Element // in the worker's list
}

func (h home) id() events.WorkerID {
	if h.worker == nil {
		return ""
	}
	return h.worker.id
}
