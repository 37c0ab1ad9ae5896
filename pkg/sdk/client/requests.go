package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// retryTime bounds the time in which a request refused for load is repeated before the refusal is returned.
const retryTime = 10 * time.Second

// forEver is for a wait that only its context bounds.
const forEver = time.Duration(math.MaxInt64)

// pollGap is the least time between two questions whether a run has ended.
const pollGap = 100 * time.Millisecond

// Do sends a command and returns its answer; see [flow.Client]. A command refused for load (overloaded, disk_full,
// unavailable) is repeated for up to 10 s, one whose outcome the server does not know in time until ctx ends. If it ends then,
// a start that is durable is answered with [events.Accepted]: it may still be refused.
func (c *Client) Do(ctx context.Context, command events.Envelope) (events.Answer, error) {
	if _, start := command.Command.(events.StartWorkflow); !start && command.RequestID == "" {
		command.RequestID = newRequestID()
	}
	end := c.traced(ctx, &command)
	response, err := c.send(ctx, command, 0)
	end(response, err)
	if err != nil {
		return events.Answer{}, err
	}
	return answerOf(response)
}

// StartAndWait sends a start and waits for the end of the run that answers it, in one message if the run is quick.
func (c *Client) StartAndWait(ctx context.Context, start events.Envelope) (events.Answer, flow.Outcome, error) {
	end := c.traced(ctx, &start)
	response, err := c.send(ctx, start, wire.MaxWait)
	end(response, err)
	if err != nil {
		return events.Answer{}, flow.Outcome{}, err
	}
	answer, err := answerOf(response)
	if err != nil {
		return answer, flow.Outcome{}, err
	}
	if outcome := response.GetStart().GetOutcome(); ended(outcome) {
		out, err := outcomeOf(outcome)
		return answer, out, err
	}
	out, err := c.result(ctx, start.Namespace, flow.RunRef{WorkflowID: start.WorkflowID, RunID: answer.RunID})
	return answer, out, err
}

// Result waits for the end of a run, through restarts of the server, until ctx ends.
func (c *Client) Result(ctx context.Context, run flow.RunRef) (flow.Outcome, error) {
	return c.result(ctx, "", run)
}

func (c *Client) result(ctx context.Context, ns events.Namespace, run flow.RunRef) (flow.Outcome, error) {
	for {
		asked := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
		response, err := c.repeat(ctx, forEver, func() *apiv1.ClientCall {
			return &apiv1.ClientCall{Request: &apiv1.ClientCall_Result{Result: &apiv1.GetResultRequest{
				Namespace: string(ns), WorkflowId: string(run.WorkflowID), RunId: run.RunID.String(), Wait: durationpb.New(wire.MaxWait),
			}}}
		})
		if err != nil {
			return flow.Outcome{}, err
		}
		outcome := response.GetResult().GetOutcome()
		if ended(outcome) {
			return outcomeOf(outcome)
		}
		// A server that stops answers at once instead of waiting.
		if time.Since(asked) < pollGap && !sleep(ctx, pollGap) { //nolint:forbidigo // as above
			return flow.Outcome{}, fmt.Errorf("%w while the run was open", ctx.Err())
		}
		// A later run of the same id is not what was asked for.
		if run.RunID, err = wire.FromRunID(outcome.GetRunId()); err != nil {
			return flow.Outcome{}, err
		}
	}
}

// View returns what a run published under a name.
func (c *Client) View(ctx context.Context, run flow.RunRef, name events.ViewName) (events.Payload, error) {
	response, err := c.repeat(ctx, retryTime, func() *apiv1.ClientCall {
		return &apiv1.ClientCall{Request: &apiv1.ClientCall_View{View: &apiv1.GetViewRequest{
			WorkflowId: string(run.WorkflowID), RunId: run.RunID.String(), Name: string(name),
		}}}
	})
	if err != nil {
		return events.Payload{}, err
	}
	return wire.CheckedPayload(response.GetView().GetValue()), nil
}

// send sends a command, repeating it while the server has no room for it or does not know its outcome. Wait is for starts.
func (c *Client) send(ctx context.Context, command events.Envelope, wait time.Duration) (*apiv1.ClientResponse, error) {
	if _, start := command.Command.(events.StartWorkflow); start && command.RunID.IsZero() {
		command.RunID = c.NewRunID() // the server would draw another one each time
	}
	if _, err := wire.ToCall(command); err != nil {
		return nil, err
	}
	var accepted *apiv1.ClientResponse
	for {
		asked := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
		response, err := c.repeat(ctx, retryTime, func() *apiv1.ClientCall {
			message, _ := wire.ToCall(command) // checked above
			if start := message.GetStart(); start != nil && wait > 0 {
				start.Wait = durationpb.New(wait)
			}
			return message
		})
		if err != nil && ctx.Err() != nil && accepted != nil {
			return accepted, nil
		}
		refusal, refused := errors.AsType[*events.Error](err)
		late := refused && refusal.Code == events.DeadlineExceeded
		if !late && !response.GetStart().GetAccepted() || ctx.Err() != nil {
			return response, err
		}
		if !late {
			accepted = response
		}
		if time.Since(asked) < pollGap { //nolint:forbidigo // as above
			sleep(ctx, pollGap)
		}
	}
}

// repeat makes a call until it is answered by something else than a refusal for load. It waits for at most the given time in
// all; the time in which no server is reached does not count.
func (c *Client) repeat(ctx context.Context, atMost time.Duration, message func() *apiv1.ClientCall) (*apiv1.ClientResponse, error) {
	delay, waited := reconnectFirst, time.Duration(0)
	for {
		response, err := c.calls.do(ctx, message())
		if err != nil {
			return nil, err
		}
		refusal := response.GetError()
		if refusal == nil {
			return response, nil
		}
		e := wire.FromCallError(refusal)
		wait := time.Duration(e.RetryAfterMs) * time.Millisecond
		if wait <= 0 {
			wait, delay = delay, min(2*delay, reconnectMost)
		}
		// The server knows how soon there is room: whoever waited longer each time would give way to newcomers for ever. And those
		// who were refused together do not come back together.
		wait = wait/2 + rand.N(wait)
		if waited += wait; !forLoad(e.Code) || waited > atMost {
			return nil, e
		}
		if !sleep(ctx, wait) {
			return nil, fmt.Errorf("%w; the server's last answer: %w", ctx.Err(), e)
		}
	}
}

// forLoad reports whether a refusal passes by itself.
func forLoad(code events.Code) bool {
	return code == events.Overloaded || code == events.DiskFull || code == events.Unavailable
}

// answerOf reads the answer to a command.
func answerOf(response *apiv1.ClientResponse) (events.Answer, error) {
	answer := events.Answer{Code: events.OK}
	var run string
	switch r := response.GetResponse().(type) {
	case *apiv1.ClientResponse_Start:
		run, answer.Started = r.Start.GetRunId(), r.Start.GetStarted()
		if r.Start.GetAccepted() {
			answer.Code = events.Accepted
		}
	case *apiv1.ClientResponse_Signal:
		run = r.Signal.GetRunId()
	case *apiv1.ClientResponse_Cancel:
		run = r.Cancel.GetRunId()
	case *apiv1.ClientResponse_Terminate:
		run = r.Terminate.GetRunId()
	default:
		return answer, &events.Error{Code: events.Internal, Message: "the server answered a command with something else"}
	}
	id, err := wire.FromRunID(run)
	answer.RunID = id
	return answer, err
}

func ended(o *apiv1.Outcome) bool {
	return o != nil && o.GetStatus() != apiv1.Status_STATUS_RUNNING && o.GetStatus() != apiv1.Status_STATUS_UNSPECIFIED
}

func outcomeOf(o *apiv1.Outcome) (flow.Outcome, error) {
	id, err := wire.FromRunID(o.GetRunId())
	out := flow.Outcome{RunID: id, Status: wire.FromRunStatus(o.GetStatus()), Result: wire.CheckedPayload(o.GetResult())}
	if o.GetFailure() != nil {
		out.Failure = wire.FromFailure(o.GetFailure())
	}
	return out, err
}
