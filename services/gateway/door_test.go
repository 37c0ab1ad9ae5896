package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/door/doortest"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
)

const (
	goodToken  = "good-0123456789-0123456789-0123456789"
	otherToken = "other-0123456789-0123456789-0123456789"
)

// guarded starts a suite that wants tokens, and returns the file that has them.
func guarded(t *testing.T) (*suite, *door.Door, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	doortest.Replace(t, path, []byte("tester:"+goodToken+"\nother:"+otherToken+"\n"))
	d, err := door.Open(door.Options{TokensFile: path, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, settings{options: func(o *gateway.Options) { o.Door = d }})
	ctx, stop := context.WithCancel(context.Background())
	s.run("door", func() error { return d.Run(ctx) })
	t.Cleanup(stop) // before the suite waits for its parts
	return s, d, path
}

func with(t *testing.T, token string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

func unauthenticated(err error) bool {
	return status.Code(err) == codes.Unauthenticated && wire.FromStatus(err).Code == events.Unauthenticated
}

func TestEveryCallAndStreamNeedsAToken(t *testing.T) {
	t.Parallel()
	s, d, _ := guarded(t)
	calls := map[string]func(context.Context) error{
		"unary": func(ctx context.Context) error {
			_, err := s.client.GetServer(ctx, &apiv1.GetServerRequest{})
			return err
		},
		"client": func(ctx context.Context) error {
			stream, err := apiv1.NewClientServiceClient(s.conn).Connect(ctx)
			if err != nil {
				return err
			}
			_ = stream.Send(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 1}}) // Recv says why not
			_, err = stream.Recv()
			return err
		},
		"worker": func(ctx context.Context) error {
			stream, err := apiv1.NewWorkerServiceClient(s.conn).Work(ctx)
			if err != nil {
				return err
			}
			_ = stream.Send(&apiv1.WorkRequest{Hello: &apiv1.WorkerHello{
				Protocol: 1, WorkerId: "w", TaskSlots: 1, ActivationSlots: 1, Workflows: []*apiv1.Offer{{Name: "Order"}},
			}})
			_, err = stream.Recv()
			return err
		},
	}
	for name, call := range calls {
		for _, ctx := range []context.Context{t.Context(), with(t, goodToken+"x"), metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic "+goodToken)} {
			if err := call(ctx); !unauthenticated(err) || !strings.Contains(err.Error(), "Authorization") && !strings.Contains(err.Error(), "tokens file") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		ctx, cancel := context.WithCancel(with(t, goodToken))
		if err := call(ctx); err != nil {
			t.Errorf("%s with a token: %v", name, err)
		}
		cancel()
	}
	if got := d.Refusals(); got != (door.Refusals{Missing: 3, Wrong: 6}) {
		t.Errorf("counted %+v", got)
	}
	if strings.Contains(s.logs.String(), "0123456789") {
		t.Errorf("a token is in the log:\n%s", s.logs.String())
	}
}

func TestEveryRESTRequestNeedsAToken(t *testing.T) {
	t.Parallel()
	s, _, _ := guarded(t)
	for path, open := range map[string]bool{
		"/healthz": true, "/readyz": true, "/openapi.json": true, "/metrics": false, "/v1/workflows": false, "/nowhere": false, "/": false,
		"/v1/../healthz": false, "/healthz/": false, "//healthz": false, "/v1/workflows/a%2Fb": false,
	} {
		code, body := s.rest(http.MethodGet, path, "")
		if open && code == http.StatusUnauthorized || !open && (code != http.StatusUnauthorized || !strings.Contains(body, `"code":"unauthenticated"`)) {
			t.Errorf("%s without a token: %d %s", path, code, body)
		}
		if code, _ := s.rest(http.MethodGet, path, "", "Authorization", "Bearer "+goodToken+"x"); !open && code != http.StatusUnauthorized {
			t.Errorf("%s with a wrong token: %d", path, code)
		}
		if code, body := s.rest(http.MethodGet, path, "", "Authorization", "Bearer "+goodToken); code == http.StatusUnauthorized {
			t.Errorf("%s with a token: %d %s", path, code, body)
		}
	}
	if code, body := s.rest(http.MethodPost, "/v1/workflows/a/start", `{"type":"Order"}`); code != http.StatusUnauthorized {
		t.Errorf("a start without a token: %d %s", code, body)
	}
}

// A token that is revoked ends the streams that were opened with it, and no others.
func TestRevokedTokensEndTheirStreams(t *testing.T) {
	t.Parallel()
	s, d, path := guarded(t)
	client := func(token string) stream {
		c, err := apiv1.NewClientServiceClient(s.conn).Connect(with(t, token))
		if err != nil {
			t.Fatal(err)
		}
		out := stream{t, c}
		out.say(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 1}})
		if _, err := c.Recv(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	mine, theirs := client(goodToken), client(otherToken)
	worker, err := apiv1.NewWorkerServiceClient(s.conn).Work(with(t, goodToken))
	if err != nil {
		t.Fatal(err)
	}
	err = worker.Send(&apiv1.WorkRequest{Hello: &apiv1.WorkerHello{
		Protocol: 1, WorkerId: "w", TaskSlots: 1, ActivationSlots: 1, Workflows: []*apiv1.Offer{{Name: "Order"}},
	}})
	if err == nil {
		_, err = worker.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	doortest.Replace(t, path, []byte("other:"+otherToken+"\n"))
	if _, err := mine.Recv(); !unauthenticated(err) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("the client's stream: %v", err)
	}
	if _, err := worker.Recv(); !unauthenticated(err) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("the worker's stream: %v", err)
	}
	if got := d.Refusals(); got.Revoked != 2 {
		t.Errorf("counted %+v", got)
	}
	theirs.say(&apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{startCall(1, "order/1")}})
	if r, err := theirs.Recv(); err != nil || r.GetResponses()[0].GetStart() == nil {
		t.Errorf("another token's stream: %v, %v", r, err)
	}
}
