package segments

import (
	"context"
	"errors"
	"sync"

	"github.com/continuo-dev/continuo/internal/objectstore"
)

var errPlanned = errors.New("a planned failure")

// faulty are objects of which one process's n-th operation fails, and all after it if the process dies with it.
type faulty struct {
	objectstore.Store

	mu   sync.Mutex
	left int  // operations until one fails; 0 means that none does
	done bool // it is done all the same
	dies bool // and so is the process
	dead bool
}

// plan lets the n-th operation from now on fail.
func (f *faulty) plan(n int, done, dies bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.done, f.dies = n, done, dies
}

// isDead reports whether the process has died of it.
func (f *faulty) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// planned reports whether the failure is still to come.
func (f *faulty) planned() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left > 0
}

func (f *faulty) next() (fails, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return true, false
	}
	if f.left == 0 {
		return false, false
	}
	if f.left--; f.left > 0 {
		return false, false
	}
	f.dead = f.dies
	return true, f.done
}

func (f *faulty) do(op func() error) error {
	fails, done := f.next()
	var err error
	if !fails || done {
		err = op()
	}
	if fails {
		return errPlanned
	}
	return err
}

func (f *faulty) Put(ctx context.Context, name string, data []byte) error {
	return f.do(func() error { return f.Store.Put(ctx, name, data) })
}

func (f *faulty) Delete(ctx context.Context, name string) error {
	return f.do(func() error { return f.Store.Delete(ctx, name) })
}

func (f *faulty) Get(ctx context.Context, name string) (data []byte, err error) {
	err = f.do(func() error { data, err = f.Store.Get(ctx, name); return err })
	return data, err
}

func (f *faulty) List(ctx context.Context, prefix string) (names []string, err error) {
	err = f.do(func() error { names, err = f.Store.List(ctx, prefix); return err })
	return names, err
}
