package flow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

type Order struct {
	Customer string
	Cents    int
}

type Receipt struct{ ID string }

// Payments is a service: a plain interface, which knows nothing of workflows.
type Payments interface {
	Charge(ctx context.Context, o Order) (Receipt, error)
	Refund(ctx context.Context, r Receipt) error
}

// Shipping is another one.
type Shipping interface {
	Send(ctx context.Context, o Order) (string, error)
}

var (
	checkout = flow.NewWorkflow[Order, string]("shop.Checkout")
	charge   = flow.Method(Payments.Charge, flow.Timeout(10*time.Second), flow.Retry(flow.RetryPolicy{Max: time.Minute}))
)

// buy is the code of checkout. When shipping fails for good, or the run is cancelled, the money goes back.
func buy(ctx flow.Context, o Order) (string, error) {
	receipt, err := charge.Call(ctx, o)
	if err != nil {
		return "", fmt.Errorf("charge: %w", err)
	}
	parcel, err := flow.Call(ctx, Shipping.Send, o)
	if err != nil {
		if err := flow.Do(flow.WithoutCancel(ctx), Payments.Refund, receipt); err != nil {
			return "", fmt.Errorf("refund: %w", err)
		}
		return "", fmt.Errorf("shipping: %w", err)
	}
	return parcel, nil
}

type payments struct{}

func (payments) Charge(ctx context.Context, _ Order) (Receipt, error) {
	return Receipt{"receipt of step " + fmt.Sprint(task.Info(ctx).ID.Step)}, nil
}

func (payments) Refund(_ context.Context, r Receipt) error {
	fmt.Println("refunded", r.ID)
	return nil
}

type shipping struct{}

func (shipping) Send(_ context.Context, o Order) (string, error) {
	if o.Customer == "nowhere" {
		return "", task.Permanent(task.Failure("no_address", "there is no such place"))
	}
	return "parcel for " + o.Customer, nil
}

// exampleTB stands in for the test that an example does not have.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                           {}
func (exampleTB) Cleanup(func())                    {}
func (exampleTB) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }

// A workflow pilots two services and compensates. The test runs it with the bindings of a worker.
func Example() {
	var t exampleTB // in a test: t *testing.T
	env := flowtest.New(t, checkout.With(buy), flow.Service[Payments](payments{}), flow.Service[Shipping](shipping{}))

	parcel, err := checkout.Run(context.Background(), env, Order{"Ada", 1200}, flow.ID("order/1"))
	fmt.Println(parcel, err)

	_, err = checkout.Run(context.Background(), env, Order{"nowhere", 1200}, flow.ID("order/2"))
	var failed *flow.RunError
	fmt.Println(errors.As(err, &failed), failed.Code)
	// Output:
	// parcel for Ada <nil>
	// refunded receipt of step 1
	// true no_address
}

// A hundred calls at a time, and all their results.
func ExampleGo() {
	total := func(ctx flow.Context, orders []Order) (int, error) {
		var parts []*flow.Future[Receipt]
		for _, o := range orders {
			parts = append(parts, flow.Go(ctx, charge.Call, o))
		}
		receipts, err := flow.All(ctx, parts...)
		return len(receipts), err
	}
	batch := flow.NewWorkflow[[]Order, int]("shop.Batch")
	env := flowtest.New(exampleTB{}, batch.With(total), flow.Service[Payments](payments{}))
	fmt.Println(batch.Run(context.Background(), env, make([]Order, 100)))
	// Output: 100 <nil>
}

// Whatever comes first: the signal, or the end of an hour.
func ExampleFirst() {
	approval := flow.NewSignal[string]("shop.Approval")
	wait := func(ctx flow.Context, _ flow.None) (string, error) {
		approved := approval.Next(ctx)
		if flow.First(ctx, approved, flow.After(ctx, time.Hour)) != approved {
			return "nobody approved", nil
		}
		return approved.Await(ctx)
	}
	request := flow.NewWorkflow[flow.None, string]("shop.Request")
	env := flowtest.New(exampleTB{}, request.With(wait))

	run, _ := request.Start(context.Background(), env, flow.None{}, flow.ID("request/1"))
	_ = approval.Send(context.Background(), env, run.ID(), "approved by Grace")
	fmt.Println(run.Result(context.Background()))

	fmt.Println(request.Run(context.Background(), env, flow.None{}, flow.ID("request/2")))
	// Output:
	// approved by Grace <nil>
	// nobody approved <nil>
}

// A loop without end keeps its history short: each round begins again with what it needs to know.
func ExampleWorkflow_Continue() {
	counter := flow.NewWorkflow[int, int]("shop.Counter")
	count := func(ctx flow.Context, n int) (int, error) {
		if err := flow.Sleep(ctx, time.Hour); err != nil {
			return n, err
		}
		if n == 24 {
			return n, nil
		}
		return counter.Continue(ctx, n+1)
	}
	env := flowtest.New(exampleTB{}, counter.With(count))
	fmt.Println(counter.Run(context.Background(), env, 1))
	// Output: 24 <nil>
}

// A step is for work that needs no worker of its own; its result is recorded.
func ExampleStep() {
	hello := flow.NewWorkflow[string, string]("shop.Hello")
	code := func(ctx flow.Context, name string) (string, error) {
		return flow.Step(ctx, "greet", func(context.Context) (string, error) { return "Hello, " + name, nil })
	}
	env := flowtest.New(exampleTB{}, hello.With(code))
	fmt.Println(hello.Run(context.Background(), env, "Ada"))
	// Output: Hello, Ada <nil>
}
