package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

// collect reads the ledger, and from the server every run: its history and what the read model shows of it.
func (c *campaign) collect(ctx context.Context) (audit.Evidence, []audit.Violation, error) {
	e := audit.Evidence{Plans: c.load.plans, Runs: map[string][]*audit.Run{}}
	connection, err := client.Dial(c.system.Addr, client.Options{Identity: "chaos-audit"})
	if err != nil {
		return e, nil, err
	}
	defer func() { _ = connection.Close() }() // nothing is in flight
	api := apiv1.NewWorkflowServiceClient(connection.Conn())
	infos, err := c.list(ctx, api)
	if err != nil {
		return e, nil, err
	}
	found, err := c.read(ctx, api, infos, e.Runs)
	if err != nil {
		return e, nil, err
	}
	queues, err := api.ListQueues(ctx, &apiv1.ListQueuesRequest{})
	if err != nil {
		return e, nil, err
	}
	for _, q := range queues.GetQueues() {
		if q.GetWaitingTasks()+q.GetWaitingActivations() > 0 {
			found = append(found, audit.Violation{Rule: audit.RuleOpen, Where: "queue " + q.GetQueue(), What: fmt.Sprintf("work waits though all runs have ended: %v", q)})
		}
	}
	e.Ops, e.Faults, err = c.book.Close()
	if err != nil {
		return e, nil, err
	}
	e.Executions, err = ledger.ReadExecutions(filepath.Join(c.Dir, executionsDir))
	return e, found, err
}

// list returns all runs, oldest first, once the read model has all that is in the log.
func (c *campaign) list(ctx context.Context, api apiv1.WorkflowServiceClient) ([]*apiv1.WorkflowInfo, error) {
	waiting, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		counts, err := api.CountWorkflows(waiting, &apiv1.CountWorkflowsRequest{})
		if err == nil && counts.GetWatermark().GetLagMs() == 0 {
			break
		}
		if !c.pause(waiting, 50*time.Millisecond) {
			return nil, errors.Join(errors.New("the read model does not catch up"), err)
		}
	}
	var infos []*apiv1.WorkflowInfo
	for token := ""; ; {
		page, err := api.ListWorkflows(ctx, &apiv1.ListWorkflowsRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, err
		}
		infos = append(infos, page.GetWorkflows()...)
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	counts, err := api.CountWorkflows(ctx, &apiv1.CountWorkflowsRequest{})
	if err == nil && counts.GetTotal() != int64(len(infos)) {
		err = fmt.Errorf("%d runs are listed and %d counted", len(infos), counts.GetTotal())
	}
	slices.SortStableFunc(infos, func(a, b *apiv1.WorkflowInfo) int {
		return cmp.Compare(a.GetStarted().AsTime().UnixNano(), b.GetStarted().AsTime().UnixNano())
	})
	return infos, err
}

// readers is how many runs are read at a time.
const readers = 16

// read reads runs into the map and compares each history with the read model.
func (c *campaign) read(ctx context.Context, api apiv1.WorkflowServiceClient, infos []*apiv1.WorkflowInfo, into map[string][]*audit.Run) ([]audit.Violation, error) {
	runs := make([]*audit.Run, len(infos))
	var (
		mu    sync.Mutex
		found []audit.Violation
		errs  error
		all   sync.WaitGroup
		next  = make(chan int)
	)
	for range readers {
		all.Go(func() {
			for i := range next {
				run, wrong, err := readRun(ctx, api, infos[i])
				mu.Lock()
				runs[i], found = run, append(found, wrong...)
				if err != nil && errs == nil {
					errs = fmt.Errorf("run %s of %s: %w", infos[i].GetRunId(), infos[i].GetWorkflowId(), err)
				}
				mu.Unlock()
			}
		})
	}
	for i := range infos {
		next <- i
	}
	close(next)
	all.Wait()
	if errs != nil {
		return nil, errs
	}
	for _, run := range runs {
		into[run.Workflow] = append(into[run.Workflow], run)
	}
	return found, nil
}

func readRun(ctx context.Context, api apiv1.WorkflowServiceClient, info *apiv1.WorkflowInfo) (*audit.Run, []audit.Violation, error) {
	var (
		whose   events.HistoryInfo
		records []*events.Record
	)
	for from := uint64(1); from != 0; {
		page, err := api.GetHistory(ctx, &apiv1.GetHistoryRequest{WorkflowId: info.GetWorkflowId(), RunId: info.GetRunId(), FromEvent: from, PageSize: 10_000})
		if err != nil {
			return nil, nil, err
		}
		var part []*events.Record
		if whose, part, err = events.UnmarshalHistory(page.GetHistory().GetData()); err != nil {
			return nil, nil, err
		}
		if records = append(records, part...); len(part) == 0 {
			break // an open run
		}
		from = page.GetNextEvent()
	}
	run, found := audit.Read(whose, records)
	shown, err := api.DescribeWorkflow(ctx, &apiv1.DescribeWorkflowRequest{WorkflowId: info.GetWorkflowId(), RunId: info.GetRunId()})
	if err != nil {
		return nil, nil, err
	}
	s := audit.Shown{
		Status: wire.FromRunStatus(shown.GetInfo().GetStatus()), Events: shown.GetInfo().GetEvents(), TasksScheduled: shown.GetInfo().GetTasksScheduled(),
		Unread: shown.GetInfo().GetUnreadSignals(), Result: shown.GetInfo().GetResult().GetData(), CancelRequested: shown.GetInfo().GetCancelRequested() != nil,
		Pending: len(shown.GetTasks()) + len(shown.GetTimers()) + len(shown.GetSignals()), Views: len(shown.GetViews()),
	}
	if shown.GetActivation() != nil {
		s.Pending++
	}
	if s.Views > 0 {
		view, err := api.GetView(ctx, &apiv1.GetViewRequest{WorkflowId: info.GetWorkflowId(), RunId: info.GetRunId(), Name: program.Number.Name()})
		if err != nil {
			return nil, nil, err
		}
		s.View = view.GetValue().GetData()
	}
	if listed := wire.FromRunStatus(info.GetStatus()); listed != s.Status {
		found = append(found, audit.Violation{Rule: audit.RuleModel, Where: run.Workflow, What: fmt.Sprintf("listed as %v and described as %v", listed, s.Status)})
	}
	return run, append(found, audit.Compare(run, s)...), nil
}

// stopTime bounds the end in order of a process.
const stopTime = 20 * time.Second

// stop ends all workers and services in order, and looks at what they leave.
func (c *campaign) stop(ctx context.Context) ([]audit.Violation, error) {
	for _, s := range c.fleet.workers {
		if err := s.process.Stop(stopTime); err != nil {
			return nil, err
		}
	}
	for _, part := range c.fleet.parts[onService] {
		if err := part.Stop(); err != nil {
			return nil, fmt.Errorf("%s: %w", part.Name, err)
		}
	}
	if c.system.Check == nil {
		return nil, nil
	}
	return c.system.Check(ctx)
}
