package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// messageSlack is what a gRPC message may have beside the largest REST body: field names become tags, never more.
const messageSlack = 64 << 10

func (g *Gateway) grpcServer() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(wire.MaxMessageBytes + messageSlack),
		grpc.MaxSendMsgSize(2 * wire.MaxMessageBytes),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.streaming),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: wire.Keepalive, Timeout: 2 * wire.Keepalive}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: wire.Keepalive / 2, PermitWithoutStream: true}),
		grpc.ReadBufferSize(64 << 10), grpc.WriteBufferSize(64 << 10),
		grpc.InitialWindowSize(wire.StreamWindow), grpc.InitialConnWindowSize(wire.ConnectionWindow),
	}
	if secure := g.options.Door.TLS(); secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	server := grpc.NewServer(options...)
	apiv1.RegisterWorkflowServiceServer(server, service{Gateway: g})
	apiv1.RegisterClientServiceServer(server, clientService{Gateway: g})
	apiv1.RegisterWorkerServiceServer(server, workerService{Gateway: g})
	if g.options.Reflection {
		reflection.Register(server)
	}
	return server
}

// unary is around every unary gRPC call.
func (g *Gateway) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	err = g.observed(ctx, func() (string, error) {
		if _, err := g.passOf(ctx); err != nil {
			return path.Base(info.FullMethod), err
		}
		if err := g.enterCall(); err != nil {
			return path.Base(info.FullMethod), err
		}
		defer g.leaveCall()
		var err error
		response, err = handler(ctx, request)
		return path.Base(info.FullMethod), err
	})
	return response, err
}

// streaming is around every gRPC stream.
func (g *Gateway) streaming(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = g.panicked(path.Base(info.FullMethod), p)
		}
	}()
	stream, end, err := g.admitStream(stream)
	if err != nil {
		return asStatus(err) // the door has counted and logged it
	}
	err = end(handler(server, stream))
	if code := codeOf(err); code != events.OK && stream.Context().Err() == nil {
		g.deps.Log.Info("a stream ended", slog.String("method", path.Base(info.FullMethod)), slog.String("code", string(code)),
			slog.String("message", wire.FromStatus(err).Message))
	}
	return g.hide(path.Base(info.FullMethod), err)
}

// observed runs a request: it measures and logs it, and turns a panic into an internal error.
func (g *Gateway) observed(ctx context.Context, run func() (method string, err error)) (err error) {
	begin := g.deps.Clock.Boot()
	method := "unknown"
	defer func() {
		if p := recover(); p != nil {
			err = g.panicked(method, p)
		}
		err = g.observe(ctx, method, err, begin)
	}()
	method, err = run()
	return err
}

// observe measures and logs a request that ended so, and returns what its caller is told.
func (g *Gateway) observe(ctx context.Context, method string, err error, begin time.Duration) error {
	err = g.hide(method, asStatus(err))
	took := g.deps.Clock.Boot() - begin
	code := codeOf(err)
	g.metrics.request(method, code, took)
	if g.deps.Log.Enabled(ctx, slog.LevelDebug) {
		g.deps.Log.DebugContext(ctx, "request", slog.String("method", method), slog.String("code", string(code)),
			slog.Float64("took_ms", float64(took)/float64(time.Millisecond)))
	}
	return err
}

func (g *Gateway) panicked(method string, p any) error {
	g.deps.Log.Error("a request panicked", slog.String("method", method), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	return asStatus(&events.Error{Code: events.Internal, Message: method + " panicked inside the server; its log says where"})
}
