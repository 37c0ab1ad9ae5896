package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// completionTime is how long the shell waits for words that the server knows. Without an answer it offers none.
const completionTime = time.Second

// completions is how many words the server is asked for.
const completions = 50

// completeRuns offers workflow ids for the first argument of a verb.
func (a *app) completeRuns(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	a.ask(cmd, func(ctx context.Context, api apiv1.WorkflowServiceClient) {
		answer, err := api.ListWorkflows(ctx, &apiv1.ListWorkflowsRequest{WorkflowIdPrefix: begin, PageSize: completions})
		if err != nil {
			return
		}
		for _, w := range answer.GetWorkflows() {
			ids = append(ids, w.GetWorkflowId()+"\t"+w.GetType()+" "+statusName(w.GetStatus()))
		}
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeTypes offers the workflow types that have runs or workers.
func (a *app) completeTypes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var types []string
	a.ask(cmd, func(ctx context.Context, api apiv1.WorkflowServiceClient) {
		if answer, err := api.CountWorkflows(ctx, &apiv1.CountWorkflowsRequest{}); err == nil {
			for _, g := range answer.GetGroups() {
				types = append(types, g.GetType())
			}
		}
		if answer, err := api.ListWorkers(ctx, &apiv1.ListWorkersRequest{}); err == nil {
			for _, w := range answer.GetWorkers() {
				types = append(types, w.GetWorkflows()...)
			}
		}
	})
	slices.Sort(types)
	return slices.Compact(types), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) ask(cmd *cobra.Command, question func(context.Context, apiv1.WorkflowServiceClient)) {
	parent := cmd.Context()
	if parent == nil { // cobra completes without one
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	if api, done, err := a.connect(); err == nil {
		question(ctx, api)
		done()
	}
}

// offer completes the values of a flag from a fixed table.
func offer(cmd *cobra.Command, flag string, values []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
}
