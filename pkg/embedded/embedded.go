// Package embedded runs the whole suite inside a program: nothing is installed and no port is opened. It is good for a first
// try and for tests, and for an application on one machine that wants durable workflows without a server beside it.
//
//	suite, err := embedded.Start(ctx, embedded.Options{Dir: "data"}, billing.Monthly.With(billing.BillMonthly), …)
//	…
//	defer suite.Close()
//	run, err := billing.Monthly.Start(ctx, suite, subscription)
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/continuo-dev/continuo/internal/embedded"
	"github.com/continuo-dev/continuo/internal/telemetry"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// Options of a suite. The zero value is a throw-away suite without addresses.
type Options struct {
	// Dir is the data directory, made if it is not there. One process at a time may use it. Empty means a throw-away one,
	// deleted by Close.
	Dir string
	// HTTPAddr and GRPCAddr are loopback addresses to serve on, for the command line, REST and workers in other processes;
	// empty means none.
	HTTPAddr, GRPCAddr string
	// RetentionHistory is how long ended runs stay, with history and result; 0 means 30 days, the least is 24 h.
	RetentionHistory time.Duration
	// Client and Worker are options of the client and, when code is given to Start, of the worker.
	Client client.Options
	Worker worker.Options
	// TracerProvider makes the spans of the suite, of its client and of its worker; nil means that the suite makes none, and client
	// and worker do as client.Options say.
	TracerProvider trace.TracerProvider
	// Log gets what the suite and its worker have to say; nil means nothing does.
	Log *slog.Logger
}

// Suite is a running suite and a client of it: it is what definitions are started and signalled with.
type Suite struct {
	*client.Client

	inner   *embedded.Suite
	stop    context.CancelFunc
	running sync.WaitGroup
	done    chan struct{}
	ended   chan struct{} // closed when the worker has ended
	worker  error
	closing sync.Once
	closed  error
}

var _ flow.Client = (*Suite)(nil)

// Start opens the directory, starts the suite and, when code is given, a worker for it. It returns when the suite is ready
// for requests. The error says what is wrong with the directory (in use, foreign, newer, damaged) or with a definition.
func Start(ctx context.Context, o Options, code ...flow.Binding) (*Suite, error) {
	inner, err := embedded.Start(ctx, embedded.Options{
		Dir: o.Dir, HTTPAddr: o.HTTPAddr, GRPCAddr: o.GRPCAddr, RetentionHistory: o.RetentionHistory, Log: o.Log,
		Tracer: telemetry.NewTracer(o.TracerProvider),
	})
	if err != nil {
		return nil, err
	}
	s := &Suite{inner: inner, done: make(chan struct{})}
	err = s.begin(o, code)
	go s.watch() // ends with Close
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Suite) begin(o Options, code []flow.Binding) error {
	options := o.Client
	options.Dialer = s.inner.Dial
	if options.TracerProvider == nil {
		options.TracerProvider = o.TracerProvider
	}
	c, err := client.Dial("passthrough:in-process", options)
	if err != nil {
		return err
	}
	s.Client = c
	if len(code) == 0 {
		return nil
	}
	if o.Worker.Log == nil {
		o.Worker.Log = o.Log
	}
	if o.Worker.Log == nil {
		o.Worker.Log = slog.New(slog.DiscardHandler)
	}
	parts := []worker.Option{o.Worker}
	for _, binding := range code {
		parts = append(parts, binding)
	}
	w, err := worker.New(c, parts...)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	ended := make(chan struct{})
	s.running.Go(func() {
		defer close(ended)
		s.worker = w.Run(ctx)
	})
	s.ended = ended
	return nil
}

// watch closes done when a part of the suite has ended.
func (s *Suite) watch() {
	defer close(s.done)
	select {
	case <-s.inner.Done():
	case <-s.ended: // nil, and so never, without a worker
	}
}

// Done is closed when the suite begins to stop: by Close, or because it cannot go on (a disk that fails, a worker that is
// refused). Close tells why.
func (s *Suite) Done() <-chan struct{} { return s.done }

// HTTPAddr returns the address that REST is served on, "in-process" when there is none.
func (s *Suite) HTTPAddr() string { return s.inner.HTTPAddr() }

// GRPCAddr returns the address that gRPC is served on, "in-process" when there is none.
func (s *Suite) GRPCAddr() string { return s.inner.GRPCAddr() }

// Close drains the worker, stops the suite and closes the store. Open runs go on at the next start on the same directory.
// It returns the first thing that went wrong, also before Close was called.
func (s *Suite) Close() error {
	s.closing.Do(func() {
		var errs []error
		select {
		case <-s.inner.Done():
			// There is no server to drain to: the worker ends with its client. What it did comes again at the next start.
			if s.Client != nil {
				errs = append(errs, s.Client.Close())
			}
		default:
		}
		if s.stop != nil {
			s.stop()
			s.running.Wait()
			if !errors.Is(s.worker, worker.ErrClientClosed) {
				errs = append(errs, s.worker)
			}
		}
		if s.Client != nil {
			errs = append(errs, s.Client.Close())
		}
		errs = append(errs, s.inner.Close())
		<-s.done
		s.closed = errors.Join(errs...)
	})
	return s.closed
}
