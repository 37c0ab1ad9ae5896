package gateway

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/door/doortest"
)

// talking is a stream whose client always has one more message.
type talking struct {
	grpc.ServerStream

	ctx context.Context
}

func (s talking) Context() context.Context { return s.ctx }

func (s talking) RecvMsg(any) error { return nil }

// A stream cannot be torn down while its client does not read; what the client says then is not heard any more.
func TestWhoseTokenIsRevokedIsNotHeard(t *testing.T) {
	t.Parallel()
	const token = "token-0123456789-0123456789-0123456789"
	path := filepath.Join(t.TempDir(), "tokens")
	doortest.Replace(t, path, []byte("a:"+token+"\n"))
	d, err := door.Open(door.Options{TokensFile: path, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = d.Run(ctx) }()
	g := &Gateway{options: Options{Door: d}}
	stream, end, err := g.admitStream(talking{ctx: metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))})
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(nil); err != nil {
		t.Fatal(err)
	}
	doortest.Replace(t, path, []byte("b:another-0123456789-0123456789-0123456789\n"))
	<-stream.Context().Done()
	if err := end(stream.RecvMsg(nil)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("ended with %v", err)
	}
	if err := stream.RecvMsg(nil); err == nil {
		t.Error("what it says is still heard")
	}
}
