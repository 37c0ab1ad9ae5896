package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of what a run holds open. The code of a workflow that goes over one is refused: its activation fails with the
// code [events.CodeRunLimit] and is tried again, by back-off or by a new build.
const (
	MaxOpenTasks  = 10_000  // tasks that were called and have not ended
	MaxOpenTimers = 10_000  // armed timers, and steps that back off or were not tried again yet
	MaxViews      = 1_000   // different names under which the run has ever published
	MaxViewBytes  = 1 << 20 // the inline bytes of their newest values; a spilled value counts as 64
)

// limitError says that a progress goes over a bound of its run.
type limitError struct{ message string }

func (e *limitError) Error() string { return e.message }

func overLimit(format string, args ...any) error {
	return &limitError{message: fmt.Sprintf(format, args...)}
}

// codeOfRefusal returns the failure code of a progress that was refused with err.
func codeOfRefusal(err error) string {
	var limit *limitError
	switch {
	case errors.Is(err, errContinuePending):
		return events.CodeContinuePending
	case errors.As(err, &limit):
		return events.CodeRunLimit
	}
	return events.CodeInvalidProgress
}

// checkOpen says which bound the run would break after the events of a progress. Bounds are for what code wants to do,
// never for what has happened: Apply does not know them, so that a history stays valid when a bound is lowered.
func (r *Run) checkOpen(evs []events.Event) error {
	tasks, timers := len(r.tasks), len(r.timers)+len(r.steps.backoffs)
	var views viewChange
	for _, e := range evs {
		switch e := e.(type) {
		case events.TaskScheduled:
			tasks++
		case events.TaskCancelled:
			tasks--
		case events.TimerStarted:
			timers++
		case events.TimerCancelled:
			timers--
		case events.StepBackedOff:
			if _, open := r.steps.backoffs[e.Step]; !open {
				timers++
			}
		case events.StepRecorded:
			if _, open := r.steps.backoffs[e.Step]; open {
				timers--
			}
		case events.ViewSet:
			views.set(&r.views, e)
		default: // opens and ends nothing that is bounded
		}
	}
	names, bytes := len(r.views.all)+views.fresh, r.views.bytes+views.bytes
	switch {
	case tasks > MaxOpenTasks:
		return overLimit("%d tasks would be open; the limit is %d: wait for some before more are called", tasks, MaxOpenTasks)
	case timers > MaxOpenTimers:
		return overLimit("%d timers would be open; the limit is %d: wait for some before more are armed", timers, MaxOpenTimers)
	case views.fresh > 0 && names > MaxViews:
		return overLimit("the run would have %d views; the limit is %d: put what differs into the value instead of the name", names, MaxViews)
	case views.bytes > 0 && bytes > MaxViewBytes:
		return overLimit("the views of the run would have %d bytes; the limit is %d: keep the bytes elsewhere and publish a reference",
			bytes, MaxViewBytes)
	}
	return nil
}

// views are the names under which a run has published, with the inline bytes of the newest values. The values are in the
// history.
type views struct {
	all   []view // by name
	bytes int
}

type view struct {
	name  events.ViewName
	bytes int
}

func (v *views) search(name events.ViewName) (int, bool) {
	return slices.BinarySearchFunc(v.all, name, func(x view, n events.ViewName) int { return strings.Compare(string(x.name), string(n)) })
}

// set notes a new value.
func (v *views) set(e events.ViewSet) {
	bytes := inlineBytes(e.Value)
	i, ok := v.search(e.Name)
	if !ok {
		v.all = slices.Insert(v.all, i, view{name: e.Name})
	}
	v.bytes += bytes - v.all[i].bytes
	v.all[i].bytes = bytes
}

// viewChange is what a progress would change of the views.
type viewChange struct {
	fresh, bytes int
	newest       map[events.ViewName]int
}

func (c *viewChange) set(before *views, e events.ViewSet) {
	if c.newest == nil {
		c.newest = make(map[events.ViewName]int)
	}
	old, again := c.newest[e.Name]
	if !again {
		if i, known := before.search(e.Name); known {
			old = before.all[i].bytes
		} else {
			c.fresh++
		}
	}
	c.newest[e.Name] = inlineBytes(e.Value)
	c.bytes += c.newest[e.Name] - old
}
