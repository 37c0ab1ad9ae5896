package flow_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

type Subscription struct {
	Customer string
	Start    time.Time
}

type Period struct {
	Customer string
	Month    time.Time
}

type Amount struct{ Cents int64 }

type Charge struct {
	Customer string
	Amount   Amount
}

type Payment struct{ ID string }

type Invoice struct{ Number string }

type ConsumptionService interface {
	Get(ctx context.Context, p Period) (Amount, error)
}

type PaymentService interface {
	Request(ctx context.Context, c Charge) (Payment, error)
}

type InvoiceService interface {
	Create(ctx context.Context, p Payment) (Invoice, error)
}

type EmailService interface {
	Send(ctx context.Context, i Invoice) error
}

var (
	Monthly      = flow.NewWorkflow[Subscription, int]("billing.Monthly")
	Yearly       = flow.NewWorkflow[Subscription, int]("billing.Yearly")
	Unsubscribed = flow.NewSignal[string]("billing.Unsubscribed")
	LastBilled   = flow.NewView[time.Time]("billing.LastBilled")
)

func next(t time.Time) time.Time { return t.AddDate(0, 1, 0) }

func BillMonthly(ctx flow.Context, sub Subscription) (int, error) {
	left := Unsubscribed.Next(ctx)
	for months, month := 0, sub.Start; ; months, month = months+1, next(month) {
		if flow.First(ctx, flow.At(ctx, next(month)), left) == left {
			return months, nil
		}
		if err := bill(ctx, sub, month); err != nil {
			return months, err
		}
	}
}

func bill(ctx flow.Context, sub Subscription, month time.Time) error {
	amount, err := flow.Call(ctx, ConsumptionService.Get, Period{sub.Customer, month})
	if err != nil {
		return fmt.Errorf("consumption of %s: %w", sub.Customer, err)
	}
	payment, err := flow.Call(ctx, PaymentService.Request, Charge{sub.Customer, amount})
	if err != nil {
		return fmt.Errorf("payment: %w", err)
	}
	invoice, err := flow.Call(ctx, InvoiceService.Create, payment)
	if err != nil {
		return fmt.Errorf("invoice: %w", err)
	}
	if err := flow.Do(ctx, EmailService.Send, invoice); err != nil {
		return fmt.Errorf("email: %w", err)
	}
	LastBilled.Set(ctx, month)
	return nil
}

// BillYearly begins again after each month, so that its history never grows.
func BillYearly(ctx flow.Context, sub Subscription) (int, error) {
	left := Unsubscribed.Next(ctx)
	if flow.First(ctx, flow.At(ctx, next(sub.Start)), left) == left {
		return 0, nil
	}
	if err := bill(ctx, sub, sub.Start); err != nil {
		return 0, err
	}
	sub.Start = next(sub.Start)
	return Yearly.Continue(ctx, sub)
}

// services counts what it is asked for.
type services struct{ charges, emails int }

func (s *services) Get(_ context.Context, p Period) (Amount, error) {
	return Amount{int64(p.Month.Month()) * 100}, nil
}

func (s *services) Request(context.Context, Charge) (Payment, error) {
	s.charges++
	return Payment{fmt.Sprint("p", s.charges)}, nil
}

func (s *services) Create(_ context.Context, p Payment) (Invoice, error) {
	return Invoice{"i-" + p.ID}, nil
}

func (s *services) Send(context.Context, Invoice) error {
	s.emails++
	return nil
}

func (s *services) bindings() []flow.Binding {
	return []flow.Binding{
		Monthly.With(BillMonthly), Yearly.With(BillYearly),
		flow.Service[ConsumptionService](s), flow.Service[PaymentService](s), flow.Service[InvoiceService](s), flow.Service[EmailService](s),
	}
}

func TestMonthlyBillingFor120Months(t *testing.T) {
	t.Parallel()
	for _, w := range []flow.Workflow[Subscription, int]{Monthly, Yearly} {
		t.Run(w.Name(), func(t *testing.T) {
			t.Parallel()
			var s services
			env := flowtest.New(t, s.bindings()...)
			run, err := w.Start(t.Context(), env, Subscription{"ada", env.Now()}, flow.ID("billing/ada"))
			if err != nil {
				t.Fatal(err)
			}
			for range 120 {
				env.AdvanceTo(next(env.Now()))
			}
			last, err := LastBilled.Get(t.Context(), env, run.ID())
			if err != nil || !last.Equal(env.Now().AddDate(0, -1, 0)) {
				t.Errorf("LastBilled = %v, %v", last, err)
			}
			if err := Unsubscribed.Send(t.Context(), env, run.ID(), "moved"); err != nil {
				t.Fatal(err)
			}
			months, err := run.Result(t.Context())
			if err != nil || w.Name() == Monthly.Name() && months != 120 {
				t.Errorf("Result = %d, %v", months, err)
			}
			if s.charges != 120 || s.emails != 120 {
				t.Errorf("%d charges and %d emails in 120 months", s.charges, s.emails)
			}
			flowtest.Replay(t, env.History(run.ID()), (&services{}).bindings()...)
		})
	}
}
