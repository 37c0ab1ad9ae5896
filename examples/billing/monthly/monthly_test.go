package monthly_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/monthly"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// world is the four services in memory. A task answers with what fail says before it does its work. The tests run in
// virtual time on one goroutine at a time.
type world struct {
	charged []billing.Charge
	emails  []billing.Email
	calls   int
	fail    func(service string, month billing.Month, attempt int) error
}

func (w *world) call(ctx context.Context, service string, month billing.Month) error {
	w.calls++
	if w.fail == nil {
		return nil
	}
	return w.fail(service, month, task.Info(ctx).Attempt)
}

type (
	consumption struct{ *world }
	payment     struct{ *world }
	invoice     struct{ *world }
	email       struct{ *world }
)

func (w consumption) Get(ctx context.Context, p billing.Period) (billing.Usage, error) {
	return billing.Usage{AmountCents: int(p.Month)}, w.call(ctx, "consumption", p.Month)
}

func (w payment) Request(ctx context.Context, c billing.Charge) (billing.Payment, error) {
	if err := w.call(ctx, "payment", c.Month); err != nil {
		return billing.Payment{}, err
	}
	w.charged = append(w.charged, c)
	return billing.Payment{ID: fmt.Sprint("ch_", c.Month), AmountCents: c.AmountCents}, nil
}

func (w invoice) Create(ctx context.Context, o billing.Order) (billing.Invoice, error) {
	return billing.Invoice{Number: "INV of " + o.PaymentID}, w.call(ctx, "invoice", o.Month)
}

func (w email) Send(ctx context.Context, e billing.Email) error {
	if err := w.call(ctx, "email", 0); err != nil {
		return err
	}
	w.emails = append(w.emails, e)
	return nil
}
