package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// freshWithin bounds the wait for the read model to include a position.
const freshWithin = 5 * time.Second

// waitFor waits until the read model includes the position of a token; nil means nothing is waited for.
func (g *Gateway) waitFor(ctx context.Context, t *apiv1.Token) error {
	if t == nil || t.GetSeq() == 0 {
		return nil
	}
	if int(t.GetPartition()) >= g.deps.Partitions {
		return &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("wait_for names partition %d; there are %d", t.GetPartition(), g.deps.Partitions)}
	}
	ctx, cancel := context.WithTimeout(ctx, freshWithin)
	defer cancel()
	err := g.deps.Reader.WaitFor(ctx, events.Partition(t.GetPartition()), events.Seq(t.GetSeq()))
	if errors.Is(err, context.DeadlineExceeded) {
		return &events.Error{Code: events.Unavailable, RetryAfterMs: 1000, Message: fmt.Sprintf(
			"the read model does not include position %d of partition %d yet; ask again, or without wait_for", t.GetSeq(), t.GetPartition())}
	}
	return err
}

// readRun reads the row of a run. One that the read model does not have is asked for through the log, because it may
// just have begun: then the read model is waited for.
func (g *Gateway) readRun(ctx context.Context, t target, token *apiv1.Token) (row.Run, error) {
	if err := g.waitFor(ctx, token); err != nil {
		return row.Run{}, err
	}
	run, err := g.deps.Reader.Run(ctx, t.namespace, t.workflow, t.run)
	if !errors.Is(err, readmodel.ErrNotFound) {
		return run, err
	}
	if err := g.catchUp(ctx, t); err != nil {
		return row.Run{}, err
	}
	run, err = g.deps.Reader.Run(ctx, t.namespace, t.workflow, t.run)
	if errors.Is(err, readmodel.ErrNotFound) {
		return row.Run{}, notFound(t)
	}
	return run, err
}

// catchUp asks the engine whether there is such a run and waits until the read model has what the engine knew.
func (g *Gateway) catchUp(ctx context.Context, t target) error {
	if err := g.admit(); err != nil {
		return err
	}
	reply, err := g.getRun(ctx, t, "")
	if err != nil {
		if e, ok := errors.AsType[*events.Error](err); ok && e.Code == events.NotFound {
			return notFound(t)
		}
		return err
	}
	return g.waitFor(ctx, tokenOf(reply))
}

// watermark tells how fresh answers about the given partitions are; none means all.
func (g *Gateway) watermark(ctx context.Context, partitions ...events.Partition) (*apiv1.Watermark, error) {
	positions, err := g.deps.Reader.Watermark(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the watermark: %w", err)
	}
	at := make(map[events.Partition]readmodel.Position, len(positions))
	for _, p := range positions {
		at[p.Partition] = p
	}
	if len(partitions) == 0 {
		for p := range g.deps.Partitions {
			partitions = append(partitions, events.Partition(p))
		}
	}
	var newest, behind events.Time
	lags := false
	for _, p := range partitions {
		newest = max(newest, at[p].Time)
		if _, last := g.deps.Follower.Bounds(p); at[p].Next <= last {
			// The age of a partition that lags is that of its newest record included.
			if !lags || at[p].Time < behind {
				behind = at[p].Time
			}
			lags = true
		}
	}
	mark := &apiv1.Watermark{At: wire.ToTime(newest)}
	if lags {
		mark.LagMs = max(events.TimeOf(g.deps.Clock.Now()).Sub(behind).Milliseconds(), 1)
		if behind == 0 {
			mark.LagMs = 1
		}
	}
	return mark, nil
}

// filter reads the conditions that lists and counts share.
func filter(namespace, name, id, prefix string, statuses []apiv1.Status) (readmodel.Filter, error) {
	ns, err := wire.FromNamespace(namespace)
	if err != nil {
		return readmodel.Filter{}, err
	}
	f := readmodel.Filter{Namespace: ns, Type: events.WorkflowType(name), WorkflowID: events.WorkflowID(id), WorkflowIDPrefix: prefix}
	if name != "" {
		if err := f.Type.Validate(); err != nil {
			return f, err
		}
	}
	for _, s := range statuses {
		status := wire.FromRunStatus(s)
		if status == events.StatusUnknown {
			return f, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("status %v is not one of a run", s)}
		}
		f.Statuses = append(f.Statuses, status)
	}
	return f, nil
}

// ListWorkflows lists runs, newest start first.
func (s service) ListWorkflows(ctx context.Context, r *apiv1.ListWorkflowsRequest) (*apiv1.ListWorkflowsResponse, error) {
	response, err := s.list(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) list(ctx context.Context, r *apiv1.ListWorkflowsRequest) (*apiv1.ListWorkflowsResponse, error) {
	f, err := filter(r.GetNamespace(), r.GetType(), r.GetWorkflowId(), r.GetWorkflowIdPrefix(), r.GetStatuses())
	if err != nil {
		return nil, err
	}
	if f.StartedFrom, err = wire.FromTime("started_from", r.GetStartedFrom()); err != nil {
		return nil, err
	}
	if f.StartedTo, err = wire.FromTime("started_to", r.GetStartedTo()); err != nil {
		return nil, err
	}
	f.Quarantined = r.GetQuarantined()
	if r.GetPageSize() < 0 || r.GetPageSize() > 1000 {
		return nil, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("page_size is %d; it is 1 to 1000", r.GetPageSize())}
	}
	if err := g.waitFor(ctx, r.GetWaitFor()); err != nil {
		return nil, err
	}
	list, err := g.deps.Reader.List(ctx, f, readmodel.Page{Limit: int(r.GetPageSize()), Token: r.GetPageToken()})
	if errors.Is(err, readmodel.ErrBadPage) {
		return nil, &events.Error{Code: events.InvalidArgument, Message: "page_token: " + err.Error()}
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	response := &apiv1.ListWorkflowsResponse{NextPageToken: list.NextToken}
	for i := range list.Runs {
		response.Workflows = append(response.Workflows, infoOf(&list.Runs[i]))
	}
	response.Watermark, err = g.watermark(ctx)
	return response, err
}

// CountWorkflows counts runs by type and status.
func (s service) CountWorkflows(ctx context.Context, r *apiv1.CountWorkflowsRequest) (*apiv1.CountWorkflowsResponse, error) {
	response, err := s.count(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) count(ctx context.Context, r *apiv1.CountWorkflowsRequest) (*apiv1.CountWorkflowsResponse, error) {
	f, err := filter(r.GetNamespace(), r.GetType(), "", r.GetWorkflowIdPrefix(), r.GetStatuses())
	if err != nil {
		return nil, err
	}
	if f.StartedFrom, err = wire.FromTime("started_from", r.GetStartedFrom()); err != nil {
		return nil, err
	}
	if f.StartedTo, err = wire.FromTime("started_to", r.GetStartedTo()); err != nil {
		return nil, err
	}
	if err := g.waitFor(ctx, r.GetWaitFor()); err != nil {
		return nil, err
	}
	counts, err := g.deps.Reader.Count(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	response := &apiv1.CountWorkflowsResponse{}
	for _, c := range counts {
		response.Groups = append(response.Groups, &apiv1.CountWorkflowsResponse_Group{
			Type: string(c.Type), Status: wire.ToRunStatus(c.Status), Runs: c.Runs,
		})
		response.Total += c.Runs
	}
	response.Watermark, err = g.watermark(ctx)
	return response, err
}

// GetView returns state that a run has published.
func (s service) GetView(ctx context.Context, r *apiv1.GetViewRequest) (*apiv1.GetViewResponse, error) {
	response, err := s.view(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) view(ctx context.Context, r *apiv1.GetViewRequest) (*apiv1.GetViewResponse, error) {
	var (
		t   target
		err error
	)
	if t.namespace, t.workflow, t.run, err = wire.FromTarget(r.GetNamespace(), r.GetWorkflowId(), r.GetRunId()); err != nil {
		return nil, err
	}
	name := events.ViewName(r.GetName())
	if err := name.Validate(); err != nil {
		return nil, err
	}
	if err := g.waitFor(ctx, r.GetWaitFor()); err != nil {
		return nil, err
	}
	view, err := g.deps.Reader.View(ctx, t.namespace, t.workflow, t.run, name)
	if errors.Is(err, readmodel.ErrNotFound) {
		// The run may be unknown here, have no such view, or not have it yet.
		if err := g.catchUp(ctx, t); err != nil {
			return nil, err
		}
		view, err = g.deps.Reader.View(ctx, t.namespace, t.workflow, t.run, name)
	}
	if errors.Is(err, readmodel.ErrNotFound) {
		return nil, &events.Error{Code: events.ViewNotFound, RunID: t.run, Message: fmt.Sprintf("workflow %q has not set the view %q", t.workflow, name)}
	}
	if err != nil {
		return nil, fmt.Errorf("read the view: %w", err)
	}
	run, err := g.deps.Reader.Run(ctx, t.namespace, t.workflow, t.run)
	if err != nil {
		return nil, fmt.Errorf("read the run of a view: %w", err)
	}
	value, err := g.fetch(ctx, view.Value)
	if err != nil {
		return nil, err
	}
	response := &apiv1.GetViewResponse{RunId: run.RunID.String(), Value: wire.ToPayload(value), Updated: wire.ToTime(view.Updated)}
	response.Watermark, err = g.watermark(ctx, g.partition(t))
	return response, err
}

// infoOf makes a list's entry of a row, without its result.
func infoOf(r *row.Run) *apiv1.WorkflowInfo {
	info := &apiv1.WorkflowInfo{
		Namespace: string(r.Namespace), WorkflowId: string(r.WorkflowID), RunId: r.RunID.String(), Type: string(r.Type), Queue: string(r.Queue),
		Status: wire.ToRunStatus(r.Status), Started: wire.ToTime(r.Started), Ended: wire.ToTime(r.Ended), Events: uint64(r.Version),
		TasksScheduled: r.TasksScheduled, UnreadSignals: r.Unread, CancelRequested: wire.ToTime(r.CancelRequested),
		Quarantine: r.Quarantine, Failure: wire.ToFailure(r.Failure),
	}
	return info
}

// outcomeOfRow makes the outcome of a run that has ended.
func (g *Gateway) outcomeOfRow(ctx context.Context, r *row.Run) (*apiv1.Outcome, error) {
	result, err := g.fetch(ctx, r.Result)
	if err != nil {
		return nil, err
	}
	return &apiv1.Outcome{
		WorkflowId: string(r.WorkflowID), RunId: r.RunID.String(), Status: wire.ToRunStatus(r.Status), Result: wire.ToPayload(result),
		Failure: wire.ToFailure(r.Failure),
	}, nil
}
