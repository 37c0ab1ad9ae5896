package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newDescribe(a *app) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "describe ID",
		Short: "Show a run and what it waits for",
		Args:  arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.DescribeWorkflowResponse, error) {
				return api.DescribeWorkflow(ctx, &apiv1.DescribeWorkflowRequest{Namespace: t.namespace, WorkflowId: args[0], RunId: t.runID})
			}, a.printDescription)
		},
	}
	t.flags(cmd)
	return cmd
}

func (a *app) printDescription(d *apiv1.DescribeWorkflowResponse) {
	info := d.GetInfo()
	rows := [][]string{
		{"run id", info.GetRunId()},
		{"type", info.GetType()},
		{"queue", info.GetQueue()},
		{"status", statusName(info.GetStatus())},
		{"started", stamp(info.GetStarted())},
	}
	if info.GetEnded() != nil {
		rows = append(rows, []string{"ended", stamp(info.GetEnded()) + " after " + since(info.GetStarted(), info.GetEnded())})
	}
	rows = append(rows,
		[]string{"events", strconv.FormatUint(info.GetEvents(), 10)},
		[]string{"tasks", strconv.FormatUint(info.GetTasksScheduled(), 10)})
	if info.GetUnreadSignals() > 0 {
		rows = append(rows, []string{"unread signals", strconv.FormatUint(info.GetUnreadSignals(), 10)})
	}
	if info.GetCancelRequested() != nil {
		rows = append(rows, []string{"asked to cancel", stamp(info.GetCancelRequested())})
	}
	if info.GetQuarantine() != "" {
		rows = append(rows, []string{"quarantined", info.GetQuarantine()})
	}
	if info.GetResult() != nil {
		rows = append(rows, []string{"result", show(info.GetResult())})
	}
	if info.GetFailure() != nil {
		rows = append(rows, []string{"failure", failureText(info.GetFailure())})
	}
	for _, view := range d.GetViews() {
		rows = append(rows, []string{"view", view})
	}
	for _, wait := range d.GetWaitsFor() {
		rows = append(rows, []string{"waits for", wait})
	}
	a.rows([]string{"workflow id", info.GetWorkflowId()}, rows)
	if lag := d.GetWatermark().GetLagMs(); lag > 1000 {
		a.line("As of " + strconv.FormatInt(lag, 10) + " ms ago.")
	}
}

func newView(a *app) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "view ID NAME",
		Short: "Print state that a run has published",
		Args:  arguments("ID", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.GetViewResponse, error) {
				return api.GetView(ctx, &apiv1.GetViewRequest{Namespace: t.namespace, WorkflowId: args[0], RunId: t.runID, Name: args[1]})
			}, func(answer *apiv1.GetViewResponse) { a.line(show(answer.GetValue())) })
		},
	}
	t.flags(cmd)
	return cmd
}
