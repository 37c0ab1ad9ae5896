package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	ready := `{"status":"ready","components":[{"name":"scheduler","ready":true,"detail":"stands by"}]}`
	answer := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	for name, c := range map[string]struct {
		handler http.Handler
		tls     bool
		exit    int
		want    string
	}{
		"ready":      {answer(http.StatusOK, ready), false, exitOK, "scheduler  ready  stands by"},
		"over TLS":   {answer(http.StatusOK, ready), true, exitOK, "scheduler  ready  stands by"},
		"not ready":  {answer(http.StatusServiceUnavailable, strings.ReplaceAll(ready, "true", "false")), false, exitFailed, "scheduler  not ready  stands by"},
		"not ours":   {answer(http.StatusOK, "welcome"), false, exitFailed, "no process of Continuo"},
		"may be TLS": {answer(http.StatusBadRequest, "Client sent an HTTP request to an HTTPS server."), false, exitFailed, "may speak TLS"},
		"not a host": {nil, false, exitUsage, "host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := "nowhere"
			if c.handler != nil {
				server := httptest.NewUnstartedServer(c.handler)
				if c.tls {
					server.StartTLS()
					file := filepath.Join(t.TempDir(), "ca.crt")
					text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
					if err := os.WriteFile(file, text, 0o600); err != nil {
						t.Fatal(err)
					}
					t.Setenv("CONTINUO_CA_FILE", file)
				} else {
					server.Start()
				}
				defer server.Close()
				// A process that binds everywhere is asked on loopback.
				addr = strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "0.0.0.0", 1)
			}
			t.Setenv("CONTINUO_HTTP_ADDR", addr)
			var out strings.Builder
			exit := run(t.Context(), []string{"health"}, strings.NewReader(""), &out, &out)
			if exit != c.exit || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", exit, c.exit, c.want, out.String())
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		var out strings.Builder
		if exit := run(t.Context(), []string{"health", "--http-addr", "127.0.0.1:1"}, strings.NewReader(""), &out, &out); exit != exitFailed {
			t.Errorf("exit code %d\n%s", exit, out.String())
		}
	})
}
