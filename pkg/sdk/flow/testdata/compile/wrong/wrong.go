// Package wrong holds mistakes that the compiler finds. Each line with a comment ERROR must be refused, and no other.
package wrong

import (
	"context"
	"net/http"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

type charge struct{ Cents int }

type payment struct{ ID string }

type paymentService interface {
	Request(ctx context.Context, c charge) (payment, error)
	Refund(ctx context.Context, p payment) error
	Split(ctx context.Context, a, b charge) (payment, error)
}

type wrongService struct{}

func (wrongService) Request(context.Context, payment) (payment, error) { return payment{}, nil }

var (
	pay      = flow.NewTask[charge, payment]("wrong.Pay")
	monthly  = flow.NewWorkflow[charge, payment]("wrong.Monthly")
	left     = flow.NewSignal[string]("wrong.Left")
	view     = flow.NewView[int]("wrong.View")
	request  = flow.Method(paymentService.Request)
	variadic = flow.Method(interface { // ERROR
		Many(ctx context.Context, n ...int) (int, error)
	}.Many)
)

func code(ctx flow.Context, c charge) (payment, error) {
	_, _ = http.NewRequestWithContext(ctx, "GET", "http://example.com", nil) // ERROR
	_, _ = context.WithTimeout(ctx, time.Second)                              // ERROR
	_, _ = pay.Call(ctx, payment{})                                           // ERROR
	_, _ = request.Call(ctx, "a charge")                                      // ERROR
	_, _ = flow.Call(ctx, paymentService.Request, payment{})                  // ERROR
	_, _ = flow.Call(ctx, paymentService.Refund, payment{})                   // ERROR
	_, _ = flow.Call(ctx, paymentService.Split, c)                            // ERROR
	_ = flow.Do(ctx, paymentService.Request, c)                               // ERROR
	_, _ = flow.Call(ctx, paymentService.Misspelt, c)                         // ERROR
	_ = flow.Go(ctx, pay.Call, "a charge")                                    // ERROR
	view.Set(ctx, "one")                                                      // ERROR
	var s string
	s, _ = left.Next(ctx).Await(ctx)
	s, _ = pay.Call(ctx, c) // ERROR
	_ = s
	_ = flow.First(ctx, pay)                              // ERROR
	_, _ = flow.Step(ctx, "x", func() (int, error) { return 0, nil }) // ERROR
	_, _ = monthly.Continue(ctx, payment{})               // ERROR
	_ = pay.Opt(flow.ID("x"))                             // ERROR
	return pay.Call(ctx, c)
}

func task(ctx context.Context, c charge) (payment, error) {
	_ = flow.Sleep(ctx, time.Second) // ERROR
	return pay.Call(ctx, c)          // ERROR
}

func outside(ctx context.Context, client flow.Client) {
	_, _ = monthly.Start(ctx, client, payment{})                  // ERROR
	_, _ = monthly.Start(ctx, client, charge{}, flow.Timeout(1))  // ERROR
	_ = left.Send(ctx, client, "id", 7)                           // ERROR
	run, _ := monthly.Start(ctx, client, charge{}, flow.ID("id"))
	var out charge
	out, _ = run.Result(ctx) // ERROR
	_ = out
}

var bindings = []flow.Binding{
	monthly.With(code),
	pay.With(task),
	pay.With(code),                                // ERROR
	monthly.With(task),                            // ERROR
	flow.Service[paymentService](wrongService{}),  // ERROR
	request.With(func(context.Context, charge) {}), // ERROR
}
