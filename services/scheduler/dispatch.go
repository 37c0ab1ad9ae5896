package scheduler

import (
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

// The TaskScheduled of a waiting task is kept with it, so that its gateway need not read it again, as long as inputs are
// small and few.
const (
	maxCallBytes  = 16 << 10
	maxCallsBytes = 64 << 20
)

// fold takes one record into the backlog and the timers.
func (s *Scheduler) fold(now events.Time, r *events.Record) {
	p := s.byID[r.Partition]
	if p == nil || r.Seq < p.next {
		return
	}
	p.folding(now, r)
	s.stats.Records++
	if r.RunID.IsZero() || len(r.Events) == 0 {
		return
	}
	if r.First == 1 {
		p.born[r.RunID] = struct{}{}
	}
	s.effects = events.Effects(s.effects[:0], r)
	for _, effect := range s.effects {
		s.apply(now, p, r, effect)
	}
	clear(s.effects)
}

func (s *Scheduler) apply(now events.Time, p *part, r *events.Record, effect events.Effect) {
	switch e := effect.(type) {
	case events.OpenTask:
		s.openTask(now, p, r, e)
	case events.CloseTask:
		s.closeTask(p, e.Task, e.Attempt)
	case events.OpenActivation:
		key := dueindex.Key{Kind: dueindex.KindActivation, RunID: e.RunID}
		s.open(now, p, key, e.Activation.Attempt > 1, matcher.Item{Activation: &e, Partition: p.id, From: r.Seq, Opened: r.Time})
	case events.CloseActivation:
		s.closeActivation(p, e)
	case events.ArmTimer:
		s.arm(p, e)
		s.noteTimer(p, e)
	case events.DisarmTimer:
		s.disarm(p, e.RunID, e.Timer)
	case events.EndRun:
		s.endRun(p, e.RunID)
	}
}

func (s *Scheduler) openTask(now events.Time, p *part, r *events.Record, e events.OpenTask) {
	item := matcher.Item{Partition: p.id, From: r.Seq, Opened: r.Time}
	if e.Attempt > 1 {
		old, ok := s.matcher.Item(matcher.ID{Run: e.Task.Run, Step: e.Task.Step})
		item.TimesOut = !ok || old.TimesOut // of one that is not in memory nothing is known
		if !ok || old.StartBy != 0 {
			s.disarm(p, e.Task.Run, events.TimerID{Kind: events.TimerScheduleToStart, Step: e.Task.Step, Attempt: e.Attempt - 1})
		}
	}
	if e.Call != nil && (len(e.Call.Input.Data) > maxCallBytes || s.calls > maxCallsBytes) {
		e.Call = nil
	}
	item.Task = &e
	key := dueindex.Key{Kind: dueindex.KindTask, RunID: e.Task.Run, Timer: events.TimerID{Step: e.Task.Step}}
	s.open(now, p, key, e.Attempt > 1, item)
}

// open puts an item into the backlog. later says that an older attempt may be in the index.
func (s *Scheduler) open(now events.Time, p *part, key dueindex.Key, later bool, item matcher.Item) {
	known := s.forgetItem(key)
	p.opened(key, known, later)
	s.addItem(key, item)
	if s.matcher.Open(now, item) {
		s.begunAttempt(p, item)
	}
}

func (s *Scheduler) addItem(key dueindex.Key, item matcher.Item) {
	s.enlist(key)
	s.calls += callBytes(item)
}

// forgetItem takes an item out of memory and reports whether it was there.
func (s *Scheduler) forgetItem(key dueindex.Key) bool {
	item, ok := s.matcher.Close(itemID(key))
	if ok {
		s.delist(key)
		s.calls -= callBytes(item)
	}
	return ok
}

func callBytes(item matcher.Item) int {
	if item.Task == nil || item.Task.Call == nil {
		return 0
	}
	return len(item.Task.Call.Input.Data)
}

func itemID(key dueindex.Key) matcher.ID { return matcher.ID{Run: key.RunID, Step: key.Timer.Step} }

func (s *Scheduler) closeTask(p *part, task events.TaskID, attempt events.Attempt) {
	if mutant.On(mutant.DispatchAfterResult) {
		return
	}
	id := matcher.ID{Run: task.Run, Step: task.Step}
	key := dueindex.Key{Kind: dueindex.KindTask, RunID: task.Run, Timer: events.TimerID{Step: task.Step}}
	item, known := s.matcher.Item(id)
	p.closed(key, s.forgetItem(key))
	s.matcher.Disclaim(id)
	if !known || item.StartBy != 0 {
		s.disarm(p, task.Run, events.TimerID{Kind: events.TimerScheduleToStart, Step: task.Step, Attempt: attempt})
	}
	if !known || item.TimesOut {
		s.disarm(p, task.Run, events.TimerID{Kind: events.TimerScheduleToClose, Step: task.Step})
	}
}

func (s *Scheduler) closeActivation(p *part, e events.CloseActivation) {
	if item, ok := s.matcher.Item(matcher.ID{Run: e.RunID}); ok && item.Activation.Activation.Activation != e.Activation {
		return
	}
	key := dueindex.Key{Kind: dueindex.KindActivation, RunID: e.RunID}
	p.closed(key, s.forgetItem(key))
}

// noteTimer lets a task remember which timers it has, so that closing it needs no look into the index.
func (s *Scheduler) noteTimer(p *part, e events.ArmTimer) {
	id := matcher.ID{Run: e.RunID, Step: e.Timer.Step}
	item, ok := s.matcher.Item(id)
	if !ok || item.Task == nil {
		return
	}
	switch e.Timer.Kind {
	case events.TimerScheduleToStart:
		s.matcher.SetTimers(id, e.Due, item.TimesOut)
		if s.matcher.Held(id) { // a worker had told so before the log did
			s.disarm(p, e.RunID, e.Timer)
		}
	case events.TimerScheduleToClose:
		s.matcher.SetTimers(id, item.StartBy, true)
	case events.TimerSleep, events.TimerStepRetry, events.TimerRunTimeout:
	}
}

// endRun forgets everything of a run.
func (s *Scheduler) endRun(p *part, run events.RunID) {
	for keys := s.runs[run]; len(keys) > 0; keys = s.runs[run] {
		key := keys[len(keys)-1]
		if key.Kind == dueindex.KindTimer {
			s.forgetTimer(key)
		} else {
			s.forgetItem(key)
		}
		delete(p.dirty, key)
	}
	s.matcher.Ended(run)
	p.ended(run)
}

// enlist and delist keep the list of what is in memory of each run.
func (s *Scheduler) enlist(key dueindex.Key) {
	keys, ok := s.runs[key.RunID]
	if last := len(s.spare) - 1; !ok && last >= 0 {
		keys, s.spare = s.spare[last], s.spare[:last]
	}
	s.runs[key.RunID] = append(keys, key)
}

// What is kept of the lists of runs that nothing is in memory of any more: so many, of at most so many keys.
const (
	maxSpare     = 1024
	maxSpareKeys = 8
)

func (s *Scheduler) delist(key dueindex.Key) {
	keys := s.runs[key.RunID]
	for i := len(keys) - 1; i >= 0; i-- {
		if keys[i] != key {
			continue
		}
		keys[i] = keys[len(keys)-1]
		if keys = keys[:len(keys)-1]; len(keys) > 0 {
			s.runs[key.RunID] = keys
			return
		}
		delete(s.runs, key.RunID)
		if len(s.spare) < maxSpare && cap(keys) <= maxSpareKeys {
			s.spare = append(s.spare, keys)
		}
		return
	}
}

// report takes the news of a gateway.
func (s *Scheduler) report(now events.Time, r inbox.Report) {
	if r.Gone {
		s.matcher.Gone(now, r.Session)
		return
	}
	for _, w := range r.Joined {
		s.matcher.Join(now, matcher.Worker{
			Session: r.Session, ID: w.ID, Build: w.Build, Queue: w.Queue, Tasks: names(w.Tasks), Workflows: names(w.Workflows),
		})
	}
	for _, id := range r.Left {
		s.matcher.Leave(now, r.Session, id)
	}
	for _, held := range r.Running {
		if s.matcher.Running(r.Session, heldOf(held)) {
			item, _ := s.matcher.Item(matcher.ID{Run: held.RunID, Step: held.Step})
			s.begunAttempt(s.byID[item.Partition], item)
		}
	}
	for _, c := range r.Credits {
		s.matcher.Credit(r.Session, c.Worker, c.Tasks, c.Activations)
	}
	for _, held := range r.Returned {
		if s.matcher.Return(now, r.Session, heldOf(held)) {
			item, _ := s.matcher.Item(matcher.ID{Run: held.RunID, Step: held.Step})
			s.waitsAgain(item)
		}
	}
	for _, offered := range r.Refused {
		s.matcher.Refuse(now, r.Session, heldOf(offered))
	}
	for _, l := range r.Live {
		s.matcher.Live(r.Session, l.Worker, l.RunID, l.Evicted)
	}
}

func names(offers []inbox.Offer) []string {
	out := make([]string, len(offers))
	for i, o := range offers {
		out[i] = o.Name
	}
	return out
}

func heldOf(r inbox.Running) matcher.Held {
	return matcher.Held{Worker: r.Worker, Run: r.RunID, Step: r.Step, Activation: r.Activation, Attempt: r.Attempt}
}

// dispatch gives away what can be given.
func (s *Scheduler) dispatch(now events.Time) []Deliveries {
	s.matched = s.matcher.Match(now, s.matched[:0])
	clear(s.deliveries)
	out := s.deliveries[:0]
	for i := range s.matched {
		d := &s.matched[i]
		s.begunAttempt(s.byID[d.Item.Partition], d.Item)
		if s.deps.Observer != nil {
			s.deps.Observer.Delivered(d.Item.Kind(), max(0, now.Sub(d.Item.Start())))
		}
		at := 0
		for at < len(out) && out[at].Session != d.Session {
			at++
		}
		if at == len(out) {
			out = append(out, Deliveries{Session: d.Session})
		}
		out[at].Items = append(out[at].Items, inbox.Delivery{
			Worker: d.Worker, Task: d.Item.Task, Activation: d.Item.Activation, Partition: d.Item.Partition, From: d.Item.From, Number: d.Number,
		})
	}
	s.stats.Deliveries += uint64(len(s.matched))
	clear(s.matched)
	s.deliveries = out
	return out
}

// begunAttempt forgets the schedule-to-start timer of an attempt that a worker has.
func (s *Scheduler) begunAttempt(p *part, item matcher.Item) {
	if item.StartBy != 0 {
		s.disarm(p, item.Task.Task.Run, scheduleToStart(item))
	}
}

// waitsAgain arms the schedule-to-start timer of an attempt that did not reach its worker.
func (s *Scheduler) waitsAgain(item matcher.Item) {
	if item.StartBy != 0 {
		s.arm(s.byID[item.Partition], events.ArmTimer{
			Namespace: item.Task.Namespace, WorkflowID: item.Task.WorkflowID, RunID: item.Task.Task.Run, Timer: scheduleToStart(item), Due: item.StartBy,
		})
	}
}

func scheduleToStart(item matcher.Item) events.TimerID {
	return events.TimerID{Kind: events.TimerScheduleToStart, Step: item.Task.Task.Step, Attempt: item.Task.Attempt}
}
