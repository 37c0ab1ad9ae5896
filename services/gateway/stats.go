package gateway

import (
	"context"
	"errors"
	"fmt"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// GetTaskStats tells what became of tasks.
func (s service) GetTaskStats(ctx context.Context, r *apiv1.GetTaskStatsRequest) (*apiv1.GetTaskStatsResponse, error) {
	response, err := s.taskStats(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) taskStats(ctx context.Context, r *apiv1.GetTaskStatsRequest) (*apiv1.GetTaskStatsResponse, error) {
	of, err := filter(r.GetNamespace(), r.GetType(), "", "", nil)
	if err != nil {
		return nil, err
	}
	f := readmodel.StatsFilter{Namespace: of.Namespace, Type: of.Type, Task: events.TaskName(r.GetTask())}
	if f.From, err = wire.FromTime("from", r.GetFrom()); err != nil {
		return nil, err
	}
	if f.To, err = wire.FromTime("to", r.GetTo()); err != nil {
		return nil, err
	}
	if f.Every, err = wire.FromDuration("every", r.GetEvery()); err != nil {
		return nil, err
	}
	if err := g.waitFor(ctx, r.GetWaitFor()); err != nil {
		return nil, err
	}
	stats, err := g.deps.Reader.StepStats(ctx, f)
	if err != nil {
		return nil, statsError("every", err)
	}
	response := &apiv1.GetTaskStatsResponse{}
	for _, s := range stats {
		response.Rows = append(response.Rows, &apiv1.GetTaskStatsResponse_Row{
			Start: wire.ToTime(s.Start), Type: string(s.Type), Task: string(s.Task), Done: int64(s.Done), Failed: int64(s.Failed), Retried: int64(s.Retried),
			Mean: wire.ToDuration(s.Mean), P50: wire.ToDuration(s.P50), P95: wire.ToDuration(s.P95), P99: wire.ToDuration(s.P99), Max: wire.ToDuration(s.Max),
		})
	}
	response.Watermark, err = g.watermark(ctx)
	return response, err
}

// GetTopErrors returns the most frequent kinds of failures.
func (s service) GetTopErrors(ctx context.Context, r *apiv1.GetTopErrorsRequest) (*apiv1.GetTopErrorsResponse, error) {
	response, err := s.topErrors(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) topErrors(ctx context.Context, r *apiv1.GetTopErrorsRequest) (*apiv1.GetTopErrorsResponse, error) {
	of, err := filter(r.GetNamespace(), r.GetType(), "", "", nil)
	if err != nil {
		return nil, err
	}
	f := readmodel.ErrorFilter{Namespace: of.Namespace, Type: of.Type, Limit: int(r.GetLimit())}
	if f.From, err = wire.FromTime("from", r.GetFrom()); err != nil {
		return nil, err
	}
	if f.To, err = wire.FromTime("to", r.GetTo()); err != nil {
		return nil, err
	}
	if err := g.waitFor(ctx, r.GetWaitFor()); err != nil {
		return nil, err
	}
	top, err := g.deps.Reader.TopErrors(ctx, f)
	if err != nil {
		return nil, statsError("limit", err)
	}
	response := &apiv1.GetTopErrorsResponse{}
	for _, e := range top {
		response.Rows = append(response.Rows, &apiv1.GetTopErrorsResponse_Row{
			Place: e.Of, Type: string(e.Type), Name: string(e.Name), Code: e.Code, Message: e.Message, Count: int64(e.Count), Last: wire.ToTime(e.Last),
			WorkflowId: string(e.WorkflowID), RunId: e.Run.String(),
		})
	}
	response.Watermark, err = g.watermark(ctx)
	return response, err
}

// statsError says which field asks for what cannot be answered.
func statsError(field string, err error) error {
	switch {
	case errors.Is(err, readmodel.ErrBadStats), errors.Is(err, readmodel.ErrTooMuch):
		return &events.Error{Code: events.InvalidArgument, Message: field + ": " + err.Error()}
	default:
		return fmt.Errorf("statistics: %w", err)
	}
}
