package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// filter is what list and count select by.
type filter struct {
	namespace, typ, prefix string
	statuses               []string
	since                  time.Duration
}

func (f *filter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	cmd.Flags().StringVar(&f.typ, "type", "", "only this workflow type")
	cmd.Flags().StringSliceVar(&f.statuses, "status", nil, "only these: running, completed, failed, cancelled, terminated, timed_out")
	cmd.Flags().StringVar(&f.prefix, "id-prefix", "", "only workflow ids that begin so")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only runs started within this time, such as 24h")
}

func (f *filter) parsed() ([]apiv1.Status, *timestamppb.Timestamp, error) {
	var statuses []apiv1.Status
	for _, name := range f.statuses {
		var found []string
		for number, s := range apiv1.Status_name {
			if number > 0 && statusName(apiv1.Status(number)) == name {
				statuses = append(statuses, apiv1.Status(number))
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return nil, nil, usage("--status %q is unknown; use running, completed, failed, cancelled, terminated or timed_out", name)
		}
	}
	slices.Sort(statuses)
	if f.since <= 0 {
		return statuses, nil, nil
	}
	return statuses, timestamppb.New(time.Now().Add(-f.since)), nil
}

func newList(a *app) *cobra.Command {
	var (
		f           filter
		limit       int32
		token       string
		quarantined bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest start first",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			statuses, from, err := f.parsed()
			if err != nil {
				return err
			}
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.ListWorkflowsResponse, error) {
				return api.ListWorkflows(ctx, &apiv1.ListWorkflowsRequest{
					Namespace: f.namespace, Type: f.typ, Statuses: statuses, WorkflowIdPrefix: f.prefix, StartedFrom: from,
					PageSize: limit, PageToken: token, Quarantined: quarantined,
				})
			}, a.printList)
		},
	}
	f.flags(cmd)
	cmd.Flags().Int32Var(&limit, "limit", 50, "most runs on a page, 1 to 1000")
	cmd.Flags().StringVar(&token, "page-token", "", "go on where the page before ended")
	cmd.Flags().BoolVar(&quarantined, "quarantined", false, "only runs in quarantine")
	return cmd
}

func (a *app) printList(answer *apiv1.ListWorkflowsResponse) {
	var rows [][]string
	for _, w := range answer.GetWorkflows() {
		rows = append(rows, []string{
			w.GetWorkflowId(), w.GetType(), statusName(w.GetStatus()), stamp(w.GetStarted()), since(w.GetStarted(), w.GetEnded()), w.GetRunId(),
		})
	}
	a.rows([]string{"WORKFLOW ID", "TYPE", "STATUS", "STARTED", "TOOK", "RUN ID"}, rows)
	if answer.GetNextPageToken() != "" {
		a.line("More: --page-token " + answer.GetNextPageToken())
	}
}

func newCount(a *app) *cobra.Command {
	var f filter
	cmd := &cobra.Command{
		Use:   "count",
		Short: "Count runs by type and status",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			statuses, from, err := f.parsed()
			if err != nil {
				return err
			}
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.CountWorkflowsResponse, error) {
				return api.CountWorkflows(ctx, &apiv1.CountWorkflowsRequest{
					Namespace: f.namespace, Type: f.typ, Statuses: statuses, WorkflowIdPrefix: f.prefix, StartedFrom: from,
				})
			}, func(answer *apiv1.CountWorkflowsResponse) {
				var rows [][]string
				for _, g := range answer.GetGroups() {
					rows = append(rows, []string{g.GetType(), statusName(g.GetStatus()), strconv.FormatInt(g.GetRuns(), 10)})
				}
				a.rows([]string{"TYPE", "STATUS", "RUNS"}, append(rows, []string{"", "total", strconv.FormatInt(answer.GetTotal(), 10)}))
			})
		},
	}
	f.flags(cmd)
	return cmd
}
