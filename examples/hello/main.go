// Command hello is the smallest complete program: a service, a workflow, and the suite with worker and client in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/continuo-dev/continuo/pkg/embedded"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// region example

// Greeter is a service: a plain interface that knows nothing of workflows.
type Greeter interface {
	Greet(ctx context.Context, name string) (string, error)
	Shout(ctx context.Context, text string) (string, error)
}

type greeter struct{}

func (greeter) Greet(_ context.Context, name string) (string, error) { return "Hello, " + name, nil }

func (greeter) Shout(_ context.Context, text string) (string, error) {
	return strings.ToUpper(text) + "!", nil
}

var welcome = flow.NewWorkflow[string, string]("hello.Welcome")

// runWelcome is the workflow. Each call survives crashes of this process and is never repeated once it has succeeded.
func runWelcome(ctx flow.Context, name string) (string, error) {
	greeting, err := flow.Call(ctx, Greeter.Greet, name)
	if err != nil {
		return "", err
	}
	return flow.Call(ctx, Greeter.Shout, greeting)
}

// endregion

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	suite, err := embedded.Start(ctx, embedded.Options{}, welcome.With(runWelcome), flow.Service[Greeter](greeter{}))
	if err != nil {
		return err
	}
	greeting, err := welcome.Run(ctx, suite, "Ada", flow.ID("hello"))
	fmt.Println(greeting)
	return errors.Join(err, suite.Close())
}
