package worker

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// runningActivation is workflow code that is being run. Those that are over are used again for others.
type runningActivation struct {
	worker   *Worker
	run      func() // begins it, on a goroutine of its own
	delivery *apiv1.ActivationDelivery
	key      activationKey
	live     *liveRun // of its run, if it was kept
	minder   minder
	at       events.Time // shown to the code at its beginning,
	began    time.Time   // which was then

	gone   atomic.Bool             // nobody wants the answer any more
	giveUp chan struct{}           // has a value when that was not noticed yet
	chunks chan *apiv1.ReplayChunk // answers to replay requests, one at a time

	step    stepHere
	records []*events.Record // room for those of a live run

	// Guarded by the worker's lock:
	before *runningActivation // an older one of the same run
	loaded bool               // it has the history it needs
	drop   bool               // do not keep the run live afterwards
	void   bool               // its result is of no use
}

func (a *runningActivation) ref() *apiv1.ActivationRef { return a.delivery.GetActivation() }

// newActivation returns an activation to run a delivery. The caller holds the lock.
func (w *Worker) newActivation(key activationKey, d *apiv1.ActivationDelivery) *runningActivation {
	var a *runningActivation
	if last := len(w.spare) - 1; last >= 0 {
		a, w.spare[last] = w.spare[last], nil
		w.spare = w.spare[:last]
	} else {
		a = &runningActivation{worker: w, giveUp: make(chan struct{}, 1), chunks: make(chan *apiv1.ReplayChunk, 1)}
		a.run = a.main
		a.minder.alive, a.minder.blocked = a.sayAlive, a.endBlocked
	}
	a.delivery, a.key = d, key
	return a
}

// maxSpare bounds the activations that are kept for others.
const maxSpare = 256

// spareActivation keeps an activation for another one: it is over, and nothing knows it any more but its timer. The caller holds
// the lock.
func (w *Worker) spareActivation(a *runningActivation) {
	if len(w.spare) == maxSpare {
		return
	}
	select {
	case <-a.giveUp:
	default:
	}
	select {
	case <-a.chunks:
	default:
	}
	a.gone.Store(false)
	a.delivery, a.key, a.before = nil, activationKey{}, nil
	a.loaded, a.drop, a.void = false, false, false
	w.spare = append(w.spare, a)
}

// cancel gives the activation up: nobody wants its answer. The caller holds the worker's lock.
func (a *runningActivation) cancel() {
	a.gone.Store(true)
	select {
	case a.giveUp <- struct{}{}:
	default:
	}
	if live := a.step.leave(); live != nil {
		w := a.worker
		w.executing.Go(func() { w.endActivation(a, w.failActivation(live, a.delivery, errGivenUp), false) })
	}
}

// stepHere is a step that is executed on the goroutine of its activation. When the activation is given up meanwhile, the step
// is left to itself: it need not notice.
type stepHere struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc
	live   *liveRun // whose step it is; nil when none is executed
}

// enter notes that a step is executed from now on; false means that the activation was given up before.
func (s *stepHere) enter(a *runningActivation, live *liveRun, cancel context.CancelCauseFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.gone.Load() {
		return false
	}
	s.live, s.cancel = live, cancel
	return true
}

// done notes that the step has ended; false means that it was left: the activation goes on, or is over, elsewhere.
func (s *stepHere) done() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.live != nil
	s.live, s.cancel = nil, nil
	return here
}

// leave stops a step and leaves it to itself. It returns the run that it belongs to; nil when no step is executed.
func (s *stepHere) leave() *liveRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.live
	if live != nil {
		s.cancel(ErrTaskCancelled)
	}
	s.live, s.cancel = nil, nil
	return live
}

// activationSet holds the running activations. Of one run there are several while those that were replaced have not ended.
// It is guarded by the worker's lock.
type activationSet struct {
	runs map[string]*runningActivation // the newest of each run
	n    int
}

func newActivationSet() activationSet {
	return activationSet{runs: map[string]*runningActivation{}}
}

func (s *activationSet) get(key activationKey) *runningActivation {
	for a := s.runs[key.run]; a != nil; a = a.before {
		if a.key == key {
			return a
		}
	}
	return nil
}

// ofRun walks over the activations of a run, the newest first.
func (s *activationSet) ofRun(run string) iter.Seq[*runningActivation] {
	return func(yield func(*runningActivation) bool) {
		for a := s.runs[run]; a != nil; a = a.before {
			if !yield(a) {
				return
			}
		}
	}
}

// all walks over all activations, in no order. The one at hand may be removed.
func (s *activationSet) all() iter.Seq[*runningActivation] {
	return func(yield func(*runningActivation) bool) {
		for _, a := range s.runs {
			for a != nil {
				before := a.before
				if !yield(a) {
					return
				}
				a = before
			}
		}
	}
}

func (s *activationSet) add(a *runningActivation) {
	a.before = s.runs[a.key.run]
	s.runs[a.key.run] = a
	s.n++
}

// remove takes an activation out, if it is there.
func (s *activationSet) remove(a *runningActivation) {
	newest := s.runs[a.key.run]
	for at := &newest; *at != nil; at = &(*at).before {
		if *at != a {
			continue
		}
		*at, a.before = a.before, nil
		s.n--
		if newest == nil {
			delete(s.runs, a.key.run)
		} else {
			s.runs[a.key.run] = newest
		}
		return
	}
}
