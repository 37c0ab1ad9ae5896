package sessions

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// worker is one worker process, connected or expected back.
type worker struct {
	Worker
	conn Conn // 0 while its stream is broken
	// lost is when it is given up; 0 while it is connected.
	lost     events.Time
	reminder reminder
	draining bool
	// freeTasks and freeActivations are places the worker granted and nothing was delivered for.
	freeTasks, freeActivations int
	// owedTasks and owedActivations came while the stream was broken and were given back. The schedulers count them as
	// used, so they are granted again when the worker is back.
	owedTasks, owedActivations int
	// untoldTasks and untoldActivations are places that the schedulers count as free and that attempts take which they have
	// not been told of.
	untoldTasks, untoldActivations int

	tasks       map[events.TaskID]*task
	activations map[events.RunID]*activation
	live        map[events.RunID]struct{}
}

// heldRun is what the workers of this gateway have of one run.
type heldRun struct {
	steps []events.Step // of tasks held, ascending
	live  *worker       // has the run in memory; nil when none is known
}

func (c *Core) join(in Join) {
	if err := checkOffers(in.Worker); err != nil {
		c.emit(Refuse{Conn: in.Conn, Err: err})
		return
	}
	if err := c.checkSignatures(in.Worker); err != nil {
		c.emit(Refuse{Conn: in.Conn, Err: err})
		return
	}
	if slices.Contains(c.report.Left, in.Worker.ID) {
		c.flushReport() // in one report the leaving would come last
	}
	w, known := c.workers[in.Worker.ID]
	switch {
	case !known:
		w = &worker{
			Worker: in.Worker, tasks: make(map[events.TaskID]*task), activations: make(map[events.RunID]*activation),
			live: make(map[events.RunID]struct{}),
		}
		w.Since = c.now
		c.workers[w.ID] = w
		c.report.Joined = append(c.report.Joined, w.Worker)
	default:
		if w.conn != 0 {
			c.emit(Refuse{Conn: w.conn, Err: &events.Error{
				Code: events.Unavailable, Message: fmt.Sprintf("worker %s came back on another stream", w.ID),
			}})
			c.disconnect(w)
		}
		in.Worker.Since = w.Since
		// It may have been at another gateway meanwhile, which the schedulers then take for its own.
		w.Worker = in.Worker
		c.report.Joined = append(c.report.Joined, w.Worker)
		c.report.credit(w.ID, w.owedTasks, w.owedActivations)
		w.owedTasks, w.owedActivations = 0, 0
	}
	w.conn, w.lost, w.draining = in.Conn, 0, false
	c.deadlines.remove(&w.reminder)
	c.conns[in.Conn] = w
	c.emit(Welcome{Conn: in.Conn})
	c.compareTasks(w, in.Tasks)
	c.compareActivations(w, in.Activations)
}

// checkOffers refuses a worker that has two definitions of one name.
func checkOffers(w Worker) *events.Error {
	for _, kind := range []struct {
		what   string
		offers []Offer
	}{{"tasks", w.Tasks}, {"workflows", w.Workflows}} {
		seen := make(map[string]struct{}, len(kind.offers))
		for _, o := range kind.offers {
			if _, twice := seen[o.Name]; twice {
				return &events.Error{Code: events.DuplicateName, Message: fmt.Sprintf(
					"worker %s offers two %s named %s: give one of them another name", w.Identity, kind.what, o.Name)}
			}
			seen[o.Name] = struct{}{}
		}
	}
	return nil
}

// checkSignatures refuses a worker whose types differ from those of a connected worker of the same queue.
func (c *Core) checkSignatures(joining Worker) *events.Error {
	for _, other := range c.sortedWorkers() {
		if other.ID == joining.ID || other.conn == 0 || other.Queue != joining.Queue || other.Namespace != joining.Namespace {
			continue
		}
		for _, kind := range []struct {
			what       string
			mine, they []Offer
		}{{"task", joining.Tasks, other.Tasks}, {"workflow", joining.Workflows, other.Workflows}} {
			for _, o := range kind.mine {
				i := slices.IndexFunc(kind.they, func(t Offer) bool { return t.Name == o.Name })
				if i < 0 || o.Signature == "" || kind.they[i].Signature == "" || kind.they[i].Signature == o.Signature {
					continue
				}
				return &events.Error{Code: events.SignatureMismatch, Message: fmt.Sprintf(
					"%s %s is %s here and %s on worker %s of queue %s: give the changed one a new name",
					kind.what, o.Name, o.Signature, kind.they[i].Signature, other.Identity, joining.Queue)}
			}
		}
	}
	return nil
}

func (c *Core) sortedWorkers() []*worker {
	return slices.SortedFunc(maps.Values(c.workers), func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) })
}

func (c *Core) grant(in Grant) {
	w := c.conns[in.Conn]
	if w == nil || w.draining {
		return
	}
	// A worker may also take places back, but not more than are free.
	tasks, activations := max(in.Tasks, -w.freeTasks), max(in.Activations, -w.freeActivations)
	c.free(w, tasks, activations)
}

func (c *Core) drain(in Drain) {
	if w := c.conns[in.Conn]; w != nil {
		w.draining = true
		c.takeBackCredits(w)
	}
}

func (c *Core) takeBackCredits(w *worker) {
	c.report.credit(w.ID, -w.freeTasks-w.untoldTasks, -w.freeActivations-w.untoldActivations)
	w.freeTasks, w.freeActivations, w.untoldTasks, w.untoldActivations = 0, 0, 0, 0
}

func (c *Core) leave(in Leave) {
	w := c.conns[in.Conn]
	if w == nil {
		return
	}
	c.disconnect(w)
	if len(w.tasks)+len(w.activations) == 0 {
		c.giveUp(w)
		return
	}
	w.lost = c.now.Add(c.config.Grace)
	c.deadlines.add(&w.reminder, w.lost, w)
}

// disconnect ends a worker's stream; what was not put on it is given back.
func (c *Core) disconnect(w *worker) {
	delete(c.conns, w.conn)
	w.conn = 0
	c.takeBackCredits(w)
	for _, t := range w.sortedTasks() {
		if t.state == handing {
			c.returnTask(t)
		}
	}
	for _, a := range w.sortedActivations() {
		if a.state == handing {
			c.returnActivation(a)
		}
	}
	for _, run := range slices.SortedFunc(maps.Keys(w.live), compareRuns) {
		c.noLongerLive(w, run)
	}
}

// expire gives a worker up that has not come back.
func (w *worker) expire(c *Core) events.Time {
	switch {
	case w.lost == 0 || c.workers[w.ID] != w:
		return 0
	case w.lost > c.now:
		return w.lost
	}
	c.giveUp(w)
	return 0
}

// giveUp forgets a worker: the attempts it had begun are lost.
func (c *Core) giveUp(w *worker) {
	for _, t := range w.sortedTasks() {
		if t.state == running && !mutant.On(mutant.LostWorkerUnnoticed) {
			c.timeOutTask(t, events.CodeWorkerLost)
		} else {
			c.forgetTask(t)
		}
	}
	for _, a := range w.sortedActivations() {
		if a.state == running {
			c.timeOutActivation(a)
		} else {
			c.forgetActivation(a)
		}
	}
	w.lost = 0
	c.deadlines.remove(&w.reminder)
	delete(c.workers, w.ID)
	c.report.Left = append(c.report.Left, w.ID)
}

func (w *worker) sortedTasks() []*task {
	return slices.SortedFunc(maps.Values(w.tasks), func(a, b *task) int {
		return cmp.Or(compareRuns(a.Task.Run, b.Task.Run), cmp.Compare(a.Task.Step, b.Task.Step))
	})
}

func (w *worker) sortedActivations() []*activation {
	return slices.SortedFunc(maps.Values(w.activations), func(a, b *activation) int { return compareRuns(a.RunID, b.RunID) })
}

func compareRuns(a, b events.RunID) int { return slices.Compare(a[:], b[:]) }

func (c *Core) inspect(in Inspect) {
	all := c.sortedWorkers()
	states := make([]WorkerState, 0, len(all))
	for _, w := range all {
		state := WorkerState{ID: w.ID}
		for _, t := range w.sortedTasks() {
			state.Tasks = append(state.Tasks, t.Attempt)
		}
		for _, a := range w.sortedActivations() {
			state.Activations = append(state.Activations, a.Activation)
		}
		states = append(states, state)
	}
	c.emit(Inspection{Call: in.Call, Workers: states})
}
