package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// target is the run a request means; a zero run means the newest of the workflow id.
type target struct {
	namespace events.Namespace
	workflow  events.WorkflowID
	run       events.RunID
}

func (g *Gateway) partition(t target) events.Partition {
	return events.PartitionOf(t.namespace, t.workflow, g.deps.Partitions)
}

// waitTime reads how long a request may wait; more than the most counts as the most.
func waitTime(d *durationpb.Duration) (time.Duration, error) {
	wait, err := wire.FromDuration("wait", d)
	return min(wait, wire.MaxWait), err
}

// GetResult waits for the end of a run.
func (s service) GetResult(ctx context.Context, r *apiv1.GetResultRequest) (*apiv1.GetResultResponse, error) {
	response, err := s.result(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) result(ctx context.Context, r *apiv1.GetResultRequest) (*apiv1.GetResultResponse, error) {
	wait, err := waitTime(r.GetWait())
	if err != nil {
		return nil, err
	}
	var t target
	if t.namespace, t.workflow, t.run, err = wire.FromTarget(r.GetNamespace(), r.GetWorkflowId(), r.GetRunId()); err != nil {
		return nil, err
	}
	if err := g.admit(); err != nil {
		return nil, err
	}
	if t.run.IsZero() {
		// Which run is the newest only the engine knows for sure.
		reply, err := g.getRun(ctx, t, "")
		if err != nil {
			return nil, err
		}
		t.run = reply.Answer.RunID
		if reply.Answer.Ended != 0 {
			outcome, err := g.outcomeFromHistory(ctx, t, reply.Answer.Ended)
			return &apiv1.GetResultResponse{Outcome: outcome}, err
		}
	}
	outcome, err := g.outcome(ctx, t, wait)
	return &apiv1.GetResultResponse{Outcome: outcome}, err
}

// outcome waits for the end of a run, at most for the given time; an open run then has status running. The wait is
// registered first, then the runs that ended lately are looked at, then the read model, and the engine is asked only when
// these cannot know.
func (g *Gateway) outcome(ctx context.Context, t target, wait time.Duration) (*apiv1.Outcome, error) {
	c := g.open()
	defer g.closeCall(c)
	g.post(sessions.Await{Call: c.id, Partition: g.partition(t), WorkflowID: t.workflow, RunID: t.run})
	out, err := g.next(ctx, c)
	if err != nil {
		return nil, err
	}
	if waiting, ok := out.(sessions.Waiting); ok {
		if !waiting.Open {
			ended, err := g.endedBefore(ctx, t, waiting.From)
			if ended != nil || err != nil {
				g.post(sessions.Forget{Call: c.id})
				return ended, err
			}
		}
		if out, err = g.nextWithin(ctx, c, wait); err != nil {
			return nil, err
		}
	}
	over, ok := out.(sessions.RunOver)
	switch {
	case out == nil:
		return wire.ToOutcome(t.workflow, t.run, nil), nil
	case !ok:
		return nil, &events.Error{Code: events.Internal, Message: "a wait was answered with something else"}
	case over.Err != nil:
		return nil, over.Err
	case over.Run.WorkflowID != t.workflow || over.Run.Namespace != t.namespace:
		return nil, notFound(t)
	case over.Run.Event == nil:
		return g.outcomeFromHistory(ctx, t, over.Run.Number)
	}
	return g.outcomeOf(ctx, t, over.Run.Event)
}

// nextWithin waits for the call's next output; nil when the time is up or the gateway drains.
func (g *Gateway) nextWithin(ctx context.Context, c *call, wait time.Duration) (sessions.Output, error) {
	timer := g.deps.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case out := <-c.out:
		return out, nil
	case <-timer.C():
	case <-g.drained:
	case <-g.stopped:
		return nil, errStopping
	case <-ctx.Done():
		g.post(sessions.Forget{Call: c.id})
		return nil, ctx.Err()
	}
	g.post(sessions.Forget{Call: c.id})
	return nil, nil //nolint:nilnil // no output within the time is not an error
}

// endedBefore looks for the end of a run that came before position from; nil means that the run is open.
func (g *Gateway) endedBefore(ctx context.Context, t target, from events.Seq) (*apiv1.Outcome, error) {
	run, err := g.deps.Reader.Run(ctx, t.namespace, t.workflow, t.run)
	switch {
	case err == nil && !run.Status.Open():
		return g.outcomeOfRow(ctx, &run)
	case err == nil:
		fresh, err := g.foldedUpTo(ctx, g.partition(t), from)
		if fresh || err != nil {
			return nil, err
		}
	case !errors.Is(err, readmodel.ErrNotFound):
		return nil, fmt.Errorf("read the run: %w", err)
	}
	reply, err := g.getRun(ctx, t, "")
	if err != nil || reply.Answer.Ended == 0 {
		return nil, err
	}
	return g.outcomeFromHistory(ctx, t, reply.Answer.Ended)
}

// foldedUpTo reports whether the read model has everything below a position.
func (g *Gateway) foldedUpTo(ctx context.Context, p events.Partition, below events.Seq) (bool, error) {
	positions, err := g.deps.Reader.Watermark(ctx)
	if err != nil {
		return false, fmt.Errorf("read the watermark: %w", err)
	}
	for _, at := range positions {
		if at.Partition == p {
			return at.Next >= below, nil
		}
	}
	return false, nil
}

// outcomeFromHistory reads the event that ended a run.
func (g *Gateway) outcomeFromHistory(ctx context.Context, t target, number events.EventNumber) (*apiv1.Outcome, error) {
	e, _, err := g.eventAt(ctx, g.partition(t), t.run, number)
	if errors.Is(err, archive.ErrNotFound) {
		return nil, &events.Error{Code: events.NotFound, RunID: t.run, Message: fmt.Sprintf(
			"run %s of workflow %s has ended and its history is deleted: its retention is over", t.run, t.workflow)}
	}
	if err != nil {
		return nil, err
	}
	return g.outcomeOf(ctx, t, e)
}

// outcomeOf fetches what an ending event has in the blob store and puts it on the wire.
func (g *Gateway) outcomeOf(ctx context.Context, t target, e events.Event) (*apiv1.Outcome, error) {
	e, err := g.resolveEvent(ctx, e, everything)
	if err != nil {
		return nil, err
	}
	return wire.ToOutcome(t.workflow, t.run, e), nil
}

func notFound(t target) error {
	if t.run.IsZero() {
		return &events.Error{Code: events.NotFound, Message: fmt.Sprintf("there is no run of workflow %q in namespace %q", t.workflow, t.namespace)}
	}
	return &events.Error{Code: events.NotFound, Message: fmt.Sprintf("workflow %q has no run %s in namespace %q", t.workflow, t.run, t.namespace)}
}
