package child

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// ServerOptions describe a server process.
type ServerOptions struct {
	Binary string   // a continuo program
	Dir    string   // its data
	Log    string   // file for its log; empty: Dir + ".log"
	Verb   string   // the service over a broker that is run instead of `continuo serve`; it has no Dir
	Args   []string // further flags
	Env    []string
}

// Server is a server process on two loopback ports, which it keeps over restarts so that clients and workers find it again.
type Server struct {
	*Process
	HTTPAddr, GRPCAddr string
	options            ServerOptions
}

// StartServer starts a server and waits until it is ready, or says why it is not, with the end of its log.
func StartServer(ctx context.Context, options ServerOptions) (*Server, error) {
	s, err := newServer(options)
	if err != nil {
		return nil, err
	}
	return s, s.Restart(ctx)
}

// SpawnServer is StartServer without waiting.
func SpawnServer(options ServerOptions) (*Server, error) {
	s, err := newServer(options)
	if err != nil {
		return nil, err
	}
	return s, s.Spawn()
}

func newServer(options ServerOptions) (*Server, error) {
	if options.Log == "" {
		options.Log = options.Dir + ".log"
	}
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	return &Server{HTTPAddr: ports[0], GRPCAddr: ports[1], options: options}, nil
}

// Restart starts the server again, which must be gone, with the same flags and ports, and waits until it is ready.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Spawn(); err != nil {
		return err
	}
	return s.AwaitReady(ctx)
}

// Spawn is Restart without waiting.
func (s *Server) Spawn() error {
	name, args := "server", []string{"serve", "--data", s.options.Dir}
	if s.options.Verb != "" {
		name, args = s.options.Verb, []string{s.options.Verb}
	}
	args = append(append(args, "--http-addr", s.HTTPAddr, "--grpc-addr", s.GRPCAddr), s.options.Args...)
	process, err := Start(Program{Name: name, Path: s.options.Binary, Args: args, Env: s.options.Env, Log: s.options.Log})
	if err != nil {
		return err
	}
	s.Process = process
	return nil
}

// AwaitReady waits until /readyz says so. The end of the process ends the waiting with an error that has the end of its log.
func (s *Server) AwaitReady(ctx context.Context) error {
	every := time.NewTicker(5 * time.Millisecond) //nolint:forbidigo // of a real process
	defer every.Stop()
	for {
		if status, _ := s.get(ctx, "/readyz"); status == http.StatusOK {
			return nil
		}
		select {
		case <-every.C:
		case <-s.Gone():
			return fmt.Errorf("the server ended before it was ready: %w\n%s", s.Err(), tail(s.options.Log))
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", context.Cause(ctx), tail(s.options.Log))
		}
	}
}

// Ready asks /readyz once: the status, and what it says.
func (s *Server) Ready(ctx context.Context) (status int, body string) { return s.get(ctx, "/readyz") }

// Metrics is the text of /metrics.
func (s *Server) Metrics(ctx context.Context) string {
	_, body := s.get(ctx, "/metrics")
	return body
}

func (s *Server) get(ctx context.Context, path string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr+path, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// triedPorts counts the ports that this process has looked at.
var triedPorts atomic.Int64

// FreePorts returns loopback addresses that nobody listens on now. They lie below the range from which the kernel takes
// ports for outgoing connections, which could take the port of a server while it is down.
func FreePorts(n int) ([]string, error) {
	var found []string
	first := 20000 + os.Getpid()*7%9000
	for len(found) < n {
		port := first + int(triedPorts.Add(1)) // servers that start side by side must not find the same one
		if port >= 32000 {
			break
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := net.Listen("tcp", addr) //nolint:noctx // answers at once
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return nil, err
		}
		found = append(found, addr)
	}
	if len(found) < n {
		return nil, fmt.Errorf("no %d free ports between 20000 and 32000", n)
	}
	return found, nil
}

// tail is the end of a log file, for messages.
func tail(path string) string {
	const most = 4 << 10
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
