package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
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

func (f *filter) flags(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	cmd.Flags().StringVar(&f.typ, "type", "", "only this workflow type")
	cmd.Flags().StringSliceVar(&f.statuses, "status", nil, "only these: "+strings.Join(statusNames(), ", "))
	cmd.Flags().StringVar(&f.prefix, "id-prefix", "", "only workflow ids that begin so")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only runs started within this time, such as 24h")
	offer(cmd, "status", statusNames())
	_ = cmd.RegisterFlagCompletionFunc("type", a.completeTypes)
}

// statusNames are the values of --status, in the order of the enum.
func statusNames() (names []string) {
	for n := apiv1.Status_STATUS_RUNNING; int(n) < len(apiv1.Status_name); n++ {
		names = append(names, statusName(n))
	}
	return names
}

func (f *filter) parsed() ([]apiv1.Status, *timestamppb.Timestamp, error) {
	if err := notNegative("since", f.since); err != nil {
		return nil, nil, err
	}
	var statuses []apiv1.Status
	for _, name := range f.statuses {
		i := slices.Index(statusNames(), name)
		if i < 0 {
			return nil, nil, usage("--status is %q; use some of %s", name, strings.Join(statusNames(), ", "))
		}
		statuses = append(statuses, apiv1.Status_STATUS_RUNNING+apiv1.Status(i))
	}
	if f.since == 0 {
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
	f.flags(a, cmd)
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
	f.flags(a, cmd)
	return cmd
}
