package worker

import (
	"sync"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/mutant"
)

// Bounds of one message of the stream: its bytes, above which a single part travels alone, and the run ids in it.
const (
	batchBytes = 1 << 20
	batchRuns  = 10_000
)

// attemptKey names an attempt of a task on this worker.
type attemptKey struct {
	run     string
	step    uint64
	attempt uint32
}

func keyOf(r *apiv1.AttemptRef) attemptKey {
	return attemptKey{run: r.GetRunId(), step: r.GetStep(), attempt: r.GetAttempt()}
}

// activationKey names an attempt of an activation on this worker.
type activationKey struct {
	run        string
	activation uint64
	attempt    uint32
}

func activationKeyOf(r *apiv1.ActivationRef) activationKey {
	return activationKey{run: r.GetRunId(), activation: r.GetActivation(), attempt: r.GetAttempt()}
}

// outbox is what this worker has to say. Results stay until they are acknowledged and are said again on a new stream. Of
// heartbeats the newest of each attempt waits to be said. Everything else belongs to one stream: it is said once, and
// dropped while there is none. What the outbox holds is bounded by the worker's places: a place is free again only when its
// result is acknowledged.
type outbox struct {
	wake chan struct{} // has a value when there may be something to say

	mu                sync.Mutex
	open              bool // there is a stream to say it on
	results           map[attemptKey]*apiv1.TaskResult
	activationResults map[activationKey]*apiv1.ActivationResult
	unsent            []*apiv1.TaskResult
	unsentActivations []*apiv1.ActivationResult
	beats             map[attemptKey]*apiv1.TaskHeartbeat
	passing           *apiv1.WorkRequest // credits, requests, evictions
	said              bool               // something was put into passing
}

func newOutbox() *outbox {
	return &outbox{
		wake: make(chan struct{}, 1), results: map[attemptKey]*apiv1.TaskResult{},
		activationResults: map[activationKey]*apiv1.ActivationResult{}, beats: map[attemptKey]*apiv1.TaskHeartbeat{},
		passing: &apiv1.WorkRequest{},
	}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// result keeps the result of an attempt until it is acknowledged.
func (o *outbox) result(r *apiv1.TaskResult) {
	o.mu.Lock()
	o.results[keyOf(r.GetTask())] = r
	o.unsent = append(o.unsent, r)
	o.mu.Unlock()
	o.signal()
}

// activationResult keeps the result of an activation until it is acknowledged.
func (o *outbox) activationResult(r *apiv1.ActivationResult) {
	o.mu.Lock()
	o.activationResults[activationKeyOf(r.GetActivation())] = r
	o.unsentActivations = append(o.unsentActivations, r)
	o.mu.Unlock()
	o.signal()
}

// beat says a heartbeat, in place of one of the same attempt that was not said yet. Details are not replaced by none.
func (o *outbox) beat(b *apiv1.TaskHeartbeat) {
	key := keyOf(b.GetTask())
	o.mu.Lock()
	if before := o.beats[key]; before == nil || b.GetDetails() != nil {
		o.beats[key] = b
	}
	o.mu.Unlock()
	o.signal()
}

// hush drops a heartbeat that was not said yet.
func (o *outbox) hush(k attemptKey) {
	o.mu.Lock()
	delete(o.beats, k)
	o.mu.Unlock()
}

// say adds something that is said once, on the present stream; without one it is dropped.
func (o *outbox) say(add func(*apiv1.WorkRequest)) {
	o.sayAlong(add)
	o.signal()
}

// sayAlong is say for what has time until something else is said, or a sign of life is due.
func (o *outbox) sayAlong(add func(*apiv1.WorkRequest)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open {
		add(o.passing)
		o.said = true
	}
}

// granting returns the places whose grant was not said yet.
func (o *outbox) granting() (tasks, activations int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int(o.passing.GetTaskCredits()), int(o.passing.GetActivationCredits())
}

// repeat says a kept result again, because its attempt was delivered again; it reports whether there is one.
func (o *outbox) repeat(k attemptKey) bool {
	o.mu.Lock()
	r, ok := o.results[k]
	if ok {
		o.unsent = append(o.unsent, r)
	}
	o.mu.Unlock()
	if ok {
		o.signal()
	}
	return ok
}

// repeatActivation is repeat for an activation.
func (o *outbox) repeatActivation(k activationKey) bool {
	o.mu.Lock()
	r, ok := o.activationResults[k]
	if ok {
		o.unsentActivations = append(o.unsentActivations, r)
	}
	o.mu.Unlock()
	if ok {
		o.signal()
	}
	return ok
}

// acknowledge forgets results that are safe.
func (o *outbox) acknowledge(tasks []*apiv1.AttemptRef, activations []*apiv1.ActivationRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range tasks {
		delete(o.results, keyOf(t))
	}
	for _, a := range activations {
		delete(o.activationResults, activationKeyOf(a))
	}
}

// acknowledgeActivation forgets one result that is safe.
func (o *outbox) acknowledgeActivation(k activationKey) {
	o.mu.Lock()
	delete(o.activationResults, k)
	o.mu.Unlock()
}

// kept returns the attempts whose results are not acknowledged.
func (o *outbox) kept() (tasks []*apiv1.AttemptRef, activations []*apiv1.ActivationRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.results {
		tasks = append(tasks, r.GetTask())
	}
	for _, r := range o.activationResults {
		activations = append(activations, r.GetActivation())
	}
	return tasks, activations
}

// held counts the results that are not acknowledged.
func (o *outbox) held() (tasks, activations int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.results), len(o.activationResults)
}

// restart prepares for a new stream: kept results are to be said again.
func (o *outbox) restart() {
	o.mu.Lock()
	o.open, o.passing, o.said = true, &apiv1.WorkRequest{}, false
	o.unsent, o.unsentActivations = nil, nil
	for _, r := range o.results {
		if !mutant.On(mutant.UnackedResultForgotten) {
			o.unsent = append(o.unsent, r)
		}
	}
	for _, r := range o.activationResults {
		o.unsentActivations = append(o.unsentActivations, r)
	}
	o.mu.Unlock()
	o.signal()
}

// stop drops what belonged to the stream that is over.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open, o.passing, o.said = false, &apiv1.WorkRequest{}, false
}

// next takes the next batch; nil when there is nothing to say. Heartbeats go before results, so that the last details of an
// attempt that failed are not too late.
func (o *outbox) next() *apiv1.WorkRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.said && len(o.beats)+len(o.unsent)+len(o.unsentActivations) == 0 {
		return nil
	}
	batch := o.passing
	o.passing = &apiv1.WorkRequest{}
	if runs := batch.GetEvictedRunIds(); len(runs) > batchRuns {
		batch.EvictedRunIds, o.passing.EvictedRunIds = runs[:batchRuns], runs[batchRuns:]
	}
	size := 0
	if o.said {
		size = proto.Size(batch)
	}
	o.said = len(o.passing.GetEvictedRunIds()) > 0
	fits := func(n int) bool {
		if size > 0 && size+n > batchBytes {
			return false
		}
		size += n
		return true
	}
	for key, b := range o.beats {
		if !fits(proto.Size(b)) {
			return batch
		}
		batch.Heartbeats = append(batch.Heartbeats, b)
		delete(o.beats, key)
	}
	for len(o.unsent) > 0 {
		if r := o.unsent[0]; o.results[keyOf(r.GetTask())] == r { // else it was acknowledged meanwhile
			if !fits(taskResultBytes(r)) {
				return batch
			}
			batch.TaskResults = append(batch.TaskResults, r)
		}
		o.unsent = o.unsent[1:]
	}
	for len(o.unsentActivations) > 0 {
		if r := o.unsentActivations[0]; o.activationResults[activationKeyOf(r.GetActivation())] == r {
			if !fits(activationResultBytes(r)) {
				return batch
			}
			batch.ActivationResults = append(batch.ActivationResults, r)
		}
		o.unsentActivations = o.unsentActivations[1:]
	}
	if size == 0 {
		return nil
	}
	return batch
}

// taskResultBytes and activationResultBytes are bounds of the size of a result in a message, which cost less than the size.

func taskResultBytes(r *apiv1.TaskResult) int {
	if r.GetFailure() != nil {
		return proto.Size(r)
	}
	return 128 + len(r.GetTask().GetWorkflowId()) + len(r.GetResult().GetEncoding()) + len(r.GetResult().GetData())
}

func activationResultBytes(r *apiv1.ActivationResult) int {
	if r.GetFailure() != nil {
		return proto.Size(r)
	}
	return 128 + len(r.GetActivation().GetWorkflowId()) + len(r.GetProgress())
}
