// Package monthly is monthly billing: the process that joins four services which know nothing of each other or of it.
package monthly

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// The process as others see it: they start a run of Billing for each customer, send it Unsubscribed to end it, and read
// LastBilled to see how far it is.
var (
	Billing      = flow.NewWorkflow[Subscription, Statement]("billing.Monthly")
	Unsubscribed = flow.NewSignal[Unsubscription]("billing.Unsubscribed")
	LastBilled   = flow.NewView[billing.Month]("billing.LastBilled")
)

// Bill is the code of Billing.
func Bill(ctx flow.Context, sub Subscription) (Statement, error) {
	unsubscribed := Unsubscribed.Next(ctx)
	for month := sub.Billed.LastMonth + 1; ; month++ {
		monthEnd := flow.At(ctx, sub.end(month))
		if sub.Left == nil && flow.First(ctx, unsubscribed, monthEnd) == unsubscribed {
			left, err := unsubscribed.Await(ctx)
			if err != nil {
				return sub.Billed, err
			}
			sub.Left = &left
		}
		if sub.Left != nil && month > sub.Left.Until {
			return sub.Billed, nil
		}
		if _, err := monthEnd.Await(ctx); err != nil {
			return sub.Billed, err
		}

		usage, err := flow.Call(ctx, billing.ConsumptionService.Get, billing.Period{Customer: sub.Customer, Month: month})
		if err != nil {
			return sub.Billed, fmt.Errorf("consumption of month %d: %w", month, err)
		}
		payment, err := flow.Call(ctx, billing.PaymentService.Request, billing.Charge{Customer: sub.Customer, Month: month, AmountCents: usage.AmountCents})
		if err != nil {
			return sub.Billed, fmt.Errorf("payment for month %d: %w", month, err)
		}
		invoice, err := flow.Call(ctx, billing.InvoiceService.Create, sub.order(month, payment))
		if err != nil {
			return sub.Billed, fmt.Errorf("invoice for month %d: %w", month, err)
		}
		if err := flow.Do(ctx, billing.EmailService.Send, sub.email(month, invoice)); err != nil {
			return sub.Billed, fmt.Errorf("email for month %d: %w", month, err)
		}

		sub.Billed = Statement{LastMonth: month, TotalCents: sub.Billed.TotalCents + payment.AmountCents}
		LastBilled.Set(ctx, month)
		// A subscription has no end in sight, and its history would have none. After each year the code begins again with
		// what it knows: so replay never reads more than a year, at the price of one event for it. A signal that has come
		// meanwhile is not lost, because signals that nobody took stay in the run's inbox.
		if month%12 == 0 {
			return Billing.Continue(ctx, sub)
		}
	}
}

// Subscription says what to bill. Whoever starts a run gives the first three fields; the others are what the process
// itself takes along from year to year.
type Subscription struct {
	Customer string    `json:"customer"`
	Start    time.Time `json:"start"`
	// MonthLength is the length of every month in nanoseconds; 0 means calendar months.
	MonthLength time.Duration `json:"month_length_ns,omitempty"`

	Billed Statement       `json:"billed,omitzero"`
	Left   *Unsubscription `json:"left,omitempty"` // nil while subscribed
}

// Unsubscription ends a subscription with the month Until. Every month up to it is billed, however late it is; when
// later ones are billed already, nothing more is.
type Unsubscription struct {
	Until billing.Month `json:"until"`
}

// Statement says what was billed: months 1 to LastMonth.
type Statement struct {
	LastMonth  billing.Month `json:"last_month"`
	TotalCents int           `json:"total_cents"`
}

// end is when a month of the subscription is over. A calendar month that lacks the day of the start ends on its last day.
func (s Subscription) end(month billing.Month) time.Time {
	if s.MonthLength > 0 {
		return s.Start.Add(time.Duration(month) * s.MonthLength)
	}
	end := s.Start.AddDate(0, int(month), 0)
	if end.Day() != s.Start.Day() {
		end = end.AddDate(0, 0, -end.Day()) // AddDate went on into the next month
	}
	return end
}

func (s Subscription) order(month billing.Month, payment billing.Payment) billing.Order {
	return billing.Order{Customer: s.Customer, Month: month, AmountCents: payment.AmountCents, PaymentID: payment.ID}
}

func (s Subscription) email(month billing.Month, invoice billing.Invoice) billing.Email {
	return billing.Email{
		Customer: s.Customer,
		Subject:  "Your invoice " + invoice.Number,
		Body:     fmt.Sprintf("Dear %s,\n\nthe invoice for month %d is %s. Thank you!\n", s.Customer, month, invoice.Number),
	}
}
