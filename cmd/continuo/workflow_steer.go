package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newSignal(a *app) *cobra.Command {
	var (
		t  target
		in input
		id string
	)
	cmd := &cobra.Command{
		Use:     "signal ID NAME",
		Short:   "Send a signal to an open run",
		Example: "  continuo workflow signal billing/17 billing.Unsubscribed --input '{\"until\":24}'",
		Args:    arguments("ID", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			payload, err := in.payload(cmd, a.stdin)
			if err != nil {
				return err
			}
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (*apiv1.SignalWorkflowResponse, error) {
				return api.SignalWorkflow(ctx, &apiv1.SignalWorkflowRequest{
					Namespace: t.namespace, WorkflowId: args[0], RunId: t.runID, Name: args[1], Input: payload, RequestId: id,
				})
			}, func(answer *apiv1.SignalWorkflowResponse) { a.line("Signalled run", answer.GetRunId()) })
		},
	}
	t.flags(cmd)
	in.flags(cmd)
	cmd.Flags().StringVar(&id, "request-id", "", "makes the signal repeatable: the same id counts once")
	return cmd
}

// steer is a request about one run with a reason.
type steer struct {
	target

	id, reason string
}

// newSteer makes a verb that only needs a run and a reason.
func newSteer[A proto.Message](a *app, name, short, done string, request func(context.Context, apiv1.WorkflowServiceClient, steer) (A, error), runID func(A) string) *cobra.Command {
	var s steer
	cmd := &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Args:  arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.id = args[0]
			return call(cmd.Context(), a, func(ctx context.Context, api apiv1.WorkflowServiceClient) (A, error) { return request(ctx, api, s) },
				func(answer A) { a.line(done, runID(answer)) })
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.reason, "reason", "", "why, kept in the history")
	return cmd
}

func newCancel(a *app) *cobra.Command {
	return newSteer(a, "cancel", "Ask an open run to cancel; its code may clean up", "Asked to cancel: run",
		func(ctx context.Context, api apiv1.WorkflowServiceClient, s steer) (*apiv1.CancelWorkflowResponse, error) {
			return api.CancelWorkflow(ctx, &apiv1.CancelWorkflowRequest{Namespace: s.namespace, WorkflowId: s.id, RunId: s.runID, Reason: s.reason})
		}, (*apiv1.CancelWorkflowResponse).GetRunId)
}

func newTerminate(a *app) *cobra.Command {
	return newSteer(a, "terminate", "End an open run at once; its code is not asked", "Terminated run",
		func(ctx context.Context, api apiv1.WorkflowServiceClient, s steer) (*apiv1.TerminateWorkflowResponse, error) {
			return api.TerminateWorkflow(ctx, &apiv1.TerminateWorkflowRequest{Namespace: s.namespace, WorkflowId: s.id, RunId: s.runID, Reason: s.reason})
		}, (*apiv1.TerminateWorkflowResponse).GetRunId)
}

func newRelease(a *app) *cobra.Command {
	return newSteer(a, "release", "Take a run out of quarantine", "Released run",
		func(ctx context.Context, api apiv1.WorkflowServiceClient, s steer) (*apiv1.ReleaseWorkflowResponse, error) {
			return api.ReleaseWorkflow(ctx, &apiv1.ReleaseWorkflowRequest{Namespace: s.namespace, WorkflowId: s.id, RunId: s.runID, Reason: s.reason})
		}, (*apiv1.ReleaseWorkflowResponse).GetRunId)
}
