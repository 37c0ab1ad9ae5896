package objectstore

import (
	"context"
	"strings"
)

// Within returns the part of a store whose names begin with a prefix, under the names without it. The prefix ends with a
// slash; it counts for the length of names.
func Within(s Store, prefix string) Store { return within{s, prefix} }

type within struct {
	all    Store
	prefix string
}

func (w within) Put(ctx context.Context, name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return w.all.Put(ctx, w.prefix+name, data)
}

func (w within) Get(ctx context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return w.all.Get(ctx, w.prefix+name)
}

func (w within) List(ctx context.Context, prefix string) ([]string, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, err
	}
	names, err := w.all.List(ctx, w.prefix+prefix)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], w.prefix)
	}
	return names, err
}

func (w within) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return w.all.Delete(ctx, w.prefix+name)
}
