package sim

import (
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// worker is a worker process. It keeps the protocol as the SDK's worker does: results stay until they are acknowledged, a
// repeated delivery joins what runs, free places are what is left of its places.
type worker struct {
	w    *world
	id   events.WorkerID
	dead bool
	conn *conn // nil while it has none

	slots, activationSlots int
	maxLive                int
	slow                   int // one in so many things it does takes too long; 0 for none

	granted    places
	tasks      []*runningTask
	activates  []*runningActivation
	results    []taskResult
	progresses []activationResult
	live       []*liveRun // most recently used last
}

type places struct {
	welcomed           bool
	tasks, activations int
}

type runningTask struct {
	worker   *worker
	delivery *taskDelivery
	gone     bool
}

type taskResult struct {
	ref     sessions.Attempt
	command events.Command
}

type activationResult struct {
	ref     sessions.Activation
	command events.Command
	live    bool
}

func (w *world) startWorker() {
	w.nextWorker++
	k := &worker{w: w, id: events.WorkerID(fmt.Sprintf("worker-%d", w.nextWorker))}
	k.slots, k.activationSlots = []int{1, 4, 20, 100}[w.rng.IntN(4)], []int{1, 4, 20, 100}[w.rng.IntN(4)]
	k.maxLive = []int{0, 4, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000}[w.rng.IntN(8)]
	if w.faults&SlowWorker != 0 && w.rng.IntN(3) == 0 {
		k.slow = 10
	}
	w.workers = append(w.workers, k)
	w.after(w.rng.Int64N(100*millisecond), kindWork, k.connect)
}

// connect dials a gateway, again and again until one is there.
func (k *worker) connect() {
	w := k.w
	if k.dead || k.conn != nil {
		return
	}
	if w.server == nil {
		w.after(100*millisecond+w.rng.Int64N(second), kindWork, k.connect)
		return
	}
	g := w.server.gateways[w.rng.IntN(len(w.server.gateways))]
	// What waits for a history that this stream would have brought does not get it; here histories come whole.
	join := sessions.Join{Worker: sessions.Worker{
		Namespace: events.DefaultNamespace, ID: k.id, Identity: string(k.id), Build: "b1", SDK: "sim", Queue: events.DefaultTaskQueue,
		TaskSlots: k.slots, ActivationSlots: k.activationSlots,
	}}
	for _, o := range w.registry.Tasks() {
		join.Worker.Tasks = append(join.Worker.Tasks, sessions.Offer(o))
	}
	for _, o := range w.registry.Workflows() {
		join.Worker.Workflows = append(join.Worker.Workflows, sessions.Offer(o))
	}
	for _, t := range k.tasks {
		join.Tasks = append(join.Tasks, w.heldTask(t.delivery.ref, t.delivery.limits))
	}
	for _, r := range k.results {
		join.Tasks = append(join.Tasks, w.heldTask(r.ref, events.TaskOptions{}))
	}
	for _, a := range k.activates {
		join.Activations = append(join.Activations, a.delivery.ref)
	}
	for _, r := range k.progresses {
		join.Activations = append(join.Activations, r.ref)
	}
	k.granted = places{}
	k.conn = g.connect(k, join)
	w.tracef("%s connects to gateway %d with %d tasks and %d activations", k.id, g.session, len(join.Tasks), len(join.Activations))
}

// heldTask is an attempt as a worker's hello lists it and the gateway completes it from the history.
func (w *world) heldTask(ref sessions.Attempt, limits events.TaskOptions) sessions.HeldTask {
	past := w.taskPast(w.partitionOf(ref.WorkflowID), ref.Task, ref.Attempt, 0)
	return sessions.HeldTask{Attempt: ref, StartToClose: limits.StartToClose, Heartbeat: limits.Heartbeat, Over: past.Over}
}

// disconnected notices that a stream is broken.
func (k *worker) disconnected(c *conn) {
	if k.dead || k.conn != c {
		return
	}
	k.conn, k.granted = nil, places{}
	k.w.after(k.w.rng.Int64N(2*second), kindWork, k.connect)
}

// die ends the process with all it holds.
func (k *worker) die() {
	if k.dead {
		return
	}
	k.dead = true
	if k.conn != nil {
		k.conn.cut()
	}
	for _, t := range k.tasks {
		t.gone = true
	}
	for _, a := range k.activates {
		a.gone = true
		a.close()
	}
	for _, l := range k.live {
		l.close()
	}
	k.tasks, k.activates, k.live = nil, nil, nil
	k.w.workers = slices.DeleteFunc(k.w.workers, func(o *worker) bool { return o == k })
}

// welcomed says what it kept for a new stream, and what it can take.
func (k *worker) welcomed() {
	k.granted.welcomed = true
	for _, r := range k.results {
		k.sendResult(r)
	}
	for _, r := range k.progresses {
		k.sendProgress(r)
	}
	k.regrant()
}

// say sends something that is said once; without a stream it is dropped.
func (k *worker) say(in func(sessions.Conn) sessions.Input) {
	if k.conn == nil || !k.conn.open {
		return
	}
	k.conn.up(in(k.conn.id))
}

func (k *worker) regrant() {
	if !k.granted.welcomed {
		return
	}
	tasks := max(k.slots-len(k.tasks)-len(k.results)-k.granted.tasks, 0)
	activations := max(k.activationSlots-len(k.activates)-len(k.progresses)-k.granted.activations, 0)
	if tasks == 0 && activations == 0 {
		return
	}
	k.granted.tasks += tasks
	k.granted.activations += activations
	k.say(func(c sessions.Conn) sessions.Input {
		return sessions.Grant{Conn: c, Tasks: tasks, Activations: activations}
	})
}

func (k *worker) sendResult(r taskResult) {
	k.say(func(c sessions.Conn) sessions.Input {
		return sessions.TaskDone{Conn: c, Attempt: r.ref, Command: r.command}
	})
}

func (k *worker) ackTask(ref sessions.Attempt) {
	k.results = slices.DeleteFunc(k.results, func(r taskResult) bool { return r.ref == ref })
	k.regrant()
}

func (k *worker) stop(ref sessions.Attempt) {
	for i, t := range k.tasks {
		if t.delivery.ref == ref {
			t.gone = true
			k.tasks = slices.Delete(k.tasks, i, i+1)
			break
		}
	}
	k.regrant()
}

// startTask runs an attempt. How long it takes is drawn; what comes out is up to its code.
func (k *worker) startTask(d *taskDelivery) {
	w := k.w
	k.granted.tasks = max(k.granted.tasks-1, 0)
	running := slices.ContainsFunc(k.tasks, func(t *runningTask) bool { return t.delivery.ref == d.ref })
	kept := slices.IndexFunc(k.results, func(r taskResult) bool { return r.ref == d.ref })
	if kept >= 0 {
		k.sendResult(k.results[kept])
	}
	if running || kept >= 0 {
		k.regrant()
		return
	}
	if w.tracing() {
		w.tracef("%s begins task %s attempt %d", k.id, d.ref.Task, d.ref.Attempt)
	}
	t := &runningTask{worker: k, delivery: d}
	k.tasks = append(k.tasks, t)
	took := w.rng.Int64N(20 * millisecond)
	if k.stalls() {
		took = d.limits.StartToClose.Microseconds() + w.rng.Int64N(5*second)
	}
	beat := d.limits.Heartbeat.Microseconds()
	if beat > 0 && !k.stalls() {
		took = min(took, 10*minute) // and a sign of life in time
		k.beat(t, beat/3)
	}
	w.later(took, kindWork, t)
}

// happen is the end of an attempt.
func (t *runningTask) happen() {
	if !t.gone && !t.worker.dead {
		t.worker.endTask(t)
	}
}

// stalls decides whether something takes too long.
func (k *worker) stalls() bool {
	return k.slow > 0 && k.w.fault(SlowWorker, k.slow)
}

// beat sends heartbeats of an attempt until it is over.
func (k *worker) beat(t *runningTask, every int64) {
	k.w.after(every, kindWork, func() {
		if t.gone || k.dead || !slices.Contains(k.tasks, t) {
			return
		}
		k.say(func(c sessions.Conn) sessions.Input {
			return sessions.Heartbeat{Conn: c, Attempt: t.delivery.ref, Details: beatDetails}
		})
		k.beat(t, every)
	})
}

func (k *worker) endTask(t *runningTask) {
	w, d := k.w, t.delivery
	k.tasks = slices.DeleteFunc(k.tasks, func(o *runningTask) bool { return o == t })
	t.gone = true
	outcome := w.runTask(d)
	r := taskResult{ref: d.ref}
	if outcome.Failure != nil {
		r.command = events.FailTask{
			Step: d.ref.Task.Step, Attempt: d.ref.Attempt, Failure: *outcome.Failure, RetryAfter: outcome.RetryAfter, Worker: k.id,
		}
	} else {
		r.command = events.CompleteTask{Step: d.ref.Task.Step, Attempt: d.ref.Attempt, Result: outcome.Result, Worker: k.id}
	}
	k.results = append(k.results, r)
	k.sendResult(r)
	if w.fault(RepeatDelivery, 30) {
		k.sendResult(r)
	}
	k.regrant()
}

func (k *worker) sendProgress(r activationResult) {
	k.say(func(c sessions.Conn) sessions.Input {
		return sessions.ActivationDone{Conn: c, Activation: r.ref, Command: r.command, Live: r.live}
	})
}

func (k *worker) ackActivation(ref sessions.Activation) {
	k.progresses = slices.DeleteFunc(k.progresses, func(r activationResult) bool { return r.ref == ref })
	k.regrant()
}

// take takes a run out of memory; nil if it is not there.
func (k *worker) take(id events.RunID) *liveRun {
	for i, l := range k.live {
		if l.id == id {
			k.live = slices.Delete(k.live, i, i+1)
			return l
		}
	}
	return nil
}

// forget ends a run here and says so.
func (k *worker) forget(l *liveRun) {
	l.close()
	k.say(func(c sessions.Conn) sessions.Input { return sessions.Evicted{Conn: c, Runs: []events.RunID{l.id}} })
}

func (k *worker) drop(id events.RunID) {
	for _, a := range k.activates {
		if a.delivery.ref.RunID == id {
			a.drop = true
		}
	}
	if l := k.take(id); l != nil {
		l.close()
	}
}

func (k *worker) newRun(open *events.OpenActivation) (*liveRun, error) {
	run, err := k.w.registry.NewRun(flow.RunConfig{Type: open.Activation.Type, WorkflowID: open.WorkflowID, RunID: open.RunID, Payloads: payloads, Threads: k.w.threads, Unguarded: !k.w.tuning.guarded})
	if err != nil {
		return nil, err
	}
	return &liveRun{id: open.RunID, run: run, steps: map[events.Step]*runningStep{}}, nil
}
