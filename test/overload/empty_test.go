package overload_test

import (
	"context"
	"net"
	"os"

	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// emptyServer refuses every call on a client's stream, and has nothing else to do.
type emptyServer struct {
	apiv1.UnimplementedClientServiceServer
}

// refuse is the role of a server with nothing behind its door; its address goes to the file named in the environment.
func refuse(ctx context.Context, _ string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	file := os.Getenv("OVERLOAD_EMPTY")
	if err := os.WriteFile(file+".new", []byte(listener.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ReadBufferSize(64<<10), grpc.WriteBufferSize(64<<10),
		grpc.InitialWindowSize(wire.StreamWindow), grpc.InitialConnWindowSize(wire.ConnectionWindow))
	apiv1.RegisterClientServiceServer(server, emptyServer{})
	return server.Serve(listener)
}

// Connect serves a stream.
func (emptyServer) Connect(stream grpc.BidiStreamingServer[apiv1.ConnectRequest, apiv1.ConnectResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&apiv1.ConnectResponse{Welcome: &apiv1.ClientWelcome{MaxOpenCalls: 1 << 20}}); err != nil {
		return err
	}
	no := wire.ToCallError(&events.Error{Code: events.Overloaded, RetryAfterMs: 80, Message: "nothing is behind this door"})
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		answer := &apiv1.ConnectResponse{}
		for _, one := range r.GetCalls() {
			answer.Responses = append(answer.Responses, &apiv1.ClientResponse{Call: one.GetCall(), Response: &apiv1.ClientResponse_Error{Error: no}})
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}
