package projection

import (
	"slices"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

func (f folding) taskAttemptFailed(e events.TaskAttemptFailed) {
	next := row.Task{Step: e.Step, Name: e.Name, Queue: e.Queue, Scheduled: f.at}
	if i := f.taskAt(e.Step); i >= 0 {
		next = f.run.Tasks[i]
	}
	next.Attempt, next.NextAttempt, next.LastFailure = e.Attempt+1, e.NotBefore, &e.Failure
	f.openTask(next)
}

func (f folding) taskAt(step events.Step) int {
	return slices.IndexFunc(f.run.Tasks, func(t row.Task) bool { return t.Step == step })
}

func (f folding) openTask(t row.Task) {
	if i := f.taskAt(t.Step); i >= 0 {
		f.run.Tasks[i] = t
	} else if len(f.run.Tasks) < MaxListed {
		f.run.Tasks = append(f.run.Tasks, t)
	}
}

func (f folding) closeTask(step events.Step) {
	if i := f.taskAt(step); i >= 0 {
		f.run.Tasks = orNil(slices.Delete(f.run.Tasks, i, i+1))
	}
}

func (f folding) openTimer(t row.Timer) {
	i := slices.IndexFunc(f.run.Timers, func(o row.Timer) bool { return o.Step == t.Step })
	if i >= 0 {
		f.run.Timers[i] = t
	} else if len(f.run.Timers) < MaxListed {
		f.run.Timers = append(f.run.Timers, t)
	}
}

func (f folding) closeTimer(step events.Step) {
	i := slices.IndexFunc(f.run.Timers, func(t row.Timer) bool { return t.Step == step })
	if i >= 0 {
		f.run.Timers = orNil(slices.Delete(f.run.Timers, i, i+1))
	}
}

// orNil makes rows with nothing in a list equal, however they came to it.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
