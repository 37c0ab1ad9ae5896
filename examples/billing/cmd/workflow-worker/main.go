// Command workflow-worker runs the code of monthly billing. It knows the services' interfaces and no service: it needs
// the address of a Continuo server and nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/continuo-dev/continuo/examples/billing/monthly"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "workflow-worker:", err)
		os.Exit(1)
	}
}

// run works until ctx ends, then lets the code in hand come to its next wait.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("workflow-worker", flag.ContinueOnError)
	server := flags.String("server", "127.0.0.1:7481", "gRPC address of the Continuo server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	options, err := client.FromEnv() // TLS and token, for a server that wants them
	if err != nil {
		return err
	}
	c, err := client.Dial(*server, options)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is in flight after the worker has drained
	w, err := worker.New(c, monthly.Billing.With(monthly.Bill))
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
