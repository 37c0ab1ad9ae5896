// Package invoice implements billing.InvoiceService by the invoice service's HTTP API.
package invoice

import (
	"context"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/api"
)

// Service is the invoice service behind a URL. Safe for concurrent use.
type Service struct{ api *api.Client }

var _ billing.InvoiceService = Service{}

// New gives the service at base.
func New(base string) Service { return Service{api.New(base)} }

// Create writes the invoice.
func (s Service) Create(ctx context.Context, order billing.Order) (invoice billing.Invoice, err error) {
	err = s.api.Post(ctx, "/invoices", order, &invoice)
	return invoice, err
}
