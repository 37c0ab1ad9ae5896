package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newAdmin(a *app) *cobra.Command {
	return group("admin", "Look at how the server itself is", newAdminPartitions(a))
}

func newAdminPartitions(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "partitions",
		Short: "List the partitions of the log: owner, epoch, state, and how far scheduler, read model and checkpoint are behind",
		Long: "Lists the partitions of the log: the process that owns each, its epoch and state, and how far behind the end of the log three readers\n" +
			"are, in records and by the age of the oldest of them: the scheduler by its stored index, the projector by the read model, and the engine's\n" +
			"newest checkpoint, from which a new owner goes on.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.ListPartitionsResponse, error) {
				return api.ListPartitions(ctx, &apiv1.ListPartitionsRequest{})
			}, func(answer *apiv1.ListPartitionsResponse) {
				var rows [][]string
				for _, p := range answer.GetPartitions() {
					rows = append(rows, []string{
						strconv.Itoa(int(p.GetPartition())), orNone(p.GetOwner()), strconv.FormatUint(p.GetEpoch(), 10), p.GetState(),
						strconv.FormatUint(p.GetLastSeq(), 10), behind(p.GetScheduler()), behind(p.GetProjector()), behind(p.GetCheckpoint()), orNone(p.GetReason()),
					})
				}
				a.rows([]string{"PARTITION", "OWNER", "EPOCH", "STATE", "LAST", "SCHEDULER LAG", "PROJECTOR LAG", "CHECKPOINT LAG", "REASON"}, rows)
				a.line("scheduler: " + orNone(answer.GetScheduler()) + ", projector: " + orNone(answer.GetProjector()))
			})
		},
	}
}

// behind says how far a reader is behind: records, and the age of the oldest of them.
func behind(r *apiv1.PartitionReader) string {
	switch {
	case r == nil:
		return "-"
	case r.GetLagRecords() == 0:
		return "0"
	case r.GetLag() == nil:
		return strconv.FormatUint(r.GetLagRecords(), 10)
	}
	return strconv.FormatUint(r.GetLagRecords(), 10) + " (" + r.GetLag().AsDuration().Round(10*time.Millisecond).String() + ")"
}

// orNone is a text, or a dash for none.
func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
