package machine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// waits is the wait set of the last accepted progress, with a count of what each group still waits for, so that the end
// of a step costs about the same however many steps are waited for together.
type waits struct {
	now    bool
	groups []events.WaitGroup

	// The rest is derived from the groups and what is open.
	open      []int32      // per group: its steps and signals still to come
	fulfilled int          // groups with nothing to come
	steps     []stepWait   // by step
	signals   []signalWait // by name and index
}

// stepWait and signalWait say which group waits for something.
type stepWait struct {
	step  events.Step
	group int32
}

type signalWait struct {
	name  events.SignalName
	index uint64
	group int32
}

func compareStepWaits(a, b stepWait) int { return cmp.Compare(a.step, b.step) }

func compareSignalWaits(a, b signalWait) int {
	return cmp.Or(strings.Compare(string(a.name), string(b.name)), cmp.Compare(a.index, b.index))
}

// holds reports whether the code is to be activated.
func (w *waits) holds() bool { return w.now || w.fulfilled > 0 }

// setWait replaces the wait set. A step that is not open counts as ended: it ended before, or it runs in the worker and
// wants to go on there.
func (r *Run) setWait(set events.WaitSet) {
	w := waits{now: set.Now, groups: set.Any, open: emptied(r.wait.open), steps: emptied(r.wait.steps), signals: emptied(r.wait.signals)}
	for i := range set.Any {
		group := int32(i)
		w.open = append(w.open, 0)
		for _, s := range set.Any[i].Steps {
			w.steps = append(w.steps, stepWait{s, group})
			if r.pending(s) {
				w.open[i]++
			}
		}
		for _, s := range set.Any[i].Signals {
			if r.inbox.received(s.Name) >= s.Index {
				continue
			}
			w.signals = append(w.signals, signalWait{s.Name, s.Index, group})
			w.open[i]++
		}
		if w.open[i] == 0 {
			w.fulfilled++
		}
	}
	slices.SortFunc(w.steps, compareStepWaits)
	slices.SortFunc(w.signals, compareSignalWaits)
	r.wait = w
}

// keptElements is for how many elements a run keeps the memory of an emptied slice.
const keptElements = 16

// emptied returns the slice to be used again, unless it is large.
func emptied[T any](s []T) []T {
	if cap(s) > keptElements {
		return nil
	}
	return s[:0]
}

// of returns the waits for a step.
func (w *waits) of(s events.Step) []stepWait {
	i, _ := slices.BinarySearchFunc(w.steps, stepWait{step: s}, compareStepWaits)
	n := i
	for n < len(w.steps) && w.steps[n].step == s {
		n++
	}
	return w.steps[i:n]
}

// stepOpened tells the wait set that a step which was not open now is.
func (w *waits) stepOpened(s events.Step) {
	for _, x := range w.of(s) {
		if w.open[x.group] == 0 {
			w.fulfilled--
		}
		w.open[x.group]++
	}
}

// stepEnded tells the wait set that an open step has ended.
func (w *waits) stepEnded(s events.Step) {
	for _, x := range w.of(s) {
		w.ended(x.group)
	}
}

// signalCame tells the wait set that the index-th signal of a name has come.
func (w *waits) signalCame(name events.SignalName, index uint64) {
	i, _ := slices.BinarySearchFunc(w.signals, signalWait{name: name, index: index}, compareSignalWaits)
	for ; i < len(w.signals) && w.signals[i].name == name && w.signals[i].index == index; i++ {
		w.ended(w.signals[i].group)
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
