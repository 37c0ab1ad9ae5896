// Package clickhouse runs the real ClickHouse engine for tests, behind the HTTP interface that the Go driver speaks: there is
// no server to be had as a package, but the engine is, as a library.
//
// What it is not: it has no native protocol, no users and rights (one name and password can be asked for), no replication
// and no log of queries.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver"
)

// Options of a server. Zero fields mean the defaults.
type Options struct {
	// User and Password are what every connection must have; empty: anything is let in.
	User, Password string
	// Dir keeps the data; empty: a directory that is deleted after the test.
	Dir string
	// Addr is host and port; empty: a free one on loopback.
	Addr string
}

// Server is an engine in a process of its own. It keeps its address and data over restarts.
type Server struct {
	Addr    string // host and port
	options Options
	binary  string
	library string
	process *child.Process
}

// errMissing says that the engine is not installed.
var errMissing = fmt.Errorf("the ClickHouse engine %w", testserver.ErrMissing)

// Start starts a server of the test's own, which ends with it. Where the engine is not installed the test is skipped.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	if options.Dir == "" {
		options.Dir = tb.TempDir()
	}
	s, err := start(tb.Context(), options)
	testserver.Skip(tb, err)
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// shared is the server that the tests of a binary share.
var shared testserver.Shared[*Server]

// Shared returns the one server that all tests of a binary share; the first one who asks starts it. Its TestMain ends with
// [Main]. Where the engine is not installed the test is skipped.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	return shared.Get(tb, func(ctx context.Context, dir string) (*Server, error) { return start(ctx, Options{Dir: dir}) })
}

// Main runs the tests of a binary and then ends the server they share. It returns the exit code.
func Main(m *testing.M) int { return shared.Main(m) }

// Run starts a server outside of a test; the caller ends it. It fails when the engine is not installed.
func Run(ctx context.Context, options Options) (*Server, error) { return start(ctx, options) }

// Command prepares a server in options.Dir, with data from before if there are any, and returns the program that is it, for one who
// starts it himself. It must run inside the module, and fails when the engine is not installed.
func Command(ctx context.Context, options Options) (child.Program, error) {
	s, err := newServer(ctx, options)
	if err != nil {
		return child.Program{}, err
	}
	return s.program(), nil
}

func start(ctx context.Context, options Options) (*Server, error) {
	s, err := newServer(ctx, options)
	if err != nil {
		return nil, err
	}
	return s, s.Restart(ctx)
}

func newServer(ctx context.Context, options Options) (*Server, error) {
	dir, err := testserver.Dir(cacheName)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: options.Addr, options: options, library: filepath.Join(dir, library)}
	if _, err := os.Stat(s.library); errors.Is(err, os.ErrNotExist) {
		return nil, errMissing
	}
	if s.binary, err = buildFront(ctx, dir); err != nil {
		return nil, err
	}
	if s.Addr == "" {
		ports, err := child.FreePorts(1)
		if err != nil {
			return nil, err
		}
		s.Addr = ports[0]
	}
	return s, nil
}

// buildFront makes the program beside the library, where the next one who asks finds it up to date.
func buildFront(ctx context.Context, dir string) (binary string, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return child.BuildStatic(ctx, dir, "./internal/testserver/clickhouse/frontd")
}

// Restart starts the server again, which must be gone, and waits until it answers.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	program := s.program()
	var err error
	if s.process, err = child.Start(program); err != nil {
		return err
	}
	every := time.NewTicker(10 * time.Millisecond) //nolint:forbidigo // of a real process
	defer every.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-every.C:
		case <-s.process.Gone():
			text, _ := os.ReadFile(program.Log)
			return fmt.Errorf("the ClickHouse engine ended before it was ready: %w\n%s", s.process.Err(), text)
		case <-ctx.Done():
			return fmt.Errorf("the ClickHouse engine is not ready: %w", context.Cause(ctx))
		}
	}
}

// program is the process of the engine.
func (s *Server) program() child.Program {
	return child.Program{
		Name: "ClickHouse engine", Path: s.binary, Log: filepath.Join(s.options.Dir, "front.log"),
		Args: []string{"-library", s.library, "-dir", filepath.Join(s.options.Dir, "data"), "-addr", s.Addr, "-user", s.options.User, "-password", s.options.Password},
	}
}

func (s *Server) answers(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/ping", http.NoBody)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close() // nothing was read
	return answer.StatusCode == http.StatusOK
}

// Kill ends the server by SIGKILL.
func (s *Server) Kill() error { return s.process.Kill() }

// Pause and Resume make a server that does not answer: SIGSTOP and SIGCONT.
func (s *Server) Pause() error { return s.process.Signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume() error { return s.process.Signal(syscall.SIGCONT) }

// Stop ends the server in an orderly way.
func (s *Server) Stop() error { return s.process.Stop(20 * time.Second) }

// Process is the running process, for its CPU time and memory.
func (s *Server) Process() *child.Process { return s.process }

// databases counts those that this process has named.
var databases atomic.Int64

// URL is how a read model is reached in a database of this server.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "http", Host: s.Addr, Path: "/" + database}
	if s.options.User != "" {
		u.User = url.UserPassword(s.options.User, s.options.Password)
	}
	return u.String()
}

// NewDatabase returns the name of a database that nobody else has. It does not exist yet.
func (s *Server) NewDatabase() string { return fmt.Sprintf("test_%d", databases.Add(1)) }
