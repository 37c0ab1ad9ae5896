package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// The workflows of the scripts.
var (
	greet   = flow.NewWorkflow[string, string]("cli.Greet")   // one task
	lookup  = flow.NewWorkflow[flow.None, string]("cli.Fail") // a failure with a code
	waiting = flow.NewWorkflow[flow.None, string]("cli.Wait") // a view, then a signal
	hello   = flow.NewTask[string, string]("cli.Hello")
	goOn    = flow.NewSignal[string]("cli.Go")
	state   = flow.NewView[string]("cli.State")
)

func bindings() []flow.Binding {
	return []flow.Binding{
		hello.With(func(_ context.Context, name string) (string, error) { return "Hello, " + name, nil }),
		greet.With(hello.Call),
		lookup.With(func(flow.Context, flow.None) (string, error) {
			return "", flow.Fail("no_such_city", "there is no Atlantis")
		}),
		waiting.With(func(ctx flow.Context, _ flow.None) (string, error) {
			state.Set(ctx, "waiting")
			word, err := goOn.Next(ctx).Await(ctx)
			state.Set(ctx, "done")
			return word, err
		}),
	}
}

// workerMain is a program that runs a worker for the server at CONTINUO_ADDR until it is interrupted.
func workerMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := client.Dial(os.Getenv("CONTINUO_ADDR"), client.Options{Identity: "testworker"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	parts := []worker.Option{worker.Options{DrainTimeout: time.Second, Build: "b1", Log: slog.New(slog.DiscardHandler)}}
	for _, b := range bindings() {
		parts = append(parts, b)
	}
	w, err := worker.New(c, parts...)
	if err == nil {
		err = w.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
