// Package client connects an application to Continuo: it starts, signals and awaits workflows.
//
//	c, err := client.Dial("127.0.0.1:7481", client.Options{})
//	…
//	run, err := billing.Monthly.Start(ctx, c, subscription, flow.ID("billing/17"))
//
// One client per process is enough: it multiplexes all calls over one stream, reconnects by itself and repeats what was
// not answered. Every call is repeatable, so nothing happens twice.
package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// DefaultMaxOpenCalls is the bound of calls open at a time when Options give none.
const DefaultMaxOpenCalls = 4096

// connectTime bounds one attempt to connect.
const connectTime = 5 * time.Second

// Options of a client. The zero value is good for most.
type Options struct {
	// Identity names this process to people; empty means program and pid at host.
	Identity string
	// MaxOpenCalls bounds the calls open at a time; further ones wait. 0 means 4,096.
	MaxOpenCalls int
	// Payloads turns Go values into payloads and back, for this client and the workers made with it; the zero value uses
	// JSON.
	Payloads payload.Converter
	// TracerProvider makes the spans of starts, and of the tasks of workers made with this client; nil means the one of the program
	// (otel.GetTracerProvider), which makes none unless it was set. A start is part of the trace in its context, and the run of its.
	TracerProvider trace.TracerProvider
	// TLS makes the connection use TLS; nil means in clear. See [TLSConfig].
	TLS *tls.Config
	// TokenFile has the token that the server wants, and nothing else. It is read again at every connection and every call outside
	// the streams of clients and workers, so that it may be replaced. A token is sent in clear on loopback only.
	TokenFile string
	// Token returns the token, in place of TokenFile. It is asked as often and must be quick.
	Token func(ctx context.Context) (string, error)
	// Dialer connects to the server in place of TCP, for a server in the same process; nil means TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// DialOptions are passed to gRPC, after the client's own.
	DialOptions []grpc.DialOption
}

// Client is a connection to one server at a time. Its methods may be called from any goroutine.
type Client struct {
	conn     *grpc.ClientConn
	calls    *calls
	identity string
	payloads payload.Converter
	tracer   trace.Tracer
	stop     context.CancelFunc
	running  sync.WaitGroup
	closing  sync.Once
	closed   error
}

var _ flow.Client = (*Client)(nil)

// Dial makes a client for the server at addr (host:port of its gRPC address). Of several servers, such as the gateways of a
// cluster, separated by commas, it uses one that answers, and another when that one is lost. It does not wait for a server: while
// none is reachable, calls wait, each until its own context ends.
func Dial(addr string, options Options) (*Client, error) {
	to, dial, err := target(addr)
	if err != nil {
		return nil, badAddress(addr, err)
	}
	security, err := Security(addr, options)
	if err != nil {
		return nil, err
	}
	dial = append(dial, security...)
	dial = append(dial,
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: wire.Keepalive * 2, Timeout: wire.Keepalive}),
		grpc.WithInitialWindowSize(wire.StreamWindow), grpc.WithInitialConnWindowSize(wire.ConnectionWindow),
		grpc.WithReadBufferSize(64<<10), grpc.WithWriteBufferSize(64<<10),
		// A message from the server may have one large part behind small ones.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*wire.MaxMessageBytes), grpc.MaxCallSendMsgSize(wire.MaxMessageBytes)),
		// gRPC's own back-off grows to two minutes: a server that is back would not be found for so long.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMost},
			MinConnectTimeout: connectTime,
		}),
	)
	dial = append(dial, options.DialOptions...)
	if options.Dialer != nil { // it overrides one of DialOptions
		dial = append(dial, grpc.WithContextDialer(options.dialer()))
	}
	conn, err := grpc.NewClient(to, dial...)
	if err != nil {
		return nil, badAddress(addr, err)
	}
	if options.Identity == "" {
		options.Identity = defaultIdentity()
	}
	if options.MaxOpenCalls <= 0 {
		options.MaxOpenCalls = DefaultMaxOpenCalls
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{conn: conn, identity: options.Identity, payloads: options.Payloads, tracer: tracerOf(options.TracerProvider), stop: stop}
	hello := &apiv1.ClientHello{Protocol: wire.MaxProtocol, Sdk: SDK(), Identity: options.Identity}
	shut := func() bool { return conn.GetState() == connectivity.Shutdown }
	c.calls = newCalls(apiv1.NewClientServiceClient(conn), shut, hello, options.MaxOpenCalls)
	c.running.Go(func() { c.calls.run(ctx) })
	return c, nil
}

func badAddress(addr string, err error) error {
	return fmt.Errorf("client: %q is not an address such as 127.0.0.1:7481, or several separated by commas: %w", addr, err)
}

// Close ends the connection. Calls that are open fail; whether they took effect is not known. Workers made with the client
// end. Calling it again does nothing.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.stop()
		c.running.Wait()
		c.closed = c.conn.Close()
	})
	return c.closed
}

// Conn returns the gRPC connection, for the other services of the API (lists, describe, workers).
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Identity returns the name of this process that the server was told.
func (c *Client) Identity() string { return c.identity }

// SDK names this SDK and its version, as servers are told.
func SDK() string {
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == "github.com/continuo-dev/continuo" && m.Version != "" && m.Version != "(devel)" {
				version = m.Version
			}
		}
	}
	return "continuo-go/" + version
}

func defaultIdentity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s-%d@%s", filepath.Base(os.Args[0]), os.Getpid(), host)
}

// Payloads converts the values that are sent and received.
func (c *Client) Payloads() payload.Converter { return c.payloads }

// NewRunID makes a run id for a start.
func (c *Client) NewRunID() events.RunID {
	var random [10]byte
	_, _ = rand.Read(random[:])                             // never fails, see crypto/rand
	return events.MakeRunID(time.Now().UnixMilli(), random) //nolint:forbidigo // the SDK runs on users' wall clock
}

// newRequestID makes a request repeatable across reconnects.
func newRequestID() events.RequestID { return events.RequestID("sdk-" + rand.Text()) }
