package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
)

func newWorkflow(a *app) *cobra.Command {
	parent := &cobra.Command{Use: "workflow", Aliases: []string{"wf"}, Short: "Start, steer and look at workflows"}
	parent.AddCommand(
		newStart(a), newList(a), newCount(a), newDescribe(a), newHistory(a), newResult(a), newSignal(a),
		newCancel(a), newTerminate(a), newRelease(a), newView(a),
	)
	return parent
}

// target is the run that a verb is about.
type target struct{ namespace, runID string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.namespace, "namespace", fromEnv("CONTINUO_NAMESPACE", ""), "namespace (CONTINUO_NAMESPACE; default \"default\")")
	cmd.Flags().StringVar(&t.runID, "run-id", "", "this run and no newer one of the workflow id")
}

// input is a payload from a flag, a file or the standard input.
type input struct{ text, file string }

func (i *input) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&i.text, "input", "i", "", "input as JSON; - reads it from the standard input")
	cmd.Flags().StringVarP(&i.file, "input-file", "f", "", "file with the input as JSON; - reads the standard input")
	cmd.MarkFlagsMutuallyExclusive("input", "input-file")
}

// maxInput bounds what is read from a file or the standard input: more than any server takes.
const maxInput = 64 << 20

func (i *input) payload(stdin io.Reader) (*apiv1.Payload, error) {
	data, from := []byte(i.text), "--input"
	switch {
	case i.text == "-" || i.file == "-":
		read, err := io.ReadAll(io.LimitReader(stdin, maxInput))
		if err != nil {
			return nil, usage("cannot read the input from the standard input: %s", err)
		}
		data, from = read, "the standard input"
	case i.file != "":
		read, err := os.ReadFile(i.file)
		if err != nil {
			return nil, usage("cannot read the input: %s", err)
		}
		data, from = read, i.file
	case i.text == "":
		return nil, nil //nolint:nilnil // no input is a value of its own
	}
	compact, err := wire.CompactJSON(data)
	if err != nil {
		return nil, usage("the input from %s is not JSON: %s", from, err)
	}
	return &apiv1.Payload{Encoding: "json", Data: compact}, nil
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
