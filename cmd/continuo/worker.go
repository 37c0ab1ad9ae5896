package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newWorker(a *app) *cobra.Command {
	return group("worker", "Look at workers and task queues", newWorkerList(a), newWorkerQueues(a))
}

func newWorkerList(a *app) *cobra.Command {
	var queue string
	list := &cobra.Command{
		Use:   "list",
		Short: "List the workers connected now",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.ListWorkersResponse, error) {
				return api.ListWorkers(ctx, &apiv1.ListWorkersRequest{Queue: queue})
			}, func(answer *apiv1.ListWorkersResponse) {
				var rows [][]string
				for _, w := range answer.GetWorkers() {
					rows = append(rows, []string{
						w.GetIdentity(), w.GetBuild(), w.GetQueue(),
						places(w.GetRunningTasks(), w.GetTaskSlots()), places(w.GetRunningActivations(), w.GetActivationSlots()),
						strings.Join(append(w.GetWorkflows(), w.GetTasks()...), " "),
					})
				}
				a.rows([]string{"WORKER", "BUILD", "QUEUE", "TASKS", "ACTIVATIONS", "OFFERS"}, rows)
			})
		},
	}
	list.Flags().StringVar(&queue, "queue", "", "only workers of this task queue")
	return list
}

func newWorkerQueues(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "queues",
		Short: "List the task queues with their backlog",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.ListQueuesResponse, error) {
				return api.ListQueues(ctx, &apiv1.ListQueuesRequest{})
			}, func(answer *apiv1.ListQueuesResponse) {
				var rows [][]string
				for _, q := range answer.GetQueues() {
					rows = append(rows, []string{
						q.GetQueue(), strconv.Itoa(int(q.GetWorkers())),
						strconv.Itoa(int(q.GetFreeTaskSlots())), strconv.FormatInt(q.GetWaitingTasks(), 10),
						strconv.Itoa(int(q.GetFreeActivationSlots())), strconv.FormatInt(q.GetWaitingActivations(), 10),
					})
				}
				a.rows([]string{"QUEUE", "WORKERS", "FREE TASK SLOTS", "WAITING TASKS", "FREE ACTIVATION SLOTS", "WAITING ACTIVATIONS"}, rows)
			})
		},
	}
}

// places shows how many of a worker's places are taken.
func places(taken, all int32) string { return strconv.Itoa(int(taken)) + "/" + strconv.Itoa(int(all)) }
