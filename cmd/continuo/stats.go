package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newStats(a *app) *cobra.Command {
	var (
		namespace, typ, task string
		last, every          time.Duration
		failures             int32
	)
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "What became of tasks, how long they took, and the most frequent errors",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for flag, d := range map[string]time.Duration{"since": last, "every": every} {
				if err := notNegative(flag, d); err != nil {
					return err
				}
			}
			var from *timestamppb.Timestamp
			if last > 0 {
				from = timestamppb.New(time.Now().Add(-last))
			}
			var spans *durationpb.Duration
			if every > 0 {
				spans = durationpb.New(every)
			}
			err := call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.GetTaskStatsResponse, error) {
				return api.GetTaskStats(ctx, &apiv1.GetTaskStatsRequest{Namespace: namespace, Type: typ, Task: task, From: from, Every: spans})
			}, a.printTaskStats)
			if err != nil || failures == 0 {
				return err
			}
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.GetTopErrorsResponse, error) {
				return api.GetTopErrors(ctx, &apiv1.GetTopErrorsRequest{Namespace: namespace, Type: typ, From: from, Limit: failures})
			}, a.printTopErrors)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	cmd.Flags().StringVar(&typ, "type", "", "only this workflow type")
	cmd.Flags().StringVar(&task, "task", "", "only this task (of the first table)")
	cmd.Flags().DurationVar(&last, "since", 24*time.Hour, "only what happened within this time; 0 means all that is kept, at least 30 days")
	cmd.Flags().DurationVar(&every, "every", 0, "a row for each span of this length, whole minutes; 0 means one for all the time")
	cmd.Flags().Int32Var(&failures, "errors", 10, "most rows of the second table, 0 to 1000")
	_ = cmd.RegisterFlagCompletionFunc("type", a.completeTypes)
	return cmd
}

func (a *app) printTaskStats(answer *apiv1.GetTaskStatsResponse) {
	var rows [][]string
	for _, r := range answer.GetRows() {
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		rows = append(rows, []string{
			stamp(r.GetStart()), r.GetType(), r.GetTask(), count(r.GetDone()), count(r.GetFailed()), count(r.GetRetried()),
			length(r.GetMean()), length(r.GetP50()), length(r.GetP95()), length(r.GetP99()), length(r.GetMax()),
		})
	}
	a.rows([]string{"FROM", "TYPE", "TASK", "DONE", "FAILED", "RETRIED", "MEAN", "P50", "P95", "P99", "MAX"}, rows)
}

func (a *app) printTopErrors(answer *apiv1.GetTopErrorsResponse) {
	var rows [][]string
	for _, r := range answer.GetRows() {
		rows = append(rows, []string{
			strconv.FormatInt(r.GetCount(), 10), r.GetPlace(), r.GetType(), r.GetName(), r.GetCode(), r.GetMessage(), stamp(r.GetLast()), r.GetWorkflowId(),
		})
	}
	a.rows([]string{"COUNT", "WHERE", "TYPE", "NAME", "CODE", "MESSAGE", "LAST", "WORKFLOW ID"}, rows)
}

// length is a duration for people: three digits are enough.
func length(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	std := d.AsDuration()
	for unit := time.Microsecond; unit < time.Hour; unit *= 10 {
		if std < 1000*unit {
			return std.Round(unit).String()
		}
	}
	return std.Round(time.Minute).String()
}
