package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// ErrMissing is wrapped by the error of a server that is not installed; its text goes on after the server's name.
var ErrMissing = errors.New("is not installed")

// Skip skips the test if err says that a server is not installed, with how to get it, and fails it for any other error.
func Skip(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrMissing) {
		tb.Skipf("SKIP %s: %v; get it with: %s", tb.Name(), err, Get)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Shared is the one server that all tests of a binary share. The zero value has not begun.
type Shared[S interface{ Kill() error }] struct {
	once   sync.Once
	server S
	begun  bool
	dir    string
	err    error
}

// Get returns the server; the first test that asks starts it with a directory for its data. Where it is not installed the test
// is skipped.
func (s *Shared[S]) Get(tb testing.TB, start func(ctx context.Context, dir string) (S, error)) S {
	tb.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "continuo-shared-"); s.err == nil { //nolint:usetesting // it outlives the test that asks first
			s.server, s.err = start(context.WithoutCancel(tb.Context()), s.dir)
			s.begun = s.err == nil
		}
	})
	Skip(tb, s.err)
	return s.server
}

// Main runs the tests of a binary and then ends the server they share. It returns the exit code.
func (s *Shared[S]) Main(m *testing.M) int {
	code := m.Run()
	if s.begun {
		if err := s.server.Kill(); err != nil { // nobody needs the data
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if s.dir != "" {
		if err := os.RemoveAll(s.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}
