// Package embedded puts the whole suite together in one process: all services over Pebble, SQLite and files in one
// directory. It chooses the adapters; nothing else in it decides anything.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/adapter/sqlite"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/lifecycle"
	"github.com/continuo-dev/continuo/internal/telemetry"
)

// Options of a suite. Zero values mean the defaults of the parts.
type Options struct {
	// Dir is the data directory, made if it is not there; empty means a throw-away one, deleted at the end.
	Dir string
	// HTTPAddr and GRPCAddr are addresses to serve on; empty means that only this process reaches the suite, by [Suite.Dial].
	HTTPAddr, GRPCAddr string
	// Door guards them; nil serves loopback only.
	Door *door.Door
	// RetentionHistory is how long ended runs stay.
	RetentionHistory time.Duration
	// DiskReserveBytes is the free space below which client commands are refused.
	DiskReserveBytes int64
	// MaxPayloadBytes bounds one payload.
	MaxPayloadBytes int64
	// DrainTimeout bounds Close.
	DrainTimeout time.Duration
	// Version is what clients are told.
	Version string
	// Tracer makes spans of requests; nil means that there are none.
	Tracer *telemetry.Tracer
	// Log gets what the suite has to say; nil means nothing does.
	Log *slog.Logger
}

// Suite is a running suite.
type Suite struct {
	store     *pebble.Store
	model     *sqlite.Model
	pipe      *pipe
	http      net.Listener
	grpc      net.Listener
	group     *lifecycle.Group
	fatal     chan error // has why the store cannot be written
	temporary string
	serving   bool
	closing   sync.Once
	closed    error
}

// Start opens the directory and starts all services. It returns when they are ready for requests, or with the reason why
// they cannot be: see the errors of package pebble for those of the directory.
func Start(ctx context.Context, o Options) (*Suite, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Suite{group: &lifecycle.Group{}}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// open makes everything and starts it. What it has made when it fails is released by its caller.
func (s *Suite) open(ctx context.Context, o Options) error {
	dir, err := s.directory(o.Dir)
	if err != nil {
		return err
	}
	s.fatal = make(chan error, 1)
	s.store, err = pebble.Open(dir, pebble.Options{DiskReserve: o.DiskReserveBytes, Logger: o.Log, OnFatal: s.broke})
	if err != nil {
		return err
	}
	blobs, err := files.Open(filepath.Join(dir, dirBlobs))
	if err != nil {
		return err
	}
	if s.model, err = sqlite.Open(ctx, filepath.Join(dir, fileModel)); err != nil {
		return err
	}
	if err := s.listen(ctx, o); err != nil {
		return err
	}
	return s.start(ctx, o, blobs)
}

// broke stops the suite because the store can no longer be written. It does not block.
func (s *Suite) broke(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

// directory returns the data directory, a throw-away one if dir is empty.
func (s *Suite) directory(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	temporary, err := os.MkdirTemp("", "continuo-")
	if err != nil {
		return "", fmt.Errorf("cannot make a throw-away data directory: %w", err)
	}
	s.temporary = temporary
	return filepath.Join(temporary, "data"), nil
}

// listen opens the addresses, or a pipe where there is none.
func (s *Suite) listen(ctx context.Context, o Options) error {
	s.pipe = newPipe()
	s.grpc, s.http = s.pipe, newPipe()
	for _, a := range []struct {
		setting, addr string
		listener      *net.Listener
	}{{"grpc_addr", o.GRPCAddr, &s.grpc}, {"http_addr", o.HTTPAddr, &s.http}} {
		if a.addr == "" {
			continue
		}
		l, err := o.Door.Listen(ctx, a.setting, a.addr)
		if err != nil {
			return err
		}
		*a.listener = l
	}
	return nil
}

// Dial connects to the suite's gRPC, within the process where no address is served; it is for grpc.WithContextDialer.
func (s *Suite) Dial(ctx context.Context, address string) (net.Conn, error) {
	if s.grpc != net.Listener(s.pipe) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.GRPCAddr())
	}
	return s.pipe.dial(ctx, address)
}
