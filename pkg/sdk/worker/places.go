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

// useTask and useActivation note that a granted place was used. What waits to be granted along with something else is granted
// before the server has none left. The caller holds the lock.
func (w *Worker) useTask() {
	w.granted.tasks = max(w.granted.tasks-1, 0)
	if waiting, _ := w.outbox.granting(); waiting > 0 && w.granted.tasks-waiting < w.options.Tasks/4 {
		w.outbox.signal()
	}
}

func (w *Worker) useActivation() {
	w.granted.activations = max(w.granted.activations-1, 0)
	if _, waiting := w.outbox.granting(); waiting > 0 && w.granted.activations-waiting < w.options.Activations/4 {
		w.outbox.signal()
	}
}
