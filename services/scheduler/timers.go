package scheduler

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A timer is asked for again after 1 s, doubling up to a minute, until an event removes it.
const (
	firstRepeat = time.Second
	maxRepeat   = time.Minute
)

// maxFires bounds the FireTimer commands that are not answered yet. Commands of clients wait behind them when many timers are due
// at once, so it is what the engine does in about a tenth of a second.
const maxFires = 1024

// timer is an armed timer in memory; the wheel has the time at which it is asked for (again).
type timer struct {
	part       *part
	due        events.Time
	namespace  events.Namespace
	workflowID events.WorkflowID
	tries      int
}

func timerKey(run events.RunID, id events.TimerID) dueindex.Key {
	return dueindex.Key{Kind: dueindex.KindTimer, RunID: run, Timer: id}
}

// arm keeps a timer until an event removes it.
func (s *Scheduler) arm(p *part, e events.ArmTimer) {
	key := timerKey(e.RunID, e.Timer)
	_, known := s.timers[key]
	p.opened(key, known, false)
	s.addTimer(p, key, e.Namespace, e.WorkflowID, e.Due)
}

func (s *Scheduler) addTimer(p *part, key dueindex.Key, ns events.Namespace, id events.WorkflowID, due events.Time) {
	if s.timers[key] != nil {
		s.forgetTimer(key)
	}
	s.enlist(key)
	p.timers++
	s.timers[key] = &timer{part: p, due: due, namespace: ns, workflowID: id}
	if mutant.On(mutant.TimerEarly) {
		due = due.Add(-time.Millisecond)
	}
	s.wheel.Set(key, due)
}

// disarm forgets a timer, wherever it is.
func (s *Scheduler) disarm(p *part, run events.RunID, id events.TimerID) {
	key := timerKey(run, id)
	p.closed(key, s.forgetTimer(key))
}

// forgetTimer takes a timer out of memory and reports whether it was there.
func (s *Scheduler) forgetTimer(key dueindex.Key) bool {
	t := s.timers[key]
	if t == nil {
		return false
	}
	if t.tries == 0 {
		t.part.timers--
	}
	delete(s.timers, key)
	s.wheel.Remove(key)
	s.delist(key)
	return true
}

// fire asks for the timers that are due, at most limit of them.
func (s *Scheduler) fire(now events.Time, limit int) []events.Envelope {
	var commands []events.Envelope
	for len(commands) < limit {
		key, ok := s.wheel.Pop(now)
		if !ok {
			break
		}
		t := s.timers[key]
		if t.tries == 0 {
			t.part.timers--
			if s.deps.Observer != nil {
				s.deps.Observer.TimerFired(now.Sub(t.due))
			}
		}
		repeat := min(firstRepeat<<min(t.tries, 10), maxRepeat)
		t.tries++
		s.wheel.Set(key, now.Add(repeat))
		commands = append(commands, events.Envelope{
			Namespace: t.namespace, WorkflowID: t.workflowID, RunID: key.RunID, Command: events.FireTimer{Timer: key.Timer},
		})
	}
	s.stats.Fires += uint64(len(commands))
	return commands
}

// setBack is told that the wall clock was set back. Timers that were asked for while it was ahead, perhaps too early, are
// asked for again at their time, or at once if that is over: not a repeat after a time that the clock may not show for long.
// Nor does a save wait for such a time.
func (s *Scheduler) setBack(now events.Time) {
	for _, p := range s.parts {
		p.since = min(p.since, now)
	}
	var early []dueindex.Key
	for key, t := range s.timers {
		if at, ok := s.wheel.At(key); t.tries > 0 && ok && at > now.Add(maxRepeat) {
			early = append(early, key)
		}
	}
	slices.SortFunc(early, compareKeys)
	for _, key := range early {
		s.wheel.Set(key, max(s.timers[key].due, now))
	}
}

// fires counts the FireTimer commands on their way, so that a slow engine is not drowned in timers that are late already.
type fires struct {
	open  atomic.Int64
	freed chan struct{} // has a value after one was answered
}

func (f *fires) room() int { return max(0, maxFires-int(f.open.Load())) }

func (f *fires) begin() { f.open.Add(1) }

func (f *fires) done(error) {
	if f.open.Add(-1) == maxFires/2 {
		select {
		case f.freed <- struct{}{}:
		default:
		}
	}
}
