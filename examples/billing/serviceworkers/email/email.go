// Package email implements billing.EmailService by the email service's HTTP API.
package email

import (
	"context"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/api"
)

// Service is the email service behind a URL. Safe for concurrent use.
type Service struct{ api *api.Client }

var _ billing.EmailService = Service{}

// New gives the service at base.
func New(base string) Service { return Service{api.New(base)} }

// Send hands the email over.
func (s Service) Send(ctx context.Context, email billing.Email) error {
	var receipt struct{ ID string }
	return s.api.Post(ctx, "/emails", email, &receipt)
}
