package gateway

import (
	"context"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/wire"
)

// passOf judges who makes a gRPC call.
func (g *Gateway) passOf(ctx context.Context) (door.Pass, error) {
	if !g.options.Door.NeedsToken() {
		return door.Pass{}, nil
	}
	authorization, from := "", "unknown"
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		authorization = values[0]
	}
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	return g.options.Door.Admit(authorization, from)
}

// admittedStream is a stream that ends when the token it was opened with is revoked.
type admittedStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // it stands in for that of the stream
}

// Context is done when the stream is, or when its token is revoked.
func (s admittedStream) Context() context.Context { return s.ctx }

// RecvMsg fails once the token is revoked: whoever does not read keeps the stream from ending, but is not heard.
func (s admittedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil || s.ctx.Err() == nil {
		return err
	}
	return asStatus(context.Cause(s.ctx))
}

// admitStream judges who opens a stream. end is told how the stream ended, and returns what its caller is told.
func (g *Gateway) admitStream(stream grpc.ServerStream) (admitted grpc.ServerStream, end func(error) error, err error) {
	pass, err := g.passOf(stream.Context())
	if err != nil {
		return nil, nil, err
	}
	if !g.options.Door.NeedsToken() {
		return stream, func(err error) error { return err }, nil
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	release := g.options.Door.Hold(pass, func() { cancel(door.Revoked()) })
	return admittedStream{stream, ctx}, func(err error) error {
		release()
		defer cancel(nil)
		if ctx.Err() != nil && stream.Context().Err() == nil {
			return asStatus(context.Cause(ctx))
		}
		return err
	}, nil
}

// openPath says what needs no token: a load balancer that asks for health has none, and the OpenAPI document is the same everywhere and public.
func openPath(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/openapi.json"
}

// Guarded lets requests through that have a token which the door knows, and those for health and the OpenAPI document. It serves
// processes without a gateway, too.
func Guarded(d *door.Door, next http.Handler) http.Handler {
	if !d.NeedsToken() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !openPath(r.URL.Path) {
			if _, err := d.Admit(r.Header.Get("Authorization"), r.RemoteAddr); err != nil {
				refused := wire.AsError(err)
				w.Header().Set("WWW-Authenticate", "Bearer")
				writeRefusal(w, wire.KindOf(refused.Code).HTTP, refused)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP serves a listener until the server ends, with the TLS of the door if it has any.
func ServeHTTP(server *http.Server, l net.Listener, d *door.Door) error {
	if server.TLSConfig = d.TLS(); server.TLSConfig != nil {
		return server.ServeTLS(l, "", "") // the certificate is the configuration's
	}
	return server.Serve(l)
}
