package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/door/doortest"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

var doorEcho = flow.NewWorkflow[int, int]("door.Echo")

// guarded is a suite that serves TLS and wants tokens, with the files of its door and of its clients.
type guarded struct {
	*Suite

	cert, key, tokens, token string
	trusting                 *tls.Config
}

func token(n int) string { return strings.Repeat(string(rune('a'+n)), door.MinTokenBytes) }

func startGuarded(t *testing.T, pairs ...doortest.Pair) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{
		cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), tokens: filepath.Join(dir, "tokens"), token: filepath.Join(dir, "token"),
		trusting: doortest.Trusting(pairs...),
	}
	pairs[0].Write(t, g.cert, g.key)
	doortest.Replace(t, g.tokens, []byte("tester:"+token(0)+"\n"))
	doortest.Replace(t, g.token, []byte(token(0)+"\n"))
	d, err := door.Open(door.Options{CertFile: g.cert, KeyFile: g.key, TokensFile: g.tokens, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	g.Suite = started(t, Options{Dir: t.TempDir(), HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", Door: d})
	return g
}

func (g *guarded) dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(g.GRPCAddr(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// get makes a REST request over a connection of its own, and returns the certificate that was shown, too.
func (g *guarded) get(t *testing.T, path, token string) (status int, body string, shown []byte) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: g.trusting.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+g.HTTPAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.TLS.PeerCertificates[0].Raw
}

func echo(ctx context.Context, c *client.Client, id events.WorkflowID) error {
	run, err := doorEcho.Start(ctx, c, 7, flow.ID(string(id)))
	if err != nil {
		return err
	}
	_, err = run.Result(ctx)
	return err
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Certificate and tokens are replaced while a client and a worker are connected over TLS: what is connected goes on, the new
// certificate is shown to the next, a revoked token ends its streams, and whoever has the new one is back.
func TestCertificateAndTokensAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	first, second := doortest.NewPair(t), doortest.NewPair(t)
	g := startGuarded(t, first, second)
	c := g.dial(t, client.Options{TLS: g.trusting, TokenFile: g.token})
	w, err := worker.New(c, worker.Options{Log: slog.New(slog.DiscardHandler)}, doorEcho.With(func(_ flow.Context, in int) (int, error) { return in, nil }))
	if err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- w.Run(stop) }()
	if err := echo(within(t, 20*time.Second), c, "before"); err != nil {
		t.Fatal(err)
	}
	if status, body, shown := g.get(t, "/v1/workflows", token(0)); status != http.StatusOK || string(shown) != string(first.Leaf.Raw) {
		t.Errorf("REST: %d %s", status, body)
	}
	second.Write(t, g.cert, g.key)
	eventually(t, "the new certificate is shown", func() bool {
		_, _, shown := g.get(t, "/healthz", "")
		return string(shown) == string(second.Leaf.Raw)
	})
	if err := echo(within(t, 20*time.Second), c, "new certificate"); err != nil {
		t.Fatal(err)
	}

	doortest.Replace(t, g.tokens, []byte("tester:"+token(1)+"\n"))
	eventually(t, "the old token is refused", func() bool {
		status, _, _ := g.get(t, "/v1/workflows", token(0))
		return status == http.StatusUnauthorized
	})
	eventually(t, "the streams of the old token are ended", func() bool {
		_, body, _ := g.get(t, "/metrics", token(1))
		return strings.Contains(body, `continuo_unauthenticated_total{reason="revoked"} 2`)
	})
	if err := echo(within(t, time.Second), c, "revoked"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "token") {
		t.Errorf("with a revoked token: %v, want that the time is up and why", err)
	}
	doortest.Replace(t, g.token, []byte(token(1)+"\n"))
	if err := echo(within(t, 20*time.Second), c, "new token"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-worked; err != nil {
		t.Errorf("the worker: %v", err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Who has no token, or a wrong one, is told so at once; who speaks in clear, or trusts somebody else, is not served.
func TestStrangersAreTurnedAway(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, doortest.NewPair(t))
	for want, o := range map[string]client.Options{
		"no token came":          {TLS: g.trusting},
		"does not know the":      {TLS: g.trusting, Token: func(context.Context) (string, error) { return token(5), nil }},
		"server preface":         {TokenFile: g.token},
		"certificate":            {TLS: doortest.Trusting(doortest.NewPair(t)), TokenFile: g.token},
		"there is no token here": {TLS: g.trusting, Token: func(context.Context) (string, error) { return "", errors.New("there is no token here") }},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			err := echo(within(t, 2*time.Second), g.dial(t, o), "a")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	c := g.dial(t, client.Options{TLS: g.trusting})
	w, err := worker.New(c, worker.Options{Log: slog.New(slog.DiscardHandler)}, doorEcho.With(func(_ flow.Context, in int) (int, error) { return in, nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(within(t, 10*time.Second)); !errors.Is(err, &events.Error{Code: events.Unauthenticated}) {
		t.Errorf("a worker without a token ends with %v", err)
	}
}

func TestOldTLSIsNotSpoken(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, doortest.NewPair(t))
	for _, addr := range []string{g.HTTPAddr(), g.GRPCAddr()} {
		for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			config := g.trusting.Clone()
			config.MinVersion, config.MaxVersion, config.NextProtos = tls.VersionTLS10, version, []string{"h2"}
			conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", addr)
			if (err == nil) != want {
				t.Errorf("%s: version %x: %v", addr, version, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	}
}
