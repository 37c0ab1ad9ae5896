package worker

import (
	"sync"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// batchBytes bounds one message of the stream; a single result above it travels alone.
const batchBytes = 1 << 20

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

// outbox is what this worker has to say. Results stay until they are acknowledged and are said again on a new stream;
// everything else is said once, on the stream it belongs to. What it holds is bounded by the worker's places: a place is
// free again only when its result is acknowledged.
type outbox struct {
	wake chan struct{} // has a value when there may be something to say

	mu                sync.Mutex
	results           map[attemptKey]*apiv1.TaskResult
	activationResults map[activationKey]*apiv1.ActivationResult
	unsent            []*apiv1.TaskResult
	unsentActivations []*apiv1.ActivationResult
	passing           *apiv1.WorkRequest // credits, heartbeats, requests: said once
}

func newOutbox() *outbox {
	return &outbox{
		wake: make(chan struct{}, 1), results: map[attemptKey]*apiv1.TaskResult{},
		activationResults: map[activationKey]*apiv1.ActivationResult{}, passing: &apiv1.WorkRequest{},
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

// say adds something that is said once.
func (o *outbox) say(add func(*apiv1.WorkRequest)) {
	o.mu.Lock()
	add(o.passing)
	o.mu.Unlock()
	o.signal()
}

// repeat says a kept result again, because its attempt was delivered again; it reports whether there is one.
func (o *outbox) repeat(k attemptKey) bool {
	o.mu.Lock()
	r, ok := o.results[k]
	if ok {
		o.unsent = append(o.unsent, r)
	}
	o.mu.Unlock()
	o.signal()
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
	o.signal()
	return ok
}

// acknowledge forgets results that are safe and returns how many places of each kind became free.
func (o *outbox) acknowledge(tasks []*apiv1.AttemptRef, activations []*apiv1.ActivationRef) (freeTasks, freeActivations int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range tasks {
		if _, ok := o.results[keyOf(t)]; ok {
			delete(o.results, keyOf(t))
			freeTasks++
		}
	}
	for _, a := range activations {
		if _, ok := o.activationResults[activationKeyOf(a)]; ok {
			delete(o.activationResults, activationKeyOf(a))
			freeActivations++
		}
	}
	return freeTasks, freeActivations
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

// restart prepares for a new stream: kept results are to be said again, the rest belonged to the old one.
func (o *outbox) restart() {
	o.mu.Lock()
	o.passing = &apiv1.WorkRequest{}
	o.unsent, o.unsentActivations = o.unsent[:0], o.unsentActivations[:0]
	for _, r := range o.results {
		o.unsent = append(o.unsent, r)
	}
	for _, r := range o.activationResults {
		o.unsentActivations = append(o.unsentActivations, r)
	}
	o.mu.Unlock()
	o.signal()
}

// next takes the next batch; nil when there is nothing to say.
func (o *outbox) next() *apiv1.WorkRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.passing
	o.passing = &apiv1.WorkRequest{}
	size := 0
	for len(o.unsent) > 0 && size < batchBytes {
		size += proto.Size(o.unsent[0])
		batch.TaskResults = append(batch.TaskResults, o.unsent[0])
		o.unsent = o.unsent[1:]
	}
	for len(o.unsentActivations) > 0 && size < batchBytes {
		size += proto.Size(o.unsentActivations[0])
		batch.ActivationResults = append(batch.ActivationResults, o.unsentActivations[0])
		o.unsentActivations = o.unsentActivations[1:]
	}
	if proto.Size(batch) == 0 {
		return nil
	}
	return batch
}

// empty reports whether every result has been acknowledged.
func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.results) == 0 && len(o.activationResults) == 0
}
