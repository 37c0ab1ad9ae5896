package replay

import (
	"github.com/continuo-dev/continuo/pkg/events"
)

// Call begins a task and returns its future. The step of c is filled in.
func (r *Run) Call(scope *Scope, c events.ScheduleTask) *Future {
	f, err := r.enter("Call")
	if err == nil {
		err = scope.Err()
	}
	if err != nil {
		return r.Failed(err)
	}
	future := r.newStep(kindTask, scope, string(c.Name))
	if e, ok := r.recorded().(events.TaskScheduled); ok && e.Step == future.step && e.Name == c.Name {
		r.cursor++
		return future
	}
	c.Step = future.step
	r.intend(f, c)
	return future
}

// Timer begins a timer that ends at the given time.
func (r *Run) Timer(scope *Scope, due events.Time) *Future {
	f, err := r.enter("Timer")
	if err == nil {
		err = scope.Err()
	}
	if err != nil {
		return r.Failed(err)
	}
	return r.startTimer(f, scope, due)
}

func (r *Run) startTimer(f *fiber, scope *Scope, due events.Time) *Future {
	future := r.newStep(kindTimer, scope, "")
	if e, ok := r.recorded().(events.TimerStarted); ok && e.Step == future.step && e.Due == due {
		r.cursor++
		return future
	}
	r.intend(f, events.StartTimer{Step: future.step, Due: due})
	return future
}

// SetView publishes state to readers.
func (r *Run) SetView(name events.ViewName, value events.Payload) error {
	f, err := r.enter("Set")
	if err != nil {
		return err
	}
	r.intend(f, events.SetView{Name: name, Value: value})
	return nil
}

// newStep makes an open future with the next step number.
func (r *Run) newStep(k kind, scope *Scope, name string) *Future {
	r.lastStep++
	future := &Future{run: r, kind: k, step: r.lastStep, name: name, scope: scope}
	r.steps.add(future)
	return future
}
