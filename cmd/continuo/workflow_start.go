package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// waitStep is how long one poll for a result lasts; the server takes at most 60 s.
const waitStep = 30 * time.Second

func newStart(a *app) *cobra.Command {
	var (
		request apiv1.StartWorkflowRequest
		in      input
		policy  string
		timeout time.Duration
		wait    bool
	)
	cmd := &cobra.Command{
		Use:   "start --type TYPE [--id ID]",
		Short: "Start a run",
		Example: "  continuo workflow start --type billing.Monthly --id billing/17 --input '{\"customer\":17}'\n" +
			"  echo '{\"name\":\"Ada\"}' | continuo workflow start --type hello.Greet --input - --wait",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			payload, err := in.payload(cmd, a.stdin)
			if err != nil {
				return err
			}
			request.Input = payload
			if request.IdPolicy, err = parsePolicy(policy); err != nil {
				return err
			}
			if err := notNegative("run-timeout", timeout); err != nil {
				return err
			}
			if timeout > 0 {
				request.RunTimeout = durationpb.New(timeout)
			}
			api, done, err := a.connect()
			if err != nil {
				return err
			}
			defer done()
			answer, err := api.StartWorkflow(cmd.Context(), &request)
			if err != nil {
				return err
			}
			if wait {
				return a.await(cmd.Context(), api, &apiv1.GetResultRequest{
					Namespace: request.GetNamespace(), WorkflowId: answer.GetWorkflowId(), RunId: answer.GetRunId(),
				}, 0)
			}
			return a.print(answer, func() {
				what := "Started"
				if !answer.GetStarted() {
					what = "Already there:"
				}
				a.line(what, answer.GetWorkflowId(), "run", answer.GetRunId())
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Type, "type", "", "workflow type, such as billing.Monthly")
	f.StringVar(&request.WorkflowId, "id", "", "workflow id: your own key of the process (one is made if empty)")
	f.StringVar(&request.RunId, "run-id", "", "run id, a UUID: makes the start repeatable")
	f.StringVar(&request.Queue, "queue", "", "task queue (default \"default\")")
	f.StringVar(&request.Namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	f.StringVar(&policy, "id-policy", "reject-open", strings.Join(policies, ", "))
	f.DurationVar(&timeout, "run-timeout", 0, "end the run after this time; 0 means never")
	f.BoolVar(&wait, "wait", false, "wait for the end and print the result")
	in.flags(cmd)
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.RegisterFlagCompletionFunc("type", a.completeTypes)
	offer(cmd, "id-policy", policies)
	return cmd
}

// policies are the names of the id policies, in the order of the enum from 1.
var policies = []string{"reject-open", "terminate-open", "attach-open", "reject-any"} //nolint:gochecknoglobals // a fixed table

func parsePolicy(name string) (apiv1.IDPolicy, error) {
	i := slices.Index(policies, name)
	if i < 0 {
		return 0, usage("--id-policy is %q; use one of %s", name, strings.Join(policies, ", "))
	}
	return apiv1.IDPolicy(i + 1), nil
}

func newResult(a *app) *cobra.Command {
	var (
		t       target
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "result ID",
		Short: "Wait for the end of a run and print its result",
		Args:  arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notNegative("timeout", timeout); err != nil {
				return err
			}
			api, done, err := a.connect()
			if err != nil {
				return err
			}
			defer done()
			return a.await(cmd.Context(), api, &apiv1.GetResultRequest{Namespace: t.namespace, WorkflowId: args[0], RunId: t.runID}, timeout)
		},
	}
	t.flags(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "longest wait; 0 means until the end")
	return cmd
}

// await polls until the run has ended, prints its result and fails when the run did not complete.
func (a *app) await(ctx context.Context, api apiv1.WorkflowServiceClient, request *apiv1.GetResultRequest, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		step := waitStep
		if timeout > 0 {
			step = min(step, max(time.Until(deadline), 0))
		}
		request.Wait = durationpb.New(step)
		answer, err := api.GetResult(ctx, request)
		if err != nil {
			return err
		}
		outcome := answer.GetOutcome()
		request.RunId = outcome.GetRunId()
		if outcome.GetStatus() == apiv1.Status_STATUS_RUNNING {
			if timeout > 0 && !time.Now().Before(deadline) {
				return &verdictError{exitNotDone, "run " + outcome.GetRunId() + " of " + request.GetWorkflowId() + " has not ended within " + timeout.String()}
			}
			continue
		}
		if err := a.print(outcome, func() {
			if outcome.GetStatus() == apiv1.Status_STATUS_COMPLETED {
				a.line(show(outcome.GetResult()))
			}
		}); err != nil {
			return err
		}
		if outcome.GetStatus() != apiv1.Status_STATUS_COMPLETED {
			return &verdictError{exitNotDone, "run " + outcome.GetRunId() + " " + statusName(outcome.GetStatus()) + ": " + failureText(outcome.GetFailure())}
		}
		return nil
	}
}
