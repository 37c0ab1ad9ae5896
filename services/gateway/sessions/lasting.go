package sessions

import (
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// What a worker holds for longer than tellAfter the schedulers are told of, and when it is over they are told again: so a
// scheduler that begins anew knows of everything that lasts, and an attempt that came the direct way is not taken for one
// that nobody has.

// tellAfter leaves the schedulers the better part of an offer's time to hear of it.
const tellAfter = events.OfferFor / 4

// begun is an attempt that a worker got, and when. One of the pointers is set.
type begun struct {
	at         events.Time
	task       *task
	activation *activation
}

// begin notes an attempt that is to be told of if it lasts.
func (c *Core) begin(b begun) {
	b.at = c.now
	c.young = append(c.young, b)
}

// over reports whether there is nothing to tell any more. What is told already and has its result on the way will be over
// before it matters.
func (b begun) over(c *Core) bool {
	if t := b.task; t != nil {
		return t.lasting || c.tasks[t.Task] != t || t.told && t.state == reporting
	}
	a := b.activation
	return a.lasting || c.activations[a.RunID] != a || a.told && a.state == reporting
}

// tell tells the schedulers of what has lasted.
func (c *Core) tell() {
	for c.youngest < len(c.young) {
		b := c.young[c.youngest]
		if !b.over(c) && !mutant.On(mutant.OfferNeverTold) {
			if b.at.Add(tellAfter) > c.now {
				break
			}
			if b.task != nil {
				c.tellTask(b.task)
			} else {
				c.tellActivation(b.activation)
			}
		}
		c.young[c.youngest] = begun{}
		c.youngest++
	}
	if c.youngest > 64 && 2*c.youngest > len(c.young) {
		c.young = slices.Delete(c.young, 0, c.youngest)
		c.youngest = 0
	}
}

// tellAt returns when tell has something to do; 0 means never.
func (c *Core) tellAt() events.Time {
	if c.youngest == len(c.young) {
		return 0
	}
	return c.young[c.youngest].at.Add(tellAfter)
}

// tellActivation makes an activation known to the schedulers as running here.
func (c *Core) tellActivation(a *activation) {
	a.lasting = true
	c.report.Running = append(c.report.Running, a.held())
	if !a.told {
		a.told = true
		c.tellPlaces(a.worker, 0, 1)
	}
}

// tellTask is tellActivation for a task.
func (c *Core) tellTask(t *task) {
	t.lasting = true
	c.report.Running = append(c.report.Running, t.held())
	if !t.told {
		t.told = true
		c.tellPlaces(t.worker, 1, 0)
	}
}
