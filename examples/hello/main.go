// Command hello is the smallest complete Continuo program: a service, a workflow that pilots it, and the whole suite, a
// worker and a client in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
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
	ctx := context.Background()
	suite, err := embedded.Start(ctx, embedded.Options{}, welcome.With(runWelcome), flow.Service[Greeter](greeter{}))
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := welcome.Run(ctx, suite, "Ada", flow.ID("hello"))
	if err = errors.Join(err, suite.Close()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(greeting)
}
