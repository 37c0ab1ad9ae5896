package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Run takes work until ctx ends, then drains: it takes nothing new, waits up to DrainTimeout for what is running, and for
// the server to have the results safe. It returns nil after that, and before only when the server refuses this worker for
// good (a newer protocol, a name that another worker offers with other types) or the client was closed. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("worker: Run was called before; make another worker")
	}
	session, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var (
		over   = make(chan struct{})
		failed error
	)
	go func() {
		defer close(over)
		failed = w.connect(session)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		w.drain(over)
	}
	end()
	<-over
	w.abandon()
	return failed
}

// drain waits until what runs is done and safe, or its time or the connection is over.
func (w *Worker) drain(over <-chan struct{}) {
	w.log.Info("draining", slog.Duration("at_most", w.options.DrainTimeout))
	w.beginDrain()
	w.checkDrained()
	limit := time.NewTimer(w.options.DrainTimeout) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	defer limit.Stop()
	fence := time.NewTimer(fenceTime) //nolint:forbidigo // as above
	defer fence.Stop()
	for {
		select {
		case <-over:
			return
		case <-limit.C:
			w.log.Warn("stopping with work unfinished; it is done again elsewhere")
			return
		case <-fence.C:
			w.dropFence()
		case <-w.drained:
		}
		if w.idle() {
			return
		}
	}
}

// fenceTime bounds the wait for the server to have heard that the worker takes nothing more.
const fenceTime = 2 * time.Second

// beginDrain tells the server to deliver nothing more. Deliveries may be on their way at that moment, and a worker that left
// without them would leave attempts behind that nobody runs. So it asks, in the same message, to be told to stop an
// attempt that does not exist: the answer comes behind whatever was delivered before.
func (w *Worker) beginDrain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	var fence *apiv1.AttemptRef
	if w.granted.welcomed && w.granted.tasks+w.granted.activations > 0 {
		var random [10]byte
		_, _ = rand.Read(random[:])                             // never fails, see crypto/rand
		run := events.MakeRunID(time.Now().UnixMilli(), random) //nolint:forbidigo // the SDK runs on users' wall clock
		fence = wire.ToTaskRef(wire.TaskRef{WorkflowID: "drain", Task: events.TaskID{Run: run, Step: 1}, Attempt: 1})
		w.fence = fence
	}
	w.outbox.say(func(r *apiv1.WorkRequest) {
		r.Draining = true
		if fence != nil {
			r.Heartbeats = append(r.Heartbeats, &apiv1.TaskHeartbeat{Task: fence})
		}
	})
}

// passFence notes the answer to beginDrain. The caller holds the lock.
func (w *Worker) passFence(ref *apiv1.AttemptRef) {
	if w.fence != nil && keyOf(ref) == keyOf(w.fence) {
		w.fence = nil
		w.checkDrained()
	}
}

// dropFence stops waiting for the answer to beginDrain.
func (w *Worker) dropFence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fence = nil
}

// checkDrained wakes drain when there may be nothing left.
func (w *Worker) checkDrained() {
	select {
	case w.drained <- struct{}{}:
	default:
	}
}

// idle reports whether nothing runs, nothing can come, and every result is acknowledged.
func (w *Worker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	tasks, activations := w.outbox.held()
	return len(w.attempts)+w.activations.n+tasks+activations == 0 && w.fence == nil
}

// abandon stops what still runs and ends the live runs. Code that ignores its context is not waited for.
func (w *Worker) abandon() {
	w.mu.Lock()
	w.draining = true // no run is kept any more
	for _, a := range w.attempts {
		a.cancel(ErrStopping)
	}
	for a := range w.activations.all() {
		a.cancel()
	}
	for _, live := range w.cache.clear() {
		w.discard(live)
	}
	w.mu.Unlock()
	defer w.threads.Close()
	defer w.executing.close()
	done := make(chan struct{})
	go func() {
		w.executing.Wait()
		close(done)
	}()
	grace := time.NewTimer(abandonGrace) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		w.log.Warn("some code ignores that it is to stop")
	}
}

// abandonGrace is how long code gets to notice that its context has ended.
const abandonGrace = time.Second
