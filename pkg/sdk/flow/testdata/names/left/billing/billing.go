// Package billing is one of two packages of this name.
package billing

import "context"

// Service is named like the other package's.
type Service interface {
	Get(ctx context.Context, id int) (string, error)
}
