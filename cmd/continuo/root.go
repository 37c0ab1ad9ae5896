package main

import (
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// app is what every verb shares.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	addr           string
	output         string
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "continuo",
		Short: "Durable orchestration for event-driven services",
		Long: "Continuo runs workflows written as plain Go and keeps them going through crashes, outages and deploys.\n\n" +
			"Begin with 'continuo dev': a server on this machine, nothing else needed.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"table", "json"}, a.output) {
				return usage("--output is %q; use table or json", a.output)
			}
			return nil
		},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%s", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&a.addr, "addr", fromEnv("CONTINUO_ADDR", "127.0.0.1:7481"), "gRPC address of the server (CONTINUO_ADDR)")
	flags.StringVarP(&a.output, "output", "o", fromEnv("CONTINUO_OUTPUT", "table"), "table or json (CONTINUO_OUTPUT)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(newDev(a), newServe(a), newWorkflow(a), newWorker(a), newStore(a), newVersion(a))
	return root
}

func fromEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// connect returns the API of the server that --addr names. It does not wait for the server.
func (a *app) connect() (apiv1.WorkflowServiceClient, func(), error) {
	conn, err := grpc.NewClient(a.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, usage("--addr %q is not an address: %s", a.addr, err)
	}
	return apiv1.NewWorkflowServiceClient(conn), func() { _ = conn.Close() }, nil
}
