// Package pay has a dot in the last element of its path.
package pay

import "context"

// Service has every shape of method.
type Service interface {
	Zero(ctx context.Context) (int, error)
	One(ctx context.Context, a int) (string, error)
	Two(ctx context.Context, a int, b string) (string, error)
	Three(ctx context.Context, a int, b string, c []byte) (string, error)
	Act0(ctx context.Context) error
	Act1(ctx context.Context, a int) error
	Act2(ctx context.Context, a int, b string) error
	Act3(ctx context.Context, a int, b string, c bool) error
}

// Alias is Service.
type Alias = Service

// Wide embeds Service.
type Wide interface {
	Service
	More(ctx context.Context, a int) (int, error)
}

// Store is generic.
type Store[K comparable, V any] interface {
	Get(ctx context.Context, key K) (V, error)
}
