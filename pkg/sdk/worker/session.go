package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Back-off between attempts to reach the server.
const (
	reconnectFirst = 50 * time.Millisecond
	reconnectMost  = 5 * time.Second
	// steadyTime is how long a connection lasts that the next loss of one is not blamed on.
	steadyTime = time.Second
)

type workStream = grpc.BidiStreamingClient[apiv1.WorkRequest, apiv1.WorkResponse]

// ErrClientClosed is what Run returns when the client that the worker was made with was closed.
var ErrClientClosed = errors.New("worker: its client was closed")

// connect keeps a session with the server until ctx ends (nil), the server refuses this worker for good (the refusal) or the
// client is closed.
func (w *Worker) connect(ctx context.Context) error {
	delay, known := reconnectFirst, false
	for {
		began := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
		welcomed, err := w.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end was asked for
		}
		if w.conn.GetState() == connectivity.Shutdown {
			return ErrClientClosed
		}
		known = known || welcomed
		if refused := permanent(err, known); refused != nil && !welcomed {
			return refused
		}
		if welcomed && time.Since(began) >= steadyTime { //nolint:forbidigo // as above
			delay = reconnectFirst
		}
		wait := delay/2 + mathrand.N(delay/2+1) // many workers must not come back at the same moment
		w.log.Warn("no connection to the server", slog.String("reason", reason(err)), slog.Duration("next_try", wait))
		if !sleep(ctx, wait) {
			return nil
		}
		delay = min(2*delay, reconnectMost)
	}
}

// session runs one stream to its end. welcomed tells whether the server accepted the worker.
func (w *Worker) session(ctx context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewWorkerServiceClient(w.conn).Work(ctx)
	if err != nil {
		return false, err
	}
	hello := w.join()
	defer w.leave()
	if err := stream.Send(&apiv1.WorkRequest{Hello: hello}); err != nil {
		_, err = stream.Recv() // the server's reason, Send only says EOF
		return false, err
	}
	first, err := stream.Recv()
	if err != nil {
		return false, err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return false, status.Error(codes.Internal, "the server did not begin with a welcome")
	}
	w.welcomed(welcome)
	received := make(chan error, 1)
	go func() {
		received <- w.receive(stream)
		cancel()
	}()
	w.send(ctx, stream, keepaliveOf(welcome))
	cancel()
	return true, <-received
}

// keepaliveOf is how often to send something: twice as often as the server asks for.
func keepaliveOf(welcome *apiv1.WorkerWelcome) time.Duration {
	if d := welcome.GetKeepalive().AsDuration(); d > 0 {
		return d / 2
	}
	return wire.Keepalive / 2
}

// join begins a stream. What the server then believes of this worker, and what the worker holds and says, are taken at one
// moment.
func (w *Worker) join() *apiv1.WorkerHello {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropUnloaded()
	w.granted = places{}
	w.outbox.restart()
	return w.hello()
}

// leave ends a stream. Activations that wait for history are given up, because an answer to a request on that stream never
// comes: the server gives them out again when it finds that the worker does not have them.
func (w *Worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropUnloaded()
	w.granted = places{}
	w.fence = nil
	w.outbox.stop()
	w.checkDrained()
}

// hello introduces the worker with what it still holds. The caller holds the lock.
func (w *Worker) hello() *apiv1.WorkerHello {
	h := &apiv1.WorkerHello{
		Protocol: wire.MaxProtocol, Sdk: w.sdk, WorkerId: string(w.id), Identity: w.options.Identity, Build: string(w.build),
		Namespace: w.options.Namespace, Queue: w.options.Queue, Tasks: w.tasks, Workflows: w.workflows,
		TaskSlots: int32(w.options.Tasks), ActivationSlots: int32(w.options.Activations),
	}
	h.RunningTasks, h.RunningActivations = w.outbox.kept()
	for _, a := range w.attempts {
		h.RunningTasks = append(h.RunningTasks, a.ref)
	}
	for a := range w.activations.all() {
		h.RunningActivations = append(h.RunningActivations, a.ref())
	}
	return h
}

// welcomed grants the free places and, for a drain that goes on over a reconnect, says so again.
func (w *Worker) welcomed(welcome *apiv1.WorkerWelcome) {
	w.log.Info("connected", slog.String("server", welcome.GetVersion()), slog.String("queue", w.options.Queue))
	w.maxPayload.Store(welcome.GetMaxPayloadBytes())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.granted.welcomed = true
	if w.draining {
		w.outbox.say(func(r *apiv1.WorkRequest) { r.Draining = true })
	}
	w.regrant()
}

// send writes what the outbox has, and a sign of life when it has nothing for long.
func (w *Worker) send(ctx context.Context, stream workStream, keepalive time.Duration) {
	quiet := time.NewTimer(keepalive) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	defer quiet.Stop()
	for {
		for batch := w.outbox.next(); batch != nil; batch = w.outbox.next() {
			if stream.Send(batch) != nil {
				return // the receiver learns why
			}
		}
		quiet.Reset(keepalive)
		select {
		case <-ctx.Done():
			return
		case <-w.outbox.wake:
			runtime.Gosched() // what is about to end makes it into the same batch
		case <-quiet.C:
			batch := w.outbox.next()
			if batch == nil {
				batch = &apiv1.WorkRequest{}
			}
			if stream.Send(batch) != nil {
				return
			}
		}
	}
}

func (w *Worker) receive(stream workStream) error {
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		w.acknowledged(batch)
		for _, chunk := range batch.GetReplayChunks() {
			w.replayed(chunk)
		}
		for _, run := range batch.GetDropRunIds() {
			w.drop(run)
		}
		for _, d := range batch.GetTasks() {
			w.startTask(d)
		}
		for _, d := range batch.GetActivations() {
			w.startActivation(d)
		}
		// After the tasks: one of this message may be cancelled already.
		for _, ref := range batch.GetCancelledTasks() {
			w.cancelTask(ref)
		}
	}
}

// acknowledged forgets results that are safe, and grants the places that were held back for them.
func (w *Worker) acknowledged(batch *apiv1.WorkResponse) {
	if len(batch.GetAcknowledgedTasks()) == 0 && len(batch.GetAcknowledgedActivations()) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outbox.acknowledge(batch.GetAcknowledgedTasks(), batch.GetAcknowledgedActivations())
	w.regrant()
	w.checkDrained()
}

// permanent returns the refusal that no retry can cure, nil for everything else. A server that has known the worker's token
// before may be ahead of the worker in its replacement.
func permanent(err error, known bool) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	refusal := wire.FromStatus(err)
	switch refusal.Code {
	case events.Unauthenticated:
		if known {
			return nil
		}
		return fmt.Errorf("worker: the server refuses this worker: %w", refusal)
	case events.SDKTooNew, events.SDKTooOld, events.InvalidArgument, events.BadIDCode, events.DuplicateName, events.SignatureMismatch,
		events.NotImplemented:
		return fmt.Errorf("worker: the server refuses this worker: %w", refusal)
	default:
		return nil
	}
}

func reason(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return "the server closed the stream"
	}
	return status.Convert(err).Message()
}

// sleep waits for d; it reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
