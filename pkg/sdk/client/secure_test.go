package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/continuo-dev/continuo/internal/door/doortest"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

func fixed(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenIsNotSentInClearToOthers(t *testing.T) {
	t.Parallel()
	secure, err := client.TLSConfig(true, "")
	if err != nil {
		t.Fatal(err)
	}
	for addr, refused := range map[string]bool{
		"127.0.0.1:7481": false, "[::1]:7481": false, "localhost:7481": false,
		"192.0.2.1:7481": true, "example.com:7481": true, "127.0.0.1:7481, example.com:7481": true, "dns:///example.com:7481": true, "0.0.0.0:7481": true,
	} {
		for _, o := range []client.Options{{Token: fixed("x")}, {TokenFile: file(t, "x")}} {
			if _, err := client.Security(addr, o); (err != nil) != refused || refused && !strings.Contains(err.Error(), "in clear") {
				t.Errorf("%s: got %v", addr, err)
			}
			o.TLS = secure
			if _, err := client.Security(addr, o); err != nil {
				t.Errorf("%s with TLS: %v", addr, err)
			}
		}
		if _, err := client.Security(addr, client.Options{}); err != nil {
			t.Errorf("%s without a token: %v", addr, err)
		}
	}
}

// elsewhere is a connection to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7481} }

func TestADialerDoesNotLeadATokenAway(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer func() { _ = there.Close() }()
	c, err := client.Dial("passthrough:here", client.Options{Token: fixed("x"), Dialer: func(context.Context, string) (net.Conn, error) { return elsewhere{here}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, signal("a")); err == nil || !strings.Contains(err.Error(), "would go to 192.0.2.1:7481 in clear") {
		t.Errorf("got %v", err)
	}
}

func TestWrongSecurityIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]client.Options{
		"no such file":                {TokenFile: filepath.Join(t.TempDir(), "nowhere")},
		"a token and nothing else":    {TokenFile: file(t, "a b")},
		"does not have a token":       {TokenFile: file(t, " \n")},
		"Token and Options.TokenFile": {TokenFile: file(t, "x"), Token: fixed("x")},
	} {
		if c, err := client.Dial("127.0.0.1:1", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
			if c != nil {
				_ = c.Close()
			}
		}
	}
}

func TestOptionsFromTheEnvironment(t *testing.T) { //nolint:paralleltest // it sets the environment
	for _, c := range []struct{ tls, ca, token, want string }{
		{"", "", "", "clear"},
		{"false", "", "", "clear"},
		{"true", "", "t", "system"},
		{"1", "", "", "system"},
		{"yes", "", "", "CONTINUO_TLS"},
		{"", "nowhere", "", "nowhere"},
		{"", file(t, "no certificate"), "", "has no certificate"},
		{"", file(t, string(doortest.NewPair(t).CertPEM)), "", "own"},
	} {
		t.Setenv(client.EnvTLS, c.tls)
		t.Setenv(client.EnvCAFile, c.ca)
		t.Setenv(client.EnvTokenFile, c.token)
		o, err := client.FromEnv()
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c, err)
			}
		case (o.TLS == nil) != (c.want == "clear") || o.TLS != nil && (o.TLS.RootCAs == nil) != (c.want == "system") || o.TokenFile != c.token:
			t.Errorf("%+v: got %+v", c, o)
		}
	}
}

// judged is dialled with a server that judges who opens a stream, over a dialer that leads nowhere else.
func judged(t *testing.T, o client.Options, judge func(context.Context) error) (*gateway, *client.Client) {
	t.Helper()
	var g *gateway
	o.Dialer = func(ctx context.Context, addr string) (net.Conn, error) { return g.dial(ctx, addr) }
	return dialled(t, o, func(made *gateway) {
		g = made
		g.judge = judge
	})
}

// A client that was known and is refused now goes on with the token that its file has next; while there is none that can be read
// it uses the last. One that was never known ends with the refusal.
func TestATokenMayBeReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := file(t, "first\n")
		good := "first"
		judge := func(ctx context.Context) error {
			got := metadata.ValueFromIncomingContext(ctx, "authorization")
			if len(got) == 1 && got[0] == "Bearer "+good {
				return nil
			}
			return status.Error(codes.Unauthenticated, "who are you?")
		}
		g, c := judged(t, client.Options{TokenFile: path}, judge)
		if _, err := c.Do(t.Context(), signal("a")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		g.stream(0).cut(errCut)
		if _, err := c.Do(t.Context(), signal("b")); err != nil {
			t.Fatal(err)
		}
		g.set(func() { good = "second" })
		g.stream(1).cut(status.Error(codes.Unauthenticated, "revoked"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.Do(ctx, signal("c")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "who are you?") {
			t.Errorf("with the old token: %v", err)
		}
		if err := os.WriteFile(path, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(t.Context(), signal("d")); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, c := judged(t, client.Options{Token: fixed("wrong")}, func(context.Context) error { return status.Error(codes.Unauthenticated, "who are you?") })
		for range 2 {
			if _, err := c.Do(t.Context(), signal("a")); !errors.Is(err, &events.Error{Code: events.Unauthenticated}) {
				t.Errorf("got %v", err)
			}
		}
	})
}
