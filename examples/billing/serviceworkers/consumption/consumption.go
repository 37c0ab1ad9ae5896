// Package consumption implements billing.ConsumptionService by the consumption service's HTTP API.
package consumption

import (
	"context"
	"fmt"
	"net/url"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/api"
)

// Service is the consumption service behind a URL. Safe for concurrent use.
type Service struct{ api *api.Client }

var _ billing.ConsumptionService = Service{}

// New gives the service at base.
func New(base string) Service { return Service{api.New(base)} }

// Get reads the usage of a month.
func (s Service) Get(ctx context.Context, period billing.Period) (usage billing.Usage, err error) {
	err = s.api.Get(ctx, fmt.Sprintf("/customers/%s/usage/%d", url.PathEscape(period.Customer), period.Month), &usage)
	return usage, err
}
