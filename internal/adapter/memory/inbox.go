package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Limits of an [Inbox].
const (
	// mailboxFloor is how many deliveries wait in any session, however few places its workers have.
	mailboxFloor = 64
	// reportLimit is how many reports wait for one follower before they are replaced by the present state.
	reportLimit = 10_000
)

// Inbox is the inbox within one process. Its methods may be called from any goroutine; it has none of its own.
type Inbox struct {
	mu        sync.Mutex
	sessions  map[events.SessionID]*session
	order     []events.SessionID // in the order they were opened
	followers []*follower
}

var _ inbox.Inbox = (*Inbox)(nil)

// NewInbox makes an inbox without sessions.
func NewInbox() *Inbox { return &Inbox{sessions: map[events.SessionID]*session{}} }

// session is a gateway's session: its mailbox and what is known of its workers.
type session struct {
	inbox   *Inbox
	id      events.SessionID
	waiting []inbox.Delivery
	ready   chan struct{}
	workers []*worker // in the order they joined
}

type worker struct {
	inbox.Worker
	credit inbox.Credit // free: granted and not used by a delivery
	// given are deliveries of late, lasting is what the gateway said that it runs and not that it is over.
	given, lasting byAge[attemptKey, inbox.Running]
	live           byAge[events.RunID, inbox.Live]
}

// attemptKey is the task, or the run's activation, of an attempt: a worker holds one at a time.
type attemptKey struct {
	run  events.RunID
	step events.Step
}

// Open begins a session. It fails if the session is open.
func (i *Inbox) Open(_ context.Context, id events.SessionID) (inbox.Mailbox, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sessions[id] != nil {
		return nil, fmt.Errorf("gateway session %d is open already", id)
	}
	s := &session{inbox: i, id: id, ready: make(chan struct{}, 1)}
	i.sessions[id] = s
	i.order = append(i.order, id)
	return s, nil
}

// Deliver puts all deliveries into the session's mailbox or, when that fails, none.
func (i *Inbox) Deliver(id events.SessionID, deliveries []inbox.Delivery) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[id]
	if s == nil {
		return fmt.Errorf("session %d: %w", id, inbox.ErrGone)
	}
	if limit := s.limit(); len(s.waiting)+len(deliveries) > limit {
		return fmt.Errorf("session %d: %d deliveries wait and the limit is %d: %w", id, len(s.waiting), limit, inbox.ErrFull)
	}
	s.waiting = append(s.waiting, deliveries...)
	for n := range deliveries {
		s.assign(&deliveries[n])
	}
	wake(s.ready)
	return nil
}

// limit is at least twice the credits that workers have granted.
func (s *session) limit() int {
	limit := mailboxFloor
	for _, w := range s.workers {
		limit += 2 * (max(w.TaskSlots, w.credit.Tasks) + max(w.ActivationSlots, w.credit.Activations))
	}
	return limit
}

// assign keeps the books of a delivery.
func (s *session) assign(d *inbox.Delivery) {
	w := s.worker(d.Worker)
	if w == nil {
		return
	}
	r := inbox.Running{Worker: d.Worker}
	switch {
	case d.Task != nil:
		w.credit.Tasks--
		r.Namespace, r.WorkflowID, r.RunID = d.Task.Namespace, d.Task.WorkflowID, d.Task.Task.Run
		r.Step, r.Attempt = d.Task.Task.Step, d.Task.Attempt
	case d.Activation != nil:
		w.credit.Activations--
		r.Namespace, r.WorkflowID, r.RunID = d.Activation.Namespace, d.Activation.WorkflowID, d.Activation.RunID
		r.Activation, r.Attempt = d.Activation.Activation.Activation, d.Activation.Activation.Attempt
	}
	w.given.put(attemptKey{r.RunID, r.Step}, r)
	w.given.trim(w.holds())
}

// holds bounds what is remembered of a worker. It has no more than its places, so of what it was given what is older than twice
// as many is over, or lasts and was told of; or it was given all of it within a moment, and may be given some once more.
func (w *worker) holds() int { return 2*(w.TaskSlots+w.ActivationSlots) + mailboxFloor }

// lasts remembers that the worker holds an attempt until it is said to be over.
func (w *worker) lasts(r inbox.Running) {
	key := attemptKey{r.RunID, r.Step}
	w.given.drop(key)
	w.lasting.put(key, r)
	w.lasting.trim(w.holds())
}

// over forgets an attempt, unless the worker has a later one of the same task or run.
func (w *worker) over(r inbox.Running) {
	key := attemptKey{r.RunID, r.Step}
	if now, ok := w.lasting.get(key); ok && now == r {
		w.lasting.drop(key)
	}
}

func (s *session) worker(id events.WorkerID) *worker {
	for _, w := range s.workers {
		if w.ID == id {
			return w
		}
	}
	return nil
}

// Report tells the followers. A report of a session that is not open fails with ErrGone, unless it says Gone.
func (i *Inbox) Report(r inbox.Report) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[r.Session]
	switch {
	case s == nil && r.Gone:
		return nil
	case s == nil:
		return fmt.Errorf("session %d: %w", r.Session, inbox.ErrGone)
	case r.Gone:
		i.forget(s)
		return nil
	}
	i.moved(s, r.Joined)
	s.fold(r)
	i.tell(r)
	return nil
}

// moved forgets in other sessions the workers that joined this one: a worker is where it joined last.
func (i *Inbox) moved(to *session, joined []inbox.Worker) {
	for _, j := range joined {
		for _, id := range i.order {
			if other := i.sessions[id]; other != to {
				other.workers = slices.DeleteFunc(other.workers, func(w *worker) bool { return w.ID == j.ID })
			}
		}
	}
}

// fold keeps the present state of a session, for followers that begin later.
func (s *session) fold(r inbox.Report) {
	for _, joined := range r.Joined {
		if w := s.worker(joined.ID); w != nil {
			w.Worker = joined
		} else {
			s.workers = append(s.workers, &worker{Worker: joined, credit: inbox.Credit{Worker: joined.ID}})
		}
	}
	s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool { return slices.Contains(r.Left, w.ID) })
	for _, running := range r.Running {
		if w := s.worker(running.Worker); w != nil {
			w.lasts(running)
		}
	}
	for _, c := range r.Credits {
		if w := s.worker(c.Worker); w != nil {
			w.credit.Tasks += c.Tasks
			w.credit.Activations += c.Activations
		}
	}
	for _, returned := range r.Returned {
		if w := s.worker(returned.Worker); w != nil {
			w.given.drop(attemptKey{returned.RunID, returned.Step})
			w.lasting.drop(attemptKey{returned.RunID, returned.Step})
		}
	}
	for _, over := range r.Over {
		if w := s.worker(over.Worker); w != nil {
			w.over(over)
		}
	}
	for _, l := range r.Live {
		if w := s.worker(l.Worker); w != nil {
			if l.Evicted {
				w.live.drop(l.RunID)
			} else {
				w.live.put(l.RunID, l)
			}
		}
	}
}

// state is the session as one report.
func (s *session) state() inbox.Report {
	r := inbox.Report{Session: s.id}
	for _, w := range s.workers {
		r.Joined = append(r.Joined, w.Worker)
		if !mutant.On(mutant.InboxForgetsHeld) {
			r.Running = w.lasting.appendTo(w.given.appendTo(r.Running))
		}
		if w.credit.Tasks != 0 || w.credit.Activations != 0 {
			r.Credits = append(r.Credits, w.credit)
		}
		r.Live = w.live.appendTo(r.Live)
	}
	return r
}

// forget ends a session and tells the followers.
func (i *Inbox) forget(s *session) {
	if i.sessions[s.id] != s {
		return
	}
	delete(i.sessions, s.id)
	i.order = slices.DeleteFunc(i.order, func(id events.SessionID) bool { return id == s.id })
	s.waiting = nil
	i.tell(inbox.Report{Session: s.id, Gone: true})
}

// Take returns waiting deliveries.
func (s *session) Take(limit int) []inbox.Delivery {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	return take(&s.waiting, limit, s.ready)
}

// Ready has a value whenever Take may return something.
func (s *session) Ready() <-chan struct{} { return s.ready }

// Close ends the session.
func (s *session) Close() {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	s.inbox.forget(s)
}

type follower struct {
	inbox   *Inbox
	waiting []inbox.Report
	ready   chan struct{}
}

// Reports begins with one report for every session that has workers.
func (i *Inbox) Reports(context.Context) (inbox.Reports, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &follower{inbox: i, ready: make(chan struct{}, 1)}
	f.waiting = i.state(nil)
	wake(f.ready)
	i.followers = append(i.followers, f)
	return f, nil
}

func (i *Inbox) state(dst []inbox.Report) []inbox.Report {
	for _, id := range i.order {
		if s := i.sessions[id]; len(s.workers) > 0 {
			dst = append(dst, s.state())
		}
	}
	return dst
}

// tell hands a report to the followers. One that takes nothing gets, instead of ever more changes, the end of every
// session it was told of and then the present state.
func (i *Inbox) tell(r inbox.Report) {
	for _, f := range i.followers {
		if len(f.waiting) < reportLimit {
			f.waiting = append(f.waiting, r)
		} else {
			gone := slices.Clone(i.order)
			for _, waiting := range f.waiting {
				gone = append(gone, waiting.Session)
			}
			gone = append(gone, r.Session)
			slices.Sort(gone)
			f.waiting = nil
			for _, id := range slices.Compact(gone) {
				f.waiting = append(f.waiting, inbox.Report{Session: id, Gone: true})
			}
			f.waiting = i.state(f.waiting)
		}
		wake(f.ready)
	}
}

// Take returns waiting reports.
func (f *follower) Take(limit int) []inbox.Report {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	return take(&f.waiting, limit, f.ready)
}

// Ready has a value whenever Take may return something.
func (f *follower) Ready() <-chan struct{} { return f.ready }

// Close ends the following.
func (f *follower) Close() {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	f.waiting = nil
	f.inbox.followers = slices.DeleteFunc(f.inbox.followers, func(o *follower) bool { return o == f })
}

// take removes up to limit values from the front of a queue and makes it ready again if something is left.
func take[T any](queue *[]T, limit int, ready chan struct{}) []T {
	n := min(limit, len(*queue))
	if n <= 0 {
		return nil
	}
	taken := slices.Clone((*queue)[:n])
	*queue = slices.Delete(*queue, 0, n)
	if len(*queue) > 0 {
		wake(ready)
	}
	return taken
}

func wake(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}
