package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// errGivenUp ends an activation that nobody wants the answer of.
var errGivenUp = errors.New("the activation was given up")

// errOver says that the activation has ended before, without its goroutine: see blocked and cancel.
var errOver = errors.New("the activation was over when its code came back")

// activationDeadline is the time to answer in when the server names none.
const activationDeadline = 10 * time.Second

// startActivation runs a delivered activation on a goroutine of its own. A repeated delivery joins the one that runs, or
// gets its kept result again. One of the same run that came before is over.
func (w *Worker) startActivation(d *apiv1.ActivationDelivery) {
	key := activationKeyOf(d.GetActivation())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.useActivation()
	if (w.activations.get(key) != nil || w.outbox.repeatActivation(key)) && !mutant.On(mutant.ActivationRunsTwice) {
		w.regrant()
		return
	}
	if d.GetBaseActivation() != 0 { // that result is safe
		w.outbox.acknowledgeActivation(activationKey{run: key.run, activation: d.GetBaseActivation(), attempt: d.GetBaseAttempt()})
	}
	for before := range w.activations.ofRun(key.run) {
		before.void, before.drop = true, true
		before.cancel()
	}
	deadline := d.GetDeadline().AsDuration()
	if deadline <= 0 {
		deadline = activationDeadline
	}
	a := w.newActivation(key, d)
	a.minder.every, a.minder.watchdog = deadline/3, w.options.Watchdog
	a.live = w.cache.take(key.run)
	w.activations.add(a)
	w.executing.Go(a.run)
}

// endActivation frees the place of an activation and says its result; nil means that there is none. With over, nothing of the
// activation goes on.
func (w *Worker) endActivation(a *runningActivation, result *apiv1.ActivationResult, over bool) {
	a.minder.end()
	w.mu.Lock()
	w.activations.remove(a)
	if result != nil && !a.void {
		w.outbox.activationResult(result)
	}
	w.regrant()
	if over {
		w.spareActivation(a)
	}
	w.mu.Unlock()
	w.checkDrained()
}

// dropUnloaded gives up the activations that wait for history. The caller holds the lock.
func (w *Worker) dropUnloaded() {
	for a := range w.activations.all() {
		if !a.loaded {
			a.void, a.drop = true, true
			a.cancel()
			w.activations.remove(a)
		}
	}
}

// loaded notes that an activation has the history it needs; false means that it was given up.
func (w *Worker) loaded(a *runningActivation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.loaded = true
	return !a.void
}

// main runs the activation.
func (a *runningActivation) main() {
	a.began = time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	a.minder.begin(a.began)
	live, turn, err := a.worker.activate(a)
	a.goOn(live, turn, err)
}

// goOn runs the code from a turn, or from an error, on to its answer.
func (a *runningActivation) goOn(live *liveRun, turn replay.Turn, err error) {
	w := a.worker
	if err == nil {
		turn, err = w.untilProgress(a, live, turn)
	}
	if errors.Is(err, errOver) {
		return
	}
	if a.gone.Load() {
		err = errGivenUp
	}
	var result *apiv1.ActivationResult
	if err != nil {
		result = w.failActivation(live, a.delivery, err)
	} else {
		result = w.answer(a, live, turn)
	}
	w.endActivation(a, result, true)
}

// answer returns the answer of an activation whose code waits or has ended.
func (w *Worker) answer(a *runningActivation, live *liveRun, turn replay.Turn) *apiv1.ActivationResult {
	result := &apiv1.ActivationResult{Activation: a.ref()}
	progress := turn.Progress
	progress.Worker, progress.Build = w.id, w.build
	encoded := events.AppendReportProgress(make([]byte, 0, encodedBytes(progress.Intents)), progress)
	if failure := w.checkSizes(progress.Intents, len(encoded)); failure != nil {
		w.forget(live)
		result.Outcome = &apiv1.ActivationResult_Failure{Failure: wire.ToFailure(failure)}
		return result
	}
	result.Outcome = &apiv1.ActivationResult_Progress{Progress: encoded}
	w.startSteps(live, turn)
	result.Live = w.keep(a, live, turn.Ended)
	return result
}

// failActivation returns the answer of an activation whose code could not be run; nil when nobody wants one. Live may be nil.
func (w *Worker) failActivation(live *liveRun, d *apiv1.ActivationDelivery, err error) *apiv1.ActivationResult {
	if live != nil {
		w.forget(live)
	}
	if errors.Is(err, errGivenUp) {
		return nil
	}
	failure := replay.Failure(err)
	w.log.Warn("workflow code could not be run", slog.String("workflow_id", d.GetActivation().GetWorkflowId()),
		slog.String("run_id", d.GetActivation().GetRunId()), slog.String("type", d.GetWorkflowType()),
		slog.String("code", failure.Code), slog.String("reason", failure.Message))
	return &apiv1.ActivationResult{
		Activation: d.GetActivation(), Outcome: &apiv1.ActivationResult_Failure{Failure: wire.ToFailure(&failure)},
	}
}

// activate lets the code go on from memory if it can, and else from a full replay.
func (w *Worker) activate(a *runningActivation) (*liveRun, replay.Turn, error) {
	d, live := a.delivery, a.live
	a.live = nil
	ref, err := wire.FromActivationRef(d.GetActivation())
	if err != nil {
		return live, replay.Turn{}, err
	}
	at, err := wire.FromTime("at", d.GetAt())
	if err != nil {
		return live, replay.Turn{}, err
	}
	a.at = at
	activation := replay.Activation{
		Number: ref.Activation, Attempt: ref.Attempt, At: at, Base: events.EventNumber(d.GetBase()),
		ReplayFrom: events.EventNumber(d.GetReplayFrom()), Upto: events.EventNumber(d.GetUpto()),
	}
	if d.GetNothingNew() {
		activation.BaseActivation, activation.BaseAttempt = d.GetBaseActivation(), events.Attempt(d.GetBaseAttempt())
	}
	delta := !d.GetFull() && d.GetBase() > 0
	if live != nil && (!delta || live.run.Generation() != activation.ReplayFrom) {
		w.forget(live)
		live = nil
	}
	if live != nil {
		activation.Records, err = w.history(a, true, d.GetHistory(), d.GetNextEvent())
		if err != nil {
			return live, replay.Turn{}, err
		}
		if w.madeBase(activation) {
			if !w.loaded(a) {
				return live, replay.Turn{}, errGivenUp
			}
			turn, err := w.watched(a, live, func() (replay.Turn, error) { return live.run.Activate(activation) })
			if !errors.Is(err, errOver) {
				a.keepRecords(activation.Records)
			}
			if !errors.Is(err, replay.ErrNotLive) {
				return live, turn, err
			}
		}
		w.forget(live)
	}
	if delta {
		activation.Records, err = w.history(a, false, nil, d.GetReplayFrom())
	} else {
		activation.Records, err = w.history(a, false, d.GetHistory(), d.GetNextEvent())
	}
	if err != nil {
		return nil, replay.Turn{}, err
	}
	if !w.loaded(a) {
		return nil, replay.Turn{}, errGivenUp
	}
	run, err := w.registry.NewRun(flow.RunConfig{
		Type: events.WorkflowType(d.GetWorkflowType()), WorkflowID: ref.WorkflowID, RunID: ref.RunID, Payloads: w.payloads, Logger: w.log,
		Threads: w.threads,
	})
	if err != nil {
		return nil, replay.Turn{}, err
	}
	live = &liveRun{id: d.GetActivation().GetRunId(), run: run, done: outcomes{wake: make(chan struct{}, 1)}}
	turn, err := w.watched(a, live, func() (replay.Turn, error) { return live.run.Activate(activation) })
	return live, turn, err
}

// madeBase reports whether the progress that the activation builds on is this worker's own: a live run that made another
// one, which was not accepted, cannot go on.
func (w *Worker) madeBase(a replay.Activation) bool {
	if a.BaseActivation != 0 {
		return true // the server names it to the worker that made it only
	}
	for _, r := range a.Records {
		if a.Base < r.First || a.Base > r.Last() {
			continue
		}
		made, ok := r.Events[a.Base-r.First].(events.ProgressMade)
		return ok && made.Worker == w.id
	}
	return false
}

// history decodes what was delivered and asks for the rest, from next on, until it has all that a live or a new run needs.
func (w *Worker) history(a *runningActivation, live bool, delivered []byte, next uint64) ([]*events.Record, error) {
	d := a.delivery
	var room []*events.Record
	if live {
		room = a.records
	}
	records, err := decodeFrames(room, delivered, live)
	for err == nil && next > 0 {
		from := next
		w.outbox.say(func(r *apiv1.WorkRequest) {
			r.ReplayRequests = append(r.ReplayRequests, &apiv1.ReplayRequest{Activation: d.GetActivation(), FromEvent: from, ToEvent: d.GetUpto()})
		})
		chunk := a.chunk()
		if chunk == nil {
			return nil, errGivenUp
		}
		if chunk.GetError() != "" {
			w.log.Debug("a history is not to be had", slog.String("run_id", d.GetActivation().GetRunId()), slog.String("reason", chunk.GetError()))
			return nil, errGivenUp
		}
		had := len(records)
		records, err = decodeFrames(records, chunk.GetHistory(), live)
		if next = chunk.GetNextEvent(); err == nil && next > 0 && len(records) == had {
			err = fmt.Errorf("the part from event %d on is empty, and yet more is to follow", from)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the history that the server sent cannot be read: %w", err)
	}
	return records, nil
}

// chunk waits for the answer to a replay request; nil when the activation was given up.
func (a *runningActivation) chunk() *apiv1.ReplayChunk {
	select {
	case <-a.giveUp:
		return nil
	case c := <-a.chunks:
		return c
	}
}

// replayed passes a chunk of history to the activation that asked for it.
func (w *Worker) replayed(chunk *apiv1.ReplayChunk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.activations.get(activationKeyOf(chunk.GetActivation())); a != nil {
		select {
		case a.chunks <- chunk:
		default: // nobody asked
		}
	}
}

// untilProgress executes steps until the code has something to report.
func (w *Worker) untilProgress(a *runningActivation, live *liveRun, turn replay.Turn) (replay.Turn, error) {
	for turn.Progress == nil {
		outcome, err := a.outcome(live, turn)
		if err != nil {
			return turn, err
		}
		outcome.At = a.at.Add(time.Since(a.began)) //nolint:forbidigo // as above: elapsed time, whatever the wall clock shows
		next, err := w.watched(a, live, func() (replay.Turn, error) { return live.run.StepsDone(outcome) })
		if err != nil {
			return next, err
		}
		turn = next
	}
	return turn, nil
}

// watched runs the code of a run. When the code neither waits nor ends it is given up: the activation ends without it, and
// what is left to do when it comes back after all is to end its fibers.
func (w *Worker) watched(a *runningActivation, live *liveRun, code func() (replay.Turn, error)) (replay.Turn, error) {
	a.minder.enter(live)
	turn, err := code()
	if !a.minder.leave() {
		live.run.Close()
		return replay.Turn{}, errOver
	}
	return turn, err
}

func (a *runningActivation) sayAlive() {
	a.worker.outbox.say(func(r *apiv1.WorkRequest) { r.ActivationHeartbeats = append(r.ActivationHeartbeats, a.ref()) })
}

func (a *runningActivation) endBlocked(live *liveRun) {
	a.worker.endActivation(a, a.worker.blocked(live, a.delivery), false)
}

// blocked returns the answer of an activation whose code neither waits nor ends, with the stack of where it is. Its goroutine
// is lost until the code comes back.
func (w *Worker) blocked(live *liveRun, d *apiv1.ActivationDelivery) *apiv1.ActivationResult {
	live.lost = true
	return w.failActivation(live, d, &events.Failure{
		Code: events.CodeWorkflowBlocked,
		Message: fmt.Sprintf("workflow code neither waited nor ended within %s; it may only wait by calls of package flow. It is at:\n%s",
			w.options.Watchdog, live.run.Blocked()),
	})
}

// keep puts a run back into memory, unless it has ended or is unwanted; it reports whether the run stays live.
func (w *Worker) keep(a *runningActivation, live *liveRun, ended bool) bool {
	w.mu.Lock()
	var out []*liveRun
	kept := !ended && !a.drop && !w.draining
	if kept {
		out = w.cache.put(live)
	} else {
		out = []*liveRun{live}
	}
	w.mu.Unlock()
	for _, old := range out {
		w.forget(old)
		kept = kept && old != live
	}
	return kept
}

// forget ends a run here and tells the server that it is no longer live.
func (w *Worker) forget(live *liveRun) {
	w.discard(live)
	w.outbox.say(func(r *apiv1.WorkRequest) { r.EvictedRunIds = append(r.EvictedRunIds, live.id) })
}

// discard ends a run's steps and, in its own time, its fibers: deferred code of the user may take long.
func (w *Worker) discard(live *liveRun) {
	for _, cancel := range live.steps {
		cancel(ErrTaskCancelled)
	}
	switch {
	case live.lost:
	case live.run.Fibers() == 0:
		live.run.Close()
	default:
		w.executing.Go(live.run.Close)
	}
}

// drop removes a run from memory: it ended, or goes on elsewhere.
func (w *Worker) drop(run string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.activations.ofRun(run) {
		a.drop = true
	}
	if live := w.cache.take(run); live != nil {
		w.discard(live)
	}
}
