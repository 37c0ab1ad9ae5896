// Package book keeps what a gateway session's reports and deliveries add up to: what the makers of the inbox share. It is
// pure.
package book

import (
	"slices"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Floor is how many deliveries may wait in any session, however few places its workers have.
const Floor = 64

// Session is what is known of one gateway session: its workers, what they hold and what they can take. It is used by one
// goroutine at a time.
type Session struct {
	id      events.SessionID
	workers []*worker // in the order they joined
}

// NewSession returns a session without workers.
func NewSession(id events.SessionID) *Session { return &Session{id: id} }

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

// Limit is how many deliveries may wait in the session: at least twice the credits that workers have granted.
func (s *Session) Limit() int {
	limit := Floor
	for _, w := range s.workers {
		limit += 2 * (max(w.TaskSlots, w.credit.Tasks) + max(w.ActivationSlots, w.credit.Activations))
	}
	return limit
}

// Empty reports whether the session has no worker, so that there is nothing to tell of it.
func (s *Session) Empty() bool { return len(s.workers) == 0 }

// RunningOf names the attempt of a delivery.
func RunningOf(d *inbox.Delivery) inbox.Running {
	r := inbox.Running{Worker: d.Worker}
	switch {
	case d.Task != nil:
		r.Namespace, r.WorkflowID, r.RunID = d.Task.Namespace, d.Task.WorkflowID, d.Task.Task.Run
		r.Step, r.Attempt = d.Task.Task.Step, d.Task.Attempt
	case d.Activation != nil:
		r.Namespace, r.WorkflowID, r.RunID = d.Activation.Namespace, d.Activation.WorkflowID, d.Activation.RunID
		r.Activation, r.Attempt = d.Activation.Activation.Activation, d.Activation.Activation.Attempt
	}
	return r
}

// Assign takes a delivery into account.
func (s *Session) Assign(d *inbox.Delivery) {
	w := s.worker(d.Worker)
	if w == nil {
		return
	}
	if d.Task != nil {
		w.credit.Tasks--
	} else if d.Activation != nil {
		w.credit.Activations--
	}
	r := RunningOf(d)
	w.given.put(attemptKey{r.RunID, r.Step}, r)
	w.given.trim(w.holds())
}

// holds bounds what is remembered of a worker. It has no more than its places, so of what it was given what is older than twice
// as many is over, or lasts and was told of; or it was given all of it within a moment, and may be given some once more.
func (w *worker) holds() int { return 2*(w.TaskSlots+w.ActivationSlots) + Floor }

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

func (s *Session) worker(id events.WorkerID) *worker {
	for _, w := range s.workers {
		if w.ID == id {
			return w
		}
	}
	return nil
}

// Moved forgets workers that joined another session: a worker is where it joined last.
func (s *Session) Moved(joined []inbox.Worker) {
	for _, j := range joined {
		s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool { return w.ID == j.ID })
	}
}

// Fold takes a report of the session into account; Gone is not looked at.
func (s *Session) Fold(r *inbox.Report) {
	for _, joined := range r.Joined {
		if w := s.worker(joined.ID); w != nil {
			w.Worker = joined
		} else {
			s.workers = append(s.workers, &worker{Worker: joined, credit: inbox.Credit{Worker: joined.ID}})
		}
	}
	if len(r.Left) > 0 {
		s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool { return slices.Contains(r.Left, w.ID) })
	}
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

// State is the session as one report.
func (s *Session) State() inbox.Report {
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
