package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/continuo-dev/continuo/internal/objectstore"
)

// Objects are objects in memory. The zero value is empty and ready for use; its methods may be called from any goroutine.
type Objects struct {
	mu   sync.Mutex
	data map[string][]byte
}

var _ objectstore.Store = (*Objects)(nil)

// Put keeps a copy of the data.
func (o *Objects) Put(_ context.Context, name string, data []byte) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	if len(data) > objectstore.MaxObjectBytes {
		return fmt.Errorf("object %s has %d bytes, and the limit is %d", name, len(data), objectstore.MaxObjectBytes)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.data == nil {
		o.data = map[string][]byte{}
	}
	o.data[name] = slices.Clone(data)
	return nil
}

// Get returns a copy.
func (o *Objects) Get(_ context.Context, name string) ([]byte, error) {
	if err := objectstore.CheckName(name); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	data, ok := o.data[name]
	if !ok {
		return nil, fmt.Errorf("object %s: %w", name, objectstore.ErrNotFound)
	}
	return slices.Clone(data), nil
}

// List looks at all names.
func (o *Objects) List(_ context.Context, prefix string) ([]string, error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	names := slices.Sorted(maps.Keys(o.data))
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) }), nil
}

// Delete forgets an object.
func (o *Objects) Delete(_ context.Context, name string) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.data, name)
	return nil
}
