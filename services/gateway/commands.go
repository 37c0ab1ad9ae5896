package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// idempotencyKey is the metadata (in REST: the header Idempotency-Key) that makes a request repeatable.
const idempotencyKey = "idempotency-key"

// service implements the public gRPC services on a gateway.
type service struct {
	apiv1.UnimplementedWorkflowServiceServer
	*Gateway
}

// StartWorkflow starts a run.
func (s service) StartWorkflow(ctx context.Context, r *apiv1.StartWorkflowRequest) (*apiv1.StartWorkflowResponse, error) {
	response, err := s.start(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) start(ctx context.Context, r *apiv1.StartWorkflowRequest) (*apiv1.StartWorkflowResponse, error) {
	env, wait, err := g.toStart(ctx, r)
	if err != nil {
		return nil, err
	}
	start, ok := env.Command.(events.StartWorkflow)
	if !ok {
		return nil, &events.Error{Code: events.Internal, Message: "a start became something else"}
	}
	if err := g.full(ctx); err != nil {
		return nil, err // before its input is stored
	}
	span := g.trace(ctx, &env, &start)
	if start.Input, err = g.spill(ctx, env.Namespace, env.RunID, start.Input); err != nil {
		endSpan(span, err)
		return nil, err
	}
	env.Command = start
	reply, err := g.ask(ctx, env)
	response, err := started(&env, reply, err)
	endSpan(span, err)
	if err == nil && wait > 0 && !response.GetAccepted() {
		g.addOutcome(ctx, response, &env, reply.Answer.RunID, wait)
	}
	return response, err
}

// toStart reads a start with everything but its input's place.
func (g *Gateway) toStart(ctx context.Context, r *apiv1.StartWorkflowRequest) (env events.Envelope, wait time.Duration, err error) {
	if err = g.admit(); err != nil {
		return env, 0, err
	}
	if wait, err = waitTime(r.GetWait()); err != nil {
		return env, 0, err
	}
	if env, err = wire.FromStart(r, g.options.MaxPayloadBytes); err != nil {
		return env, 0, err
	}
	return env, wait, g.identify(ctx, &env)
}

// started is the response to a start that was answered so.
func started(env *events.Envelope, reply sessions.Reply, err error) (*apiv1.StartWorkflowResponse, error) {
	response := &apiv1.StartWorkflowResponse{WorkflowId: string(env.WorkflowID)}
	switch {
	case errors.Is(err, errAccepted):
		response.RunId, response.Accepted = env.RunID.String(), true
		return response, nil
	case err != nil:
		return nil, err
	}
	response.RunId, response.Started, response.Token = reply.Answer.RunID.String(), reply.Answer.Started, tokenOf(reply)
	return response, nil
}

// addOutcome waits for the end of the run that a start was answered with. The start has happened, so a wait that fails is one that
// is over: the caller has the run id to go on with.
func (g *Gateway) addOutcome(ctx context.Context, response *apiv1.StartWorkflowResponse, env *events.Envelope, run events.RunID, wait time.Duration) {
	outcome, err := g.outcome(ctx, target{env.Namespace, env.WorkflowID, run}, wait)
	if err == nil && outcome.GetStatus() != apiv1.Status_STATUS_RUNNING {
		response.Outcome = outcome
	}
}

// identify gives a start the ids it lacks. A start without a workflow id gets its run id as one, so that a repetition with
// the same idempotency key meets the run it has made.
func (g *Gateway) identify(ctx context.Context, env *events.Envelope) error {
	if env.RunID.IsZero() {
		if key := idempotencyKeyOf(ctx); key != "" {
			if err := events.RequestID(key).Validate(); err != nil {
				return &events.Error{Code: events.BadIDCode, Message: "Idempotency-Key: " + err.Error()}
			}
			env.RunID = events.RunIDFor(env.Namespace, env.WorkflowID, events.RequestID(key))
		} else {
			var random [10]byte
			if _, err := rand.Read(random[:]); err != nil {
				return fmt.Errorf("no randomness for a run id: %w", err)
			}
			env.RunID = events.MakeRunID(g.deps.Clock.Now().UnixMilli(), random)
		}
	}
	if env.WorkflowID == "" {
		env.WorkflowID = events.WorkflowID(env.RunID.String())
	}
	return nil
}

func idempotencyKeyOf(ctx context.Context) string {
	if keys := metadata.ValueFromIncomingContext(ctx, idempotencyKey); len(keys) > 0 {
		return keys[0]
	}
	return ""
}

// SignalWorkflow adds a signal to the inbox of an open run.
func (s service) SignalWorkflow(ctx context.Context, r *apiv1.SignalWorkflowRequest) (*apiv1.SignalWorkflowResponse, error) {
	response, err := s.signal(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) signal(ctx context.Context, r *apiv1.SignalWorkflowRequest) (*apiv1.SignalWorkflowResponse, error) {
	env, err := wire.FromSignal(r, g.options.MaxPayloadBytes)
	if err != nil {
		return nil, err
	}
	signal, ok := env.Command.(events.SignalWorkflow)
	if !ok {
		return nil, &events.Error{Code: events.Internal, Message: "a signal became something else"}
	}
	if len(signal.Input.Data) > events.InlinePayloadBytes {
		if env.RunID.IsZero() {
			// A blob belongs to a run, so the run has to be known before: for a repeated request the one that did it.
			if err := requestedBy(ctx, &env); err != nil {
				return nil, err
			}
			reply, err := g.getRun(ctx, target{env.Namespace, env.WorkflowID, env.RunID}, env.RequestID)
			if err != nil {
				return nil, err
			}
			env.RunID = reply.Answer.RunID
		}
		if signal.Input, err = g.spill(ctx, env.Namespace, env.RunID, signal.Input); err != nil {
			return nil, err
		}
		env.Command = signal
	}
	run, token, err := g.steer(ctx, env)
	if err != nil {
		return nil, err
	}
	return &apiv1.SignalWorkflowResponse{RunId: run, Token: token}, nil
}

// CancelWorkflow asks an open run to cancel.
func (s service) CancelWorkflow(ctx context.Context, r *apiv1.CancelWorkflowRequest) (*apiv1.CancelWorkflowResponse, error) {
	response, err := s.cancel(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) cancel(ctx context.Context, r *apiv1.CancelWorkflowRequest) (*apiv1.CancelWorkflowResponse, error) {
	env, err := wire.FromCancel(r)
	if err != nil {
		return nil, err
	}
	run, token, err := g.steer(ctx, env)
	if err != nil {
		return nil, err
	}
	return &apiv1.CancelWorkflowResponse{RunId: run, Token: token}, nil
}

// TerminateWorkflow ends an open run at once.
func (s service) TerminateWorkflow(ctx context.Context, r *apiv1.TerminateWorkflowRequest) (*apiv1.TerminateWorkflowResponse, error) {
	response, err := s.terminate(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) terminate(ctx context.Context, r *apiv1.TerminateWorkflowRequest) (*apiv1.TerminateWorkflowResponse, error) {
	env, err := wire.FromTerminate(r)
	if err != nil {
		return nil, err
	}
	run, token, err := g.steer(ctx, env)
	if err != nil {
		return nil, err
	}
	return &apiv1.TerminateWorkflowResponse{RunId: run, Token: token}, nil
}

// ReleaseWorkflow takes a run out of quarantine.
func (s service) ReleaseWorkflow(ctx context.Context, r *apiv1.ReleaseWorkflowRequest) (*apiv1.ReleaseWorkflowResponse, error) {
	env, err := wire.FromRelease(r)
	if err != nil {
		return nil, asStatus(err)
	}
	run, token, err := s.steer(ctx, env)
	if err != nil {
		return nil, asStatus(err)
	}
	return &apiv1.ReleaseWorkflowResponse{RunId: run, Token: token}, nil
}

// steer sends a command to a run that exists.
func (g *Gateway) steer(ctx context.Context, env events.Envelope) (run string, token *apiv1.Token, err error) {
	if err := g.toSteer(ctx, &env); err != nil {
		return "", nil, err
	}
	reply, err := g.ask(ctx, env)
	if err = steered(err); err != nil {
		return "", nil, err
	}
	return reply.Answer.RunID.String(), tokenOf(reply), nil
}

// toSteer completes a command to a run that exists.
func (g *Gateway) toSteer(ctx context.Context, env *events.Envelope) error {
	if err := g.admit(); err != nil {
		return err
	}
	return requestedBy(ctx, env)
}

// steered is the error of a command to a run that exists.
func steered(err error) error {
	if errors.Is(err, errAccepted) {
		return &events.Error{Code: events.DeadlineExceeded, Message: errAccepted.Message + "; repeat it with the same request id to learn it"}
	}
	return err
}

// requestedBy takes the request id from the caller's header, unless the request has one.
func requestedBy(ctx context.Context, env *events.Envelope) error {
	if key := idempotencyKeyOf(ctx); env.RequestID == "" && key != "" {
		env.RequestID = events.RequestID(key)
		if err := env.RequestID.Validate(); err != nil {
			return &events.Error{Code: events.BadIDCode, Message: "Idempotency-Key: " + err.Error()}
		}
	}
	return nil
}

func tokenOf(reply sessions.Reply) *apiv1.Token {
	return &apiv1.Token{Partition: uint32(reply.Partition), Seq: uint64(reply.Seq)}
}

// getRun asks the engine, through the log, for a run. With the id of a request that was done before it is the run that did it.
func (g *Gateway) getRun(ctx context.Context, t target, request events.RequestID) (sessions.Reply, error) {
	reply, err := g.ask(ctx, events.Envelope{
		Namespace: t.namespace, WorkflowID: t.workflow, RunID: t.run, RequestID: request, Command: events.GetRun{},
	})
	if errors.Is(err, errAccepted) {
		err = context.DeadlineExceeded
	}
	return reply, err
}

// admit refuses what comes while the gateway drains.
func (g *Gateway) admit() error {
	if g.draining.Load() {
		return errStopping
	}
	return nil
}
