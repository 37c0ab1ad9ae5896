// Package payment implements billing.PaymentService by the payment service's HTTP API.
package payment

import (
	"context"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/api"
)

// Service is the payment service behind a URL. Safe for concurrent use.
type Service struct{ api *api.Client }

var _ billing.PaymentService = Service{}

// New gives the service at base.
func New(base string) Service { return Service{api.New(base)} }

// Request takes the money. The service charges once for all attempts of a task, because they carry the same key.
func (s Service) Request(ctx context.Context, charge billing.Charge) (payment billing.Payment, err error) {
	err = s.api.Post(ctx, "/charges", charge, &payment)
	return payment, err
}
