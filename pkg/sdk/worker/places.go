package worker

import apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"

// places are free places granted on the present stream that nothing was delivered for yet. How many to grant is never
// counted along: it is what is left of the worker's places after what it holds and what it has granted. So a path that
// forgets to give a place back, or gives it back twice, cannot exist.
type places struct {
	welcomed           bool // there is a stream whose server has accepted the worker
	tasks, activations int
}

// regrant grants the places that are free now. The caller holds the lock.
func (w *Worker) regrant() {
	if !w.granted.welcomed || w.draining {
		return
	}
	results, activationResults := w.outbox.held()
	tasks := max(w.options.Tasks-len(w.attempts)-results-w.granted.tasks, 0)
	activations := max(w.options.Activations-w.activations.n-activationResults-w.granted.activations, 0)
	if tasks == 0 && activations == 0 {
		return
	}
	say := w.outbox.say
	if (tasks == 0 || plenty(w.granted.tasks, w.options.Tasks)) &&
		(activations == 0 || plenty(w.granted.activations, w.options.Activations)) {
		say = w.outbox.sayAlong
	}
	w.granted.tasks += tasks
	w.granted.activations += activations
	say(func(r *apiv1.WorkRequest) {
		r.TaskCredits += int32(tasks)
		r.ActivationCredits += int32(activations)
	})
}

// plenty reports whether the server has so many places left that it need not hear at once of further ones.
func plenty(granted, places int) bool { return places >= 32 && granted >= places/2 }

// useTask and useActivation note that a granted place was used. The caller holds the lock.
func (w *Worker) useTask() { w.use(&w.granted.tasks, w.options.Tasks) }

func (w *Worker) useActivation() { w.use(&w.granted.activations, w.options.Activations) }

// use notes that a place was used. Up to half of the places may wait to be granted along with something else: when a quarter is
// used they are granted, while the server still has some.
func (w *Worker) use(granted *int, places int) {
	*granted = max(*granted-1, 0)
	if places >= 32 && *granted == places-places/4 {
		w.outbox.signal()
	}
}
