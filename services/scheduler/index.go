package scheduler

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The index is asked for so many rows at a time, in so many partitions a turn.
const (
	rowsPerQuery   = 1000
	queriesPerTurn = 8
)

// saves returns what is to be written now.
func (s *Scheduler) saves(now events.Time) []Save {
	var out []Save
	for _, p := range s.parts {
		due := p.records > 0 && now >= p.since.Add(s.options.SaveEvery)
		if due || p.records >= s.options.SaveRecords || p.pending() >= s.options.SaveRecords {
			out = append(out, s.save(now, p))
		}
	}
	return out
}

// Flush returns what the index lacks: the last saves before a planned end.
func (s *Scheduler) Flush(now events.Time) []Save {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Save
	for _, p := range s.parts {
		if p.records > 0 || p.pending() > 0 {
			out = append(out, s.save(now, p))
		}
	}
	return out
}

func (s *Scheduler) save(now events.Time, p *part) Save {
	save := Save{Partition: p.id, Next: p.next, Deletes: sortedKeys(p.dead), Ended: sortedRuns(p.ends)}
	for i, key := range p.order {
		if m, ok := p.dirty[key]; ok && m.at == i {
			save.Puts = append(save.Puts, s.row(key))
		}
	}
	for _, key := range slices.Backward(p.order) {
		if _, ok := p.dirty[key]; ok {
			delete(p.dirty, key) // a key that came twice is looked at once
			s.letGo(p, key)
		}
	}
	p.clean()
	s.nearer(now, p)
	s.stats.Saves++
	return save
}

// row returns the row of what is in memory under key.
func (s *Scheduler) row(key dueindex.Key) dueindex.Item {
	if key.Kind == dueindex.KindTimer {
		t := s.timers[key]
		s.body = appendTimer(s.body[:0], t)
		return dueindex.Item{Key: key, Due: t.due, Body: bytes.Clone(s.body)}
	}
	item, ok := s.matcher.Item(itemID(key))
	if !ok {
		panic(fmt.Sprintf("scheduler: %v of run %v is open but not in memory", key.Timer, key.RunID))
	}
	s.body = appendItem(s.body[:0], &item)
	return dueindex.Item{Key: key, Due: item.Start(), Body: bytes.Clone(s.body)}
}

// letGo takes from memory what has just been saved and need not stay.
func (s *Scheduler) letGo(p *part, key dueindex.Key) {
	horizon := p.scan(key.Kind).cursor.Due
	if key.Kind == dueindex.KindTimer {
		if s.timers[key].due > horizon {
			s.forgetTimer(key)
		}
		return
	}
	item, _ := s.matcher.Item(itemID(key))
	if s.matcher.Saved(itemID(key), horizon) {
		s.delist(key)
		s.calls -= callBytes(item)
	}
}

// nearer moves the horizon of a partition's timers nearer when too many are in memory.
func (s *Scheduler) nearer(now events.Time, p *part) {
	sc := p.scan(dueindex.KindTimer)
	ahead := sc.cursor.Due.Sub(now)
	if p.timers <= s.timersPerPart() || sc.asking || ahead < time.Second {
		return
	}
	sc.cursor = lastAt(dueindex.KindTimer, now.Add(ahead/2))
	sc.more = false
	var far []dueindex.Key
	for key, t := range s.timers {
		if _, dirty := p.dirty[key]; t.part == p && !dirty && t.due > sc.cursor.Due {
			far = append(far, key)
		}
	}
	for _, key := range far {
		s.forgetTimer(key)
	}
}

func (s *Scheduler) timersPerPart() int { return max(1, s.options.Timers/len(s.parts)) }

func (p *part) scan(k dueindex.Kind) *scan { return &p.scans[k-1] }

// lastAt is behind every item of a kind that is due by t.
func lastAt(kind dueindex.Kind, t events.Time) dueindex.Item {
	key := dueindex.Key{Kind: kind, Timer: events.TimerID{Kind: math.MaxUint8, Step: math.MaxUint64, Attempt: math.MaxUint32}}
	for i := range key.RunID {
		key.RunID[i] = math.MaxUint8
	}
	return dueindex.Item{Key: key, Due: t}
}

// advanceAt returns when a scan goes on: half a horizon before what it has not looked at comes due, at once in the middle
// of rows. 0 means not by itself.
func (s *Scheduler) advanceAt(p *part, sc *scan) events.Time {
	switch {
	case sc.asking, sc.kind == dueindex.KindTimer && p.timers >= s.timersPerPart():
		return 0
	case sc.more:
		return 1
	}
	return sc.cursor.Due.Add(-s.ahead(sc.kind) / 2)
}

// activationHorizon is above the longest back-off of an activation: all that back off are in memory, where a worker with
// another build can have them early.
const activationHorizon = 11 * time.Minute

// ahead is how far ahead items of a kind are kept in memory.
func (s *Scheduler) ahead(kind dueindex.Kind) time.Duration {
	if kind == dueindex.KindActivation {
		return max(s.options.Horizon, activationHorizon)
	}
	return s.options.Horizon
}

// queries returns what the index is asked now: a little at a time, each partition in turn.
func (s *Scheduler) queries(now events.Time) []Query {
	var out []Query
	for i := range s.parts {
		p := s.parts[(s.nextAsk+i)%len(s.parts)]
		for k := range p.scans {
			sc := &p.scans[k]
			at, until := s.advanceAt(p, sc), now.Add(s.ahead(sc.kind))
			if at == 0 || at > now {
				continue
			}
			if until < sc.cursor.Due { // the wall clock jumped back
				sc.more = false
				continue
			}
			sc.asking = true
			out = append(out, Query{Partition: p.id, Kind: sc.kind, After: sc.cursor, Until: until, Limit: rowsPerQuery})
		}
		if len(out) >= queriesPerTurn {
			s.nextAsk = (s.nextAsk + i + 1) % len(s.parts)
			return out
		}
	}
	if q, ok := s.nextSweep(); ok {
		out = append(out, q)
	}
	return out
}

// take takes the answer of the index.
func (s *Scheduler) take(now events.Time, f Found) error {
	p := s.byID[f.Query.Partition]
	for _, row := range f.Items {
		if p.gone(row.Key) || s.inMemory(row.Key) {
			continue
		}
		if err := s.load(now, p, row, f.Query.sweeping); err != nil {
			return fmt.Errorf("due index of partition %d, run %s, step %d: %w", p.id, row.Key.RunID, row.Key.Timer.Step, err)
		}
	}
	ended := len(f.Items) < f.Query.Limit
	if f.Query.sweeping {
		s.swept(f, ended)
		return nil
	}
	sc := p.scan(f.Query.Kind)
	sc.asking, sc.more = false, !ended
	if ended {
		sc.cursor = lastAt(f.Query.Kind, f.Query.Until)
	} else {
		last := f.Items[len(f.Items)-1]
		sc.cursor = dueindex.Item{Key: last.Key, Due: last.Due}
	}
	return nil
}

func (s *Scheduler) inMemory(key dueindex.Key) bool {
	if key.Kind == dueindex.KindTimer {
		return s.timers[key] != nil
	}
	return s.matcher.Has(itemID(key))
}

func (s *Scheduler) load(now events.Time, p *part, row dueindex.Item, sweeping bool) error {
	if row.Key.Kind == dueindex.KindTimer {
		if mutant.On(mutant.ForgetTimerAtRecovery) {
			return nil
		}
		ns, id, err := decodeTimer(row.Body)
		if err != nil {
			return err
		}
		s.addTimer(p, row.Key, ns, id, row.Due)
		return nil
	}
	at, err := decodeRow(row, s.names)
	if err != nil {
		return err
	}
	if sweeping && !s.matcher.Refills(at) || !sweeping && !s.matcher.Loads(at) {
		return nil // most rows of a long backlog
	}
	item, err := decodeItem(row, p.id, s.names)
	if err != nil {
		return err
	}
	s.addItem(row.Key, item)
	if s.matcher.Add(now, item) {
		s.begunAttempt(p, item)
	}
	return nil
}

// sweep is a pass over the backlog that only the index has, oldest first, a piece of each partition in turn.
type sweep struct {
	places []place
	next   int
	asking bool
}

type place struct {
	part  *part
	kind  dueindex.Kind
	after dueindex.Item
	until events.Time
}

// nextSweep goes on with a sweep, or begins one when a name has room for work it let go.
func (s *Scheduler) nextSweep() (Query, bool) {
	if s.sweep == nil {
		if !s.matcher.Hungry() {
			return Query{}, false
		}
		s.sweep = &sweep{}
		for _, p := range s.parts {
			for _, kind := range []dueindex.Kind{dueindex.KindTask, dueindex.KindActivation} {
				s.sweep.places = append(s.sweep.places, place{part: p, kind: kind, until: p.scan(kind).cursor.Due})
			}
		}
		s.matcher.BeginSweep()
	}
	if s.sweep.asking {
		return Query{}, false
	}
	at := s.sweep.places[s.sweep.next]
	s.sweep.asking = true
	return Query{Partition: at.part.id, Kind: at.kind, After: at.after, Until: at.until, Limit: rowsPerQuery, sweeping: true}, true
}

func (s *Scheduler) swept(f Found, ended bool) {
	w := s.sweep
	w.asking = false
	if ended {
		w.places = slices.Delete(w.places, w.next, w.next+1)
	} else {
		last := f.Items[len(f.Items)-1]
		w.places[w.next].after = dueindex.Item{Key: last.Key, Due: last.Due}
		w.next++
	}
	if len(w.places) == 0 {
		s.matcher.EndSweep()
		s.sweep = nil
		return
	}
	w.next %= len(w.places)
	if !s.matcher.Wants() {
		s.sweep = nil
	}
}
