package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// DescribeWorkflow shows a run: its state and what it waits for.
func (s service) DescribeWorkflow(ctx context.Context, r *apiv1.DescribeWorkflowRequest) (*apiv1.DescribeWorkflowResponse, error) {
	response, err := s.describe(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) describe(ctx context.Context, r *apiv1.DescribeWorkflowRequest) (*apiv1.DescribeWorkflowResponse, error) {
	var (
		t   target
		err error
	)
	if t.namespace, t.workflow, t.run, err = wire.FromTarget(r.GetNamespace(), r.GetWorkflowId(), r.GetRunId()); err != nil {
		return nil, err
	}
	run, err := g.readRun(ctx, t, r.GetWaitFor())
	if err != nil {
		return nil, err
	}
	response := &apiv1.DescribeWorkflowResponse{Info: infoOf(&run)}
	result, err := g.fetch(ctx, run.Result)
	if err != nil {
		return nil, err
	}
	response.Info.Result = wire.ToPayload(result)
	held, err := g.stateOf(ctx)
	if err != nil {
		return nil, err
	}
	fillPending(response, &run, held)
	response.WaitsFor = g.waitsFor(&run, response)
	for _, v := range run.Views {
		response.Views = append(response.Views, string(v.Name))
	}
	response.Watermark, err = g.watermark(ctx, run.Partition)
	return response, err
}

// fillPending puts what a run waits for into the response, with the workers that have it as far as this gateway knows.
func fillPending(response *apiv1.DescribeWorkflowResponse, run *row.Run, held []sessions.WorkerState) {
	for _, t := range run.Tasks {
		response.Tasks = append(response.Tasks, &apiv1.PendingTask{
			Step: uint64(t.Step), Name: string(t.Name), Queue: string(t.Queue), Attempt: uint32(t.Attempt), Scheduled: wire.ToTime(t.Scheduled),
			NextAttempt: wire.ToTime(t.NextAttempt), LastFailure: wire.ToFailure(t.LastFailure),
			Worker: holder(held, events.TaskID{Run: run.RunID, Step: t.Step}, t.Attempt),
		})
	}
	for _, t := range run.Timers {
		response.Timers = append(response.Timers, &apiv1.PendingTimer{
			Step: uint64(t.Step), Due: wire.ToTime(t.Due), Label: t.Label, LastFailure: wire.ToFailure(t.LastFailure),
		})
	}
	for _, w := range run.Signals {
		response.Signals = append(response.Signals, &apiv1.PendingSignal{Name: string(w.Name), Index: w.Index})
	}
	if a := run.Activation; a != nil {
		response.Activation = &apiv1.PendingActivation{
			Activation: a.Activation, Attempt: uint32(a.Attempt), Since: wire.ToTime(a.Since), NotBefore: wire.ToTime(a.NotBefore),
			LastFailure: wire.ToFailure(a.LastFailure),
		}
	}
}

// holder returns the worker that holds an attempt; empty when none of this gateway does.
func holder(held []sessions.WorkerState, task events.TaskID, attempt events.Attempt) string {
	for _, w := range held {
		if slices.ContainsFunc(w.Tasks, func(a sessions.Attempt) bool { return a.Task == task && a.Attempt == attempt }) {
			return string(w.ID)
		}
	}
	return ""
}

// waitsFor says in plain words why a run does not go on.
func (g *Gateway) waitsFor(run *row.Run, response *apiv1.DescribeWorkflowResponse) []string {
	if !run.Status.Open() {
		return nil
	}
	var lines []string
	if run.Quarantine != "" {
		lines = append(lines, "it is quarantined until somebody releases it: "+run.Quarantine)
	}
	if a := run.Activation; a != nil {
		lines = append(lines, g.activationLine(run, a))
	}
	for i, t := range run.Tasks {
		lines = append(lines, g.taskLine(&t, response.GetTasks()[i].GetWorker()))
	}
	timers := slices.Clone(run.Timers)
	slices.SortStableFunc(timers, func(a, b row.Timer) int { return cmp.Compare(a.Due, b.Due) })
	for _, t := range timers {
		line := fmt.Sprintf("timer %d until %s", t.Step, clockText(t.Due))
		if t.Label != "" {
			line = fmt.Sprintf("step %d %s: tried again at %s", t.Step, t.Label, clockText(t.Due))
		}
		lines = append(lines, line+after(t.LastFailure))
	}
	for _, s := range run.Signals {
		lines = append(lines, fmt.Sprintf("signal %s number %d", s.Name, s.Index))
	}
	if len(lines) == 0 {
		lines = append(lines, "only a cancel request")
	}
	return lines
}

func (g *Gateway) activationLine(run *row.Run, a *row.Activation) string {
	line := fmt.Sprintf("workflow code to run (activation %d", a.Activation)
	if a.Attempt > 1 {
		line += fmt.Sprintf(", attempt %d", a.Attempt)
	}
	line += ")"
	if a.NotBefore > events.TimeOf(g.deps.Clock.Now()) {
		line += " at " + clockText(a.NotBefore)
	}
	line += after(a.LastFailure)
	if here, elsewhere := g.workers.offersWorkflow(run.Queue, run.Type); !here {
		line += fmt.Sprintf("; no worker offers workflow %s on queue %s%s", run.Type, run.Queue, hint(elsewhere))
	}
	return line
}

func (g *Gateway) taskLine(t *row.Task, worker string) string {
	line := fmt.Sprintf("task %d %s", t.Step, t.Name)
	switch {
	case worker != "":
		line += fmt.Sprintf(": attempt %d runs on worker %s", t.Attempt, worker)
	case t.NextAttempt > events.TimeOf(g.deps.Clock.Now()):
		line += fmt.Sprintf(": attempt %d at %s", t.Attempt, clockText(t.NextAttempt))
	default:
		line += fmt.Sprintf(": attempt %d waits for a worker or runs", t.Attempt)
	}
	line += after(t.LastFailure)
	if here, elsewhere := g.workers.offersTask(t.Queue, t.Name); !here {
		line += fmt.Sprintf("; no worker offers task %s on queue %s%s", t.Name, t.Queue, hint(elsewhere))
	}
	return line
}

func hint(elsewhere events.TaskQueue) string {
	if elsewhere == "" {
		return ""
	}
	return fmt.Sprintf(" (one does on queue %s)", elsewhere)
}

func after(f *events.Failure) string {
	if f == nil {
		return ""
	}
	const limit = 300
	text := f.Error()
	if len(text) > limit {
		text = shorten(text[:limit]) + "… [" + f.Code + "]" // the code is what to look for, and stands at the end
	}
	return " after: " + text
}

func clockText(t events.Time) string { return t.Std().Format(time.RFC3339) }
