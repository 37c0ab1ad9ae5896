package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func newWorkflow(a *app) *cobra.Command {
	parent := group("workflow", "Start, steer and look at workflows",
		newStart(a), newList(a), newCount(a), newDescribe(a), newHistory(a), newResult(a), newSignal(a),
		newCancel(a), newTerminate(a), newRelease(a), newView(a))
	parent.Aliases = []string{"wf"}
	return parent
}

// target is the run that a verb is about.
type target struct{ namespace, runID string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	cmd.Flags().StringVar(&t.runID, "run-id", "", "this run and no newer one of the workflow id")
}

// call connects, makes one request and prints its answer.
func call[A proto.Message](ctx context.Context, a *app, request func(context.Context, apiv1.WorkflowServiceClient) (A, error), table func(A)) error {
	api, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	answer, err := request(ctx, api)
	if err != nil {
		return err
	}
	return a.print(answer, func() { table(answer) })
}
