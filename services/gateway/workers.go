package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// Bounds of a worker's hello.
const (
	helloWithin = 10 * time.Second
	maxOffers   = 10_000
	maxSlots    = 100_000
)

// workerService implements the workers' stream on a gateway.
type workerService struct {
	apiv1.UnimplementedWorkerServiceServer
	*Gateway
}

type workStream = grpc.BidiStreamingServer[apiv1.WorkRequest, apiv1.WorkResponse]

// Work serves the stream of one worker: one goroutine reads, this one writes.
func (s workerService) Work(stream workStream) error {
	return asStatus(s.work(stream))
}

func (g *Gateway) work(stream workStream) error {
	if err := g.enterStream(); err != nil {
		return err
	}
	defer g.leaveStream()
	// One goroutine reads; whoever returns first ends the stream, and with it the other.
	hello, joined, reading := make(chan *apiv1.WorkRequest, 1), make(chan *conn, 1), make(chan error, 1)
	go func() { reading <- g.readWorker(stream, hello, joined) }()
	var first *apiv1.WorkRequest
	select {
	case first = <-hello:
	case err := <-reading:
		return err
	case <-g.deps.Clock.After(helloWithin):
		return &events.Error{Code: events.DeadlineExceeded, Message: "no hello came within " + helloWithin.String()}
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	join, err := g.readHello(stream.Context(), first.GetHello())
	if err != nil {
		return err
	}
	c := g.newConn(join.Worker)
	c.heard.Store(int64(g.deps.Clock.Boot()))
	join.Conn = c.id
	defer c.close()
	c.post(join)
	joined <- c
	return g.writeWorker(stream, c, reading)
}

func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readHello checks what a worker says of itself.
func (g *Gateway) readHello(ctx context.Context, h *apiv1.WorkerHello) (sessions.Join, error) {
	bad := func(format string, args ...any) (sessions.Join, error) {
		return sessions.Join{}, &events.Error{Code: events.InvalidArgument, Message: "hello: " + fmt.Sprintf(format, args...)}
	}
	if h == nil {
		return bad("the first message of a worker's stream must have one")
	}
	if err := wire.CheckProtocol(h.GetProtocol()); err != nil {
		return sessions.Join{}, err
	}
	ns, err := wire.FromNamespace(h.GetNamespace())
	if err != nil {
		return sessions.Join{}, err
	}
	w := sessions.Worker{
		Namespace: ns, ID: events.WorkerID(h.GetWorkerId()), Identity: shorten(h.GetIdentity()), Build: events.BuildID(shorten(h.GetBuild())),
		SDK: shorten(h.GetSdk()), Queue: events.DefaultTaskQueue, TaskSlots: int(h.GetTaskSlots()), ActivationSlots: int(h.GetActivationSlots()),
	}
	if w.Identity == "" {
		w.Identity = string(w.ID)
	}
	if h.GetQueue() != "" {
		w.Queue = events.TaskQueue(h.GetQueue())
	}
	if err := w.Queue.Validate(); err != nil {
		return sessions.Join{}, err
	}
	switch {
	case w.ID == "" || len(w.ID) > events.MaxIDBytes:
		return bad("worker_id has %d bytes; it needs 1 to %d", len(w.ID), events.MaxIDBytes)
	case w.TaskSlots < 0 || w.ActivationSlots < 0 || w.TaskSlots > maxSlots || w.ActivationSlots > maxSlots:
		return bad("slots are 0 to %d", maxSlots)
	case len(h.GetTasks())+len(h.GetWorkflows()) > maxOffers:
		return bad("%d names are offered; the limit is %d", len(h.GetTasks())+len(h.GetWorkflows()), maxOffers)
	case len(h.GetRunningTasks())+len(h.GetRunningActivations()) > 2*maxSlots:
		return bad("%d attempts are listed as running", len(h.GetRunningTasks())+len(h.GetRunningActivations()))
	}
	for _, o := range h.GetTasks() {
		if err := events.TaskName(o.GetName()).Validate(); err != nil {
			return sessions.Join{}, err
		}
		w.Tasks = append(w.Tasks, sessions.Offer{Name: o.GetName(), Signature: o.GetSignature()})
	}
	for _, o := range h.GetWorkflows() {
		if err := events.WorkflowType(o.GetName()).Validate(); err != nil {
			return sessions.Join{}, err
		}
		w.Workflows = append(w.Workflows, sessions.Offer{Name: o.GetName(), Signature: o.GetSignature()})
	}
	join := sessions.Join{Worker: w}
	for _, ref := range h.GetRunningTasks() {
		held, err := g.heldTask(ctx, ns, ref)
		if err != nil {
			return join, err
		}
		join.Tasks = append(join.Tasks, held)
	}
	for _, ref := range h.GetRunningActivations() {
		a, err := wire.FromActivationRef(ref)
		if err != nil {
			return join, err
		}
		join.Activations = append(join.Activations, sessions.Activation(a))
	}
	return join, nil
}

// heldTask looks up the limits of an attempt that a worker holds after a reconnect.
func (g *Gateway) heldTask(ctx context.Context, ns events.Namespace, ref *apiv1.AttemptRef) (sessions.HeldTask, error) {
	t, err := wire.FromTaskRef(ref)
	if err != nil {
		return sessions.HeldTask{}, err
	}
	held := sessions.HeldTask{Attempt: sessions.Attempt(t)}
	h, err := g.taskPast(ctx, events.PartitionOf(ns, t.WorkflowID, g.deps.Partitions), t.Task, t.Attempt, 0)
	if err != nil {
		// The worker has it and its result counts, whatever its limits are: only the default bound is lost.
		g.deps.Log.Warn("the limits of a running task could not be read", slog.String("run_id", t.Task.Run.String()), slog.String("error", err.Error()))
		return held, nil
	}
	held.Over = h.Over
	if h.Scheduled != nil {
		held.StartToClose, held.Heartbeat = h.Scheduled.Options.StartToClose, h.Scheduled.Options.Heartbeat
	}
	return held, nil
}

// shorten bounds a text that is for people.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > events.MaxNameBytes {
		return strings.ToValidUTF8(s[:events.MaxNameBytes], "")
	}
	return s
}

// readWorker passes on the first message and, once its worker has joined, turns the others into inputs, until the stream
// ends.
func (g *Gateway) readWorker(stream workStream, hello chan<- *apiv1.WorkRequest, joined <-chan *conn) error {
	first, err := stream.Recv()
	if err != nil {
		return streamEnd(err)
	}
	hello <- first
	var c *conn
	select {
	case c = <-joined:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return streamEnd(err)
		}
		c.heard.Store(int64(g.deps.Clock.Boot()))
		if err := g.readBatch(stream.Context(), c, r); err != nil {
			return err
		}
	}
}

func (g *Gateway) readBatch(ctx context.Context, c *conn, r *apiv1.WorkRequest) error {
	if r.GetHello() != nil {
		return &events.Error{Code: events.InvalidArgument, Message: "a second hello came on a worker's stream"}
	}
	if err := c.awaitRoom(ctx); err != nil {
		return err
	}
	var in []sessions.Input
	for _, h := range r.GetHeartbeats() {
		one, err := g.readHeartbeat(ctx, c, h)
		if err != nil {
			return err
		}
		in = append(in, one)
	}
	for _, ref := range r.GetActivationHeartbeats() {
		a, err := wire.FromActivationRef(ref)
		if err != nil {
			return err
		}
		in = append(in, sessions.ActivationHeartbeat{Conn: c.id, Activation: sessions.Activation(a)})
	}
	for _, result := range r.GetTaskResults() {
		one, err := g.readTaskResult(ctx, c, result)
		if err != nil {
			return err
		}
		in = append(in, one)
	}
	for _, result := range r.GetActivationResults() {
		one, err := g.readActivationResult(ctx, c, result)
		if err != nil {
			return err
		}
		in = append(in, one)
	}
	if runs := r.GetEvictedRunIds(); len(runs) > 0 {
		evicted := sessions.Evicted{Conn: c.id}
		for _, run := range runs {
			id, err := wire.FromRunID(run)
			if err != nil {
				return err
			}
			evicted.Runs = append(evicted.Runs, id)
		}
		in = append(in, evicted)
	}
	if r.GetTaskCredits() != 0 || r.GetActivationCredits() != 0 {
		in = append(in, sessions.Grant{
			Conn: c.id, Tasks: min(int(r.GetTaskCredits()), maxSlots), Activations: min(int(r.GetActivationCredits()), maxSlots),
		})
	}
	if r.GetDraining() {
		in = append(in, sessions.Drain{Conn: c.id})
	}
	c.post(in...)
	return c.askReplays(r.GetReplayRequests())
}

func (g *Gateway) readHeartbeat(ctx context.Context, c *conn, h *apiv1.TaskHeartbeat) (sessions.Input, error) {
	t, err := wire.FromTaskRef(h.GetTask())
	if err != nil {
		return nil, err
	}
	details, err := wire.FromPayload("heartbeat details", h.GetDetails(), g.options.MaxPayloadBytes)
	if err != nil {
		return nil, err
	}
	if details, err = g.spill(ctx, c.worker.Namespace, t.Task.Run, details); err != nil {
		return nil, err
	}
	return sessions.Heartbeat{Conn: c.id, Attempt: sessions.Attempt(t), Details: details}, nil
}

// readTaskResult reads a result. One that is too large becomes a failure that says so: the task's code made it and would
// make it again.
func (g *Gateway) readTaskResult(ctx context.Context, c *conn, r *apiv1.TaskResult) (sessions.Input, error) {
	t, err := wire.FromTaskRef(r.GetTask())
	if err != nil {
		return nil, err
	}
	done := sessions.TaskDone{Conn: c.id, Attempt: sessions.Attempt(t)}
	fail := events.FailTask{Step: t.Task.Step, Attempt: t.Attempt, RetryAfter: -1, Worker: c.worker.ID}
	if f := r.GetFailure(); f != nil {
		fail.Failure = *wire.FromFailure(f)
		if fail.Failure.Code == "" {
			fail.Failure.Code = events.CodeTaskFailed
		}
		if r.GetRetryAfter() != nil {
			if fail.RetryAfter, err = wire.FromDuration("retry_after", r.GetRetryAfter()); err != nil {
				return nil, err
			}
		}
		if err := c.valid(t.WorkflowID, t.Task.Run, fail); err != nil {
			fail.Failure.Details = events.Payload{}
			fail.Failure.Message = "(details left out: " + err.Error() + ") " + fail.Failure.Message
			fail.Failure = *events.ClipFailure(&fail.Failure)
		}
		done.Command = fail
		return done, nil
	}
	result, err := wire.FromPayload("result", r.GetResult(), g.options.MaxPayloadBytes)
	if e, ok := errors.AsType[*events.Error](err); ok {
		fail.Failure = events.Failure{Code: events.CodeBadPayload, Message: e.Message, NonRetryable: true}
		if e.Code == events.PayloadTooLarge {
			fail.Failure.Code = events.CodePayloadTooLarge
		}
		done.Command = fail
		return done, nil
	}
	if result, err = g.spill(ctx, c.worker.Namespace, t.Task.Run, result); err != nil {
		return nil, err
	}
	done.Command = events.CompleteTask{Step: t.Task.Step, Attempt: t.Attempt, Result: result, Worker: c.worker.ID}
	return done, nil
}

// readActivationResult reads the answer to an activation. Progress that cannot be taken becomes a failed activation, so
// that it is visible on the run.
func (g *Gateway) readActivationResult(ctx context.Context, c *conn, r *apiv1.ActivationResult) (sessions.Input, error) {
	ref, err := wire.FromActivationRef(r.GetActivation())
	if err != nil {
		return nil, err
	}
	a := sessions.Activation(ref)
	c.takeAway(a)
	done := sessions.ActivationDone{Conn: c.id, Activation: a, Live: r.GetLive()}
	failed := events.FailActivation{Activation: a.Activation, Attempt: a.Attempt, Build: c.worker.Build, Worker: c.worker.ID}
	if f := r.GetFailure(); f != nil {
		failed.Failure = *wire.FromFailure(f)
		if err := c.valid(a.WorkflowID, a.RunID, failed); err != nil {
			failed.Failure.Details = events.Payload{}
		}
		done.Command = failed
		return done, nil
	}
	progress, err := events.DecodeReportProgress(r.GetProgress())
	if err == nil {
		progress.Activation, progress.Attempt = a.Activation, a.Attempt
		progress.Build, progress.Worker = c.worker.Build, c.worker.ID
		progress.OfferActivation, progress.OfferTask = false, false // for this gateway to say
		if err = g.checkIntents(progress.Intents); err == nil {
			if err := g.spillProgress(ctx, c.worker.Namespace, a.RunID, progress.Intents); err != nil {
				return nil, err
			}
			err = c.valid(a.WorkflowID, a.RunID, progress)
		}
	}
	if err != nil {
		e := wire.AsError(err)
		failed.Failure = events.Failure{Code: events.CodeInvalidProgress, Message: "the worker's progress cannot be taken: " + e.Message}
		switch {
		case e.Code == events.PayloadTooLarge:
			failed.Failure.Code = events.CodePayloadTooLarge
		case len(progress.Intents) > events.MaxIntents:
			failed.Failure.Code = events.CodeRunLimit
		}
		done.Command, done.Live = failed, false
		return done, nil
	}
	done.Command = progress
	return done, nil
}

// checkIntents refuses payloads that are too large or point into the blob store, and cuts failures to their limits.
func (g *Gateway) checkIntents(intents []events.Intent) error {
	for i, intent := range intents {
		p := payloadOf(intent)
		f := failureOf(intent)
		for cause, depth := f, 0; cause != nil && depth < maxFailureDepth; cause, depth = cause.Cause, depth+1 {
			if cause.Details.Blob != "" {
				p.Blob = cause.Details.Blob
			}
		}
		switch {
		case p.Blob != "":
			return &events.Error{Code: events.InvalidArgument, Message: "a payload names a blob; workers send bytes"}
		case len(p.Data) > g.options.MaxPayloadBytes:
			return &events.Error{Code: events.PayloadTooLarge, Message: fmt.Sprintf(
				"a payload of %s has %d bytes; the limit is %d", events.IntentName(intent), len(p.Data), g.options.MaxPayloadBytes)}
		}
		if clipped := events.ClipFailure(f); clipped != f {
			intents[i] = withFailure(intent, clipped)
		}
	}
	return nil
}

// maxFailureDepth is deeper than a failure is kept.
const maxFailureDepth = 32

// failureOf returns the failure of an intent; nil when it has none.
func failureOf(i events.Intent) *events.Failure {
	switch i := i.(type) {
	case events.FailRun:
		return &i.Failure
	case events.CancelRun:
		return &i.Failure
	case events.BackOffStep:
		return &i.Failure
	case events.RecordStep:
		return i.Failure
	default:
		return nil
	}
}

func withFailure(i events.Intent, f *events.Failure) events.Intent {
	switch i := i.(type) {
	case events.FailRun:
		i.Failure = *f
		return i
	case events.CancelRun:
		i.Failure = *f
		return i
	case events.BackOffStep:
		i.Failure = *f
		return i
	case events.RecordStep:
		i.Failure = f
		return i
	default:
		return i
	}
}

// valid checks a worker's command as the engine is to get it.
func (c *conn) valid(id events.WorkflowID, run events.RunID, command events.Command) error {
	env := events.Envelope{Namespace: c.worker.Namespace, WorkflowID: id, RunID: run, Command: command}
	return env.Validate()
}
