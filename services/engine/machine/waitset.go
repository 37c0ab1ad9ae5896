package machine

import "github.com/continuo-dev/continuo/pkg/events"

// waits is the wait set of the last accepted progress, with a count of what each group still waits for, so that the end
// of a step costs the same however many steps are waited for together.
type waits struct {
	now    bool
	groups []events.WaitGroup

	// The rest is derived from the groups and what is open.
	open      []int32 // per group: its steps and signals still to come
	fulfilled int     // groups with nothing to come
	steps     map[events.Step][]int32
	signals   map[events.SignalName][]signalWait
}

type signalWait struct {
	index uint64
	group int32
}

// holds reports whether the code is to be activated.
func (w *waits) holds() bool { return w.now || w.fulfilled > 0 }

// setWait replaces the wait set. A step that is not open counts as ended: it ended before, or it runs in the worker and
// wants to go on there.
func (r *Run) setWait(set events.WaitSet) {
	w := waits{now: set.Now, groups: set.Any}
	if len(set.Any) > 0 {
		w.open = make([]int32, len(set.Any))
		w.steps = make(map[events.Step][]int32)
	}
	for i := range set.Any {
		group := int32(i)
		for _, s := range set.Any[i].Steps {
			w.steps[s] = append(w.steps[s], group)
			if r.pending(s) {
				w.open[i]++
			}
		}
		for _, s := range set.Any[i].Signals {
			if r.inbox.received(s.Name) >= s.Index {
				continue
			}
			if w.signals == nil {
				w.signals = make(map[events.SignalName][]signalWait)
			}
			w.signals[s.Name] = append(w.signals[s.Name], signalWait{s.Index, group})
			w.open[i]++
		}
		if w.open[i] == 0 {
			w.fulfilled++
		}
	}
	r.wait = w
}

// stepOpened tells the wait set that a step which was not open now is.
func (w *waits) stepOpened(s events.Step) {
	for _, g := range w.steps[s] {
		if w.open[g] == 0 {
			w.fulfilled--
		}
		w.open[g]++
	}
}

// stepEnded tells the wait set that an open step has ended.
func (w *waits) stepEnded(s events.Step) {
	for _, g := range w.steps[s] {
		w.ended(g)
	}
}

// signalCame tells the wait set that the index-th signal of a name has come.
func (w *waits) signalCame(name events.SignalName, index uint64) {
	for _, s := range w.signals[name] {
		if s.index == index {
			w.ended(s.group)
		}
	}
}

func (w *waits) ended(group int32) {
	w.open[group]--
	if w.open[group] == 0 {
		w.fulfilled++
	}
}

// pending reports whether an event will end the step.
func (r *Run) pending(s events.Step) bool {
	if _, ok := r.tasks[s]; ok {
		return true
	}
	if _, ok := r.timers[s]; ok {
		return true
	}
	b, ok := r.steps.backoffs[s]
	return ok && b != 0
}
