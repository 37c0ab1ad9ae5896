package machine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// maxHoles bounds the ranges of steps that were passed over and may still be used; the oldest are given up first.
const maxHoles = 1_000

// steps knows which step numbers are used. Code numbers its calls when it makes them, but a step that runs in the worker
// is reported when it ends, so numbers may be passed over and used later.
type steps struct {
	high events.Step // the highest number used
	// holes are the ranges below high that are not used, ascending.
	holes []hole
	// backoffs are the steps that failed in the worker, with the time of their next try; 0 when that has come.
	backoffs map[events.Step]events.Time
}

type hole struct{ from, to events.Step }

// findHole returns the index of the hole with s, or false.
func (k *steps) findHole(s events.Step) (int, bool) {
	return slices.BinarySearchFunc(k.holes, s, func(h hole, s events.Step) int {
		switch {
		case h.to < s:
			return -1
		case h.from > s:
			return 1
		}
		return 0
	})
}

// unused reports whether the step may still be used.
func (k *steps) unused(s events.Step) bool {
	if s > k.high {
		return true
	}
	_, ok := k.findHole(s)
	return ok
}

// use marks a step as used for the first time.
func (k *steps) use(s events.Step) error {
	if s == 0 {
		return errors.New("steps count from 1")
	}
	if s > k.high {
		if s > k.high+1 {
			k.holes = append(k.holes, hole{k.high + 1, s - 1})
			if len(k.holes) > maxHoles {
				k.holes = k.holes[1:]
			}
		}
		k.high = s
		return nil
	}
	i, ok := k.findHole(s)
	if !ok {
		return errStepUsed
	}
	h := k.holes[i]
	switch {
	case h.from == h.to:
		k.holes = slices.Delete(k.holes, i, i+1)
	case s == h.from:
		k.holes[i].from++
	case s == h.to:
		k.holes[i].to--
	default:
		k.holes[i].to = s - 1
		k.holes = slices.Insert(k.holes, i+1, hole{s + 1, h.to})
	}
	return nil
}

func (k *steps) forget(s events.Step) {
	delete(k.backoffs, s)
	if len(k.backoffs) == 0 {
		k.backoffs = nil
	}
}

// report marks a step that ran in the worker as used, for the first time or again after its back-off.
func (k *steps) report(s events.Step) error {
	if due, ok := k.backoffs[s]; ok {
		if due != 0 {
			return errors.New("the step is backing off")
		}
		k.forget(s)
		return nil
	}
	return k.use(s)
}

func (r *Run) applyStepRecorded(e events.StepRecorded) error { return r.steps.report(e.Step) }

func (r *Run) applyStepBackedOff(e events.StepBackedOff) error {
	if e.Until <= 0 {
		return fmt.Errorf("the step backs off until %d", e.Until)
	}
	if err := r.steps.report(e.Step); err != nil {
		return err
	}
	if r.steps.backoffs == nil {
		r.steps.backoffs = make(map[events.Step]events.Time)
	}
	r.steps.backoffs[e.Step] = e.Until
	r.wait.stepOpened(e.Step)
	return nil
}

func (r *Run) applyStepRetryDue(e events.StepRetryDue) error {
	if r.steps.backoffs[e.Step] == 0 {
		return fmt.Errorf("step %d is not backing off", e.Step)
	}
	r.steps.backoffs[e.Step] = 0
	r.wait.stepEnded(e.Step)
	return nil
}
