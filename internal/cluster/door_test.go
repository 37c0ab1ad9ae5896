package cluster_test

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/door/doortest"
)

// A process without a gateway has the same door as one with it: TLS, a token for its metrics, none for its health, and no address
// that others could reach without both.
func TestEveryRoleHasADoor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, tokens := filepath.Join(dir, "crt"), filepath.Join(dir, "key"), filepath.Join(dir, "tokens")
	pair, token := doortest.NewPair(t), strings.Repeat("x", door.MinTokenBytes)
	pair.Write(t, cert, key)
	doortest.Replace(t, tokens, []byte("prometheus:"+token+"\n"))
	d, err := door.Open(door.Options{CertFile: cert, KeyFile: key, TokensFile: tokens, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	asker := &http.Client{Transport: &http.Transport{TLSClientConfig: doortest.Trusting(pair)}}
	defer asker.CloseIdleConnections()
	l := newLab(t)
	for _, role := range cluster.Roles() {
		link := l.broker.Connect()
		o := cluster.Options{
			Roles: []cluster.Role{role}, Log: link, Objects: l.objects, Blobs: l.blobs, Model: l.model, Name: t.Name(),
			HTTPAddr: "0.0.0.0:0", GRPCAddr: "127.0.0.1:0",
		}
		if p, err := cluster.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "http_addr") || !strings.Contains(err.Error(), "only loopback") {
			t.Errorf("%s: an open address without a door: %v", role, err)
			if p != nil {
				_ = p.Close()
			}
		}
		o.HTTPAddr, o.Door = "127.0.0.1:0", d
		p, err := cluster.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			path, token string
			code        int
		}{
			{"/healthz", "", http.StatusOK},
			{"/metrics", "", http.StatusUnauthorized},
			{"/metrics", token + "x", http.StatusUnauthorized},
			{"/metrics", token, http.StatusOK},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+p.HTTPAddr()+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+c.token)
			answer, err := asker.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err != nil || answer.StatusCode != c.code || c.code == http.StatusUnauthorized && !strings.Contains(string(text), `"code":"unauthenticated"`) {
				t.Errorf("%s: %s: %s, %v: %s", role, c.path, answer.Status, err, text)
			}
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		_ = link.Close()
	}
}
