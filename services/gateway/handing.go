package gateway

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// batchBytes is when a message to a worker is full. A single part above it travels alone.
const batchBytes = 1 << 20

// maxReplayAsks bounds the replay requests of a stream that wait.
const maxReplayAsks = 1024

// replayAsk is a worker's request for history.
type replayAsk struct {
	ref      sessions.Activation
	from, to events.EventNumber
}

func (c *conn) askReplays(requests []*apiv1.ReplayRequest) error {
	if len(requests) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked)+len(requests) > maxReplayAsks {
		return &events.Error{Code: events.Overloaded, Message: "too many replay requests wait on this stream"}
	}
	for _, r := range requests {
		ref, err := wire.FromActivationRef(r.GetActivation())
		if err != nil {
			return err
		}
		c.asked = append(c.asked, replayAsk{
			ref: sessions.Activation(ref), from: events.EventNumber(r.GetFromEvent()), to: events.EventNumber(r.GetToEvent()),
		})
	}
	c.signal()
	return nil
}

// batch is a message to a worker in the making, and what the loop is told once it is sent.
type batch struct {
	response *apiv1.WorkResponse
	bytes    int
	sent     []sessions.Input
}

// writer sends to one worker.
type writer struct {
	gateway *Gateway
	conn    *conn
	stream  workStream
	batch   batch
}

// writeWorker sends what the loop and replay requests ask for, until the stream ends.
func (g *Gateway) writeWorker(stream workStream, c *conn, reading <-chan error) error {
	w := writer{gateway: g, conn: c, stream: stream, batch: batch{response: &apiv1.WorkResponse{}}}
	ticker := g.deps.Clock.NewTimer(wire.Keepalive)
	defer ticker.Stop()
	for {
		select {
		case <-c.wake:
		case err := <-reading:
			return err
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-g.drained:
			// Nothing is lost by ending the stream now: the worker keeps results and what it runs, and tells when it is back.
			w.batch.response.Draining, w.batch.bytes = true, 1
			if err := w.flush(); err != nil {
				return err
			}
			return errStopping
		case <-ticker.C():
			ticker.Reset(wire.Keepalive)
			if silent := int64(g.deps.Clock.Boot()) - c.heard.Load(); silent > int64(3*wire.Keepalive) {
				return &events.Error{Code: events.Unavailable, Message: "the worker has said nothing for " + (3 * wire.Keepalive).String()}
			}
		}
		out, asked := c.take()
		for _, o := range out {
			if err := w.write(stream.Context(), o); err != nil {
				return err
			}
		}
		for _, ask := range asked {
			if err := w.replay(stream.Context(), ask); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// write puts one output into the batch.
func (w *writer) write(ctx context.Context, out sessions.Output) error {
	b := &w.batch
	switch o := out.(type) {
	case sessions.Welcome:
		b.response.Welcome = &apiv1.WorkerWelcome{
			Version: w.gateway.options.Version, Session: sessionText(w.gateway.session),
			MaxPayloadBytes: int64(w.gateway.options.MaxPayloadBytes), Keepalive: durationpb.New(wire.Keepalive),
		}
		b.bytes++
		return w.flush() // the welcome travels alone
	case sessions.Refuse:
		return o.Err
	case sessions.Hand:
		if o.Delivery.Task != nil {
			return w.handTask(ctx, o.Delivery)
		}
		return w.handActivation(ctx, o)
	case sessions.StopTask:
		b.response.CancelledTasks = append(b.response.CancelledTasks, wire.ToTaskRef(wire.TaskRef(o.Attempt)))
	case sessions.AckTask:
		b.response.AcknowledgedTasks = append(b.response.AcknowledgedTasks, wire.ToTaskRef(wire.TaskRef(o.Attempt)))
	case sessions.AckActivation:
		b.response.AcknowledgedActivations = append(b.response.AcknowledgedActivations, wire.ToActivationRef(wire.ActivationRef(o.Activation)))
	case sessions.DropRun:
		b.response.DropRunIds = append(b.response.DropRunIds, o.RunID.String())
	default:
		return nil
	}
	return w.grew(200)
}

// grew counts what was added and sends a full batch.
func (w *writer) grew(bytes int) error {
	if w.batch.bytes += bytes; w.batch.bytes >= batchBytes {
		return w.flush()
	}
	return nil
}

// makeRoom sends the batch if a part of the given size would make it too large.
func (w *writer) makeRoom(bytes int) error {
	if w.batch.bytes > 0 && w.batch.bytes+bytes > batchBytes {
		return w.flush()
	}
	return nil
}

// flush sends the batch. Attempts in it have begun once it is with the stream.
func (w *writer) flush() error {
	if w.batch.bytes == 0 {
		return nil
	}
	if err := w.stream.Send(w.batch.response); err != nil {
		return err
	}
	if len(w.batch.sent) > 0 {
		w.conn.post(w.batch.sent...)
	}
	w.batch = batch{response: &apiv1.WorkResponse{}}
	return nil
}

// handTask puts a task into the batch. What cannot be read is given back: another gateway, or a later try, may have more
// luck.
func (w *writer) handTask(ctx context.Context, d sessions.Delivery) error {
	open := d.Task
	ref := sessions.Attempt{WorkflowID: open.WorkflowID, Task: open.Task, Attempt: open.Attempt}
	message, limits, over, err := w.gateway.assembleTask(ctx, d)
	if err != nil || over {
		if err != nil && ctx.Err() == nil { // a stream that ends is no trouble
			w.gateway.deps.Log.Error("a task could not be handed out",
				slog.String("run_id", open.Task.Run.String()), slog.Uint64("step", uint64(open.Task.Step)), slog.String("error", err.Error()))
		}
		w.conn.post(sessions.NotStarted{Conn: w.conn.id, Attempt: ref, Void: over})
		return nil
	}
	size := proto.Size(message)
	if err := w.makeRoom(size); err != nil {
		return err
	}
	w.batch.response.Tasks = append(w.batch.response.Tasks, message)
	w.batch.sent = append(w.batch.sent, sessions.Started{
		Conn: w.conn.id, Attempt: ref, StartToClose: limits.StartToClose, Heartbeat: limits.Heartbeat,
	})
	return w.grew(size)
}

// assembleTask makes the message of a task; over says that the attempt has ended meanwhile.
func (g *Gateway) assembleTask(ctx context.Context, d sessions.Delivery) (m *apiv1.TaskDelivery, limits events.TaskOptions, over bool, err error) {
	if err := g.awaitRecord(ctx, d.Partition, d.From); err != nil {
		return nil, limits, false, err
	}
	open := d.Task
	h := sessions.TaskPast{Scheduled: open.Call}
	// A first delivery that the tail has seen begin needs nothing from the past.
	if open.Attempt > 1 || d.Number > 1 || open.Call == nil || !g.tail.covers(d.Partition, d.From) {
		if h, err = g.taskPast(ctx, d.Partition, open.Task, open.Attempt, open.Scheduled); err != nil || h.Over {
			return nil, limits, h.Over, err
		}
	}
	limits = h.Scheduled.Options
	input, err := g.fetch(ctx, h.Scheduled.Input)
	if err != nil {
		return nil, limits, false, err
	}
	details, err := g.fetch(ctx, h.Details)
	if err != nil {
		return nil, limits, false, err
	}
	from, err := g.beginning(ctx, d.Partition, open.Task.Run)
	if err != nil {
		return nil, limits, false, err
	}
	if limits.StartToClose <= 0 {
		limits.StartToClose = events.DefaultStartToClose
	}
	return &apiv1.TaskDelivery{
		Task:      wire.ToTaskRef(wire.TaskRef{WorkflowID: open.WorkflowID, Task: open.Task, Attempt: open.Attempt}),
		Namespace: string(open.Namespace), Name: string(open.Name), Input: wire.ToPayload(input),
		StartToClose: wire.ToDuration(limits.StartToClose), HeartbeatTimeout: wire.ToDuration(limits.Heartbeat),
		Scheduled: wire.ToTime(h.At), LastHeartbeat: wire.ToPayload(details), Delivery: max(d.Number, 1), WorkflowType: string(from.name),
		Traceparent: string(from.trace),
	}, limits, false, nil
}

// handActivation puts an activation into the batch.
func (w *writer) handActivation(ctx context.Context, hand sessions.Hand) error {
	open := hand.Delivery.Activation
	ref := sessions.Activation{
		WorkflowID: open.WorkflowID, RunID: open.RunID, Activation: open.Activation.Activation, Attempt: open.Activation.Attempt,
	}
	message, over, err := w.gateway.assembleActivation(ctx, hand)
	if err != nil || over {
		if err != nil && ctx.Err() == nil { // a stream that ends is no trouble
			w.gateway.deps.Log.Error("an activation could not be handed out",
				slog.String("run_id", open.RunID.String()), slog.String("error", err.Error()))
		}
		w.conn.post(sessions.ActivationNotStarted{Conn: w.conn.id, Activation: ref, Base: hand.Base, Void: over})
		return nil
	}
	size := proto.Size(message)
	if err := w.makeRoom(size); err != nil {
		return err
	}
	w.conn.give(open.RunID, givenOf(hand.Delivery))
	w.batch.response.Activations = append(w.batch.response.Activations, message)
	w.batch.sent = append(w.batch.sent, sessions.ActivationStarted{Conn: w.conn.id, Activation: ref})
	return w.grew(size)
}

// assembleActivation makes the message of an activation: what is new since its base for a worker that has the run in
// memory, else the beginning of a full replay.
func (g *Gateway) assembleActivation(ctx context.Context, hand sessions.Hand) (m *apiv1.ActivationDelivery, over bool, err error) {
	d, open := hand.Delivery, hand.Delivery.Activation
	if err := g.awaitRecord(ctx, d.Partition, d.From); err != nil {
		return nil, false, err
	}
	a := open.Activation
	if d.Number > 1 || !g.tail.covers(d.Partition, d.From) {
		if over, err := g.activationOver(ctx, d.Partition, open); err != nil || over {
			return nil, over, err
		}
	}
	full := a.Attempt > 1 || a.Base == 0 || !hand.Live
	from, limit := events.EventNumber(0), inlineReplayBytes
	if !full {
		from, limit = a.BaseUpto+1, wire.MaxChunkBytes
	}
	var history []byte
	var next events.EventNumber
	nothing := hand.NothingNew && !full
	if !nothing {
		if history, next, err = g.replayFrames(ctx, givenOf(d), from, a.Upto, limit); err != nil {
			return nil, false, err
		}
	}
	return &apiv1.ActivationDelivery{
		Activation: wire.ToActivationRef(wire.ActivationRef{
			WorkflowID: open.WorkflowID, RunID: open.RunID, Activation: a.Activation, Attempt: a.Attempt,
		}),
		Namespace: string(open.Namespace), WorkflowType: string(a.Type), At: wire.ToTime(open.At), Base: uint64(a.Base),
		ReplayFrom: uint64(a.ReplayFrom), Upto: uint64(a.Upto), Full: full, History: history, NextEvent: uint64(next),
		Deadline: g.deadline, BaseActivation: hand.Base.Activation, BaseAttempt: uint32(hand.Base.Attempt),
		NothingNew: nothing,
	}, false, nil
}

// replay answers a replay request with one chunk.
func (w *writer) replay(ctx context.Context, ask replayAsk) error {
	chunk := &apiv1.ReplayChunk{Activation: wire.ToActivationRef(wire.ActivationRef(ask.ref))}
	if has, ok := w.conn.givenTo(ask.ref); !ok {
		chunk.Error = "the activation is over"
	} else {
		history, next, err := w.gateway.replayFrames(ctx, has, ask.from, ask.to, wire.MaxChunkBytes)
		if err != nil {
			w.gateway.deps.Log.Error("a replay could not be read", slog.String("run_id", ask.ref.RunID.String()), slog.String("error", err.Error()))
			chunk.Error = err.Error()
		}
		chunk.History, chunk.NextEvent = history, uint64(next)
	}
	size := proto.Size(chunk)
	if err := w.makeRoom(size); err != nil {
		return err
	}
	w.batch.response.ReplayChunks = append(w.batch.response.ReplayChunks, chunk)
	return w.grew(size)
}
