package door_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/door/doortest"
	"github.com/continuo-dev/continuo/pkg/events"
)

// logs collects what a door says.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func write(t *testing.T, path, text string) {
	t.Helper()
	doortest.Replace(t, path, []byte(text)) // at once: a door may look at any moment
}

func TestRule(t *testing.T) {
	t.Parallel()
	both := door.Rule{TLS: true, Tokens: true}
	for _, c := range []struct {
		rule    door.Rule
		address string
		want    string // "" means that it is served
	}{
		{door.Rule{}, "127.0.0.1:0", ""},
		{door.Rule{}, "127.9.9.9:7480", ""},
		{door.Rule{}, "[::1]:7480", ""},
		{door.Rule{}, "localhost:7480", ""},
		{door.Rule{}, "7480", "host:port"},
		{both, "::1", "host:port"},
		{door.Rule{}, ":7480", "set tls_cert_file and tls_key_file and tokens_file"},
		{door.Rule{}, "0.0.0.0:7480", "insecure_open_bind"},
		{door.Rule{}, "[::]:7480", "only loopback is served"},
		{door.Rule{}, "192.0.2.1:7480", "only loopback is served"},
		{door.Rule{}, "example.com:7480", "only loopback is served"},
		{door.Rule{TLS: true}, "0.0.0.0:7480", "set tokens_file, or"},
		{door.Rule{Tokens: true}, "0.0.0.0:7480", "tokens would travel in clear"},
		{door.Rule{Tokens: true}, "127.0.0.1:7480", ""},
		{both, "0.0.0.0:7480", ""},
		{both, "example.com:7480", ""},
		{door.Rule{InsecureOpenBind: true}, "0.0.0.0:7480", ""},
		{door.Rule{InsecureOpenBind: true, TLS: true}, "0.0.0.0:7480", ""},
		{door.Rule{InsecureOpenBind: true, Tokens: true}, "0.0.0.0:7480", "tokens would travel in clear"},
	} {
		err := c.rule.Check("grpc_addr", c.address)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "grpc_addr")) {
			t.Errorf("%+v %s: got %v, want %q", c.rule, c.address, err, c.want)
		}
	}
}

func TestListenKeepsTheRuleAndWarns(t *testing.T) {
	t.Parallel()
	var none *door.Door
	if l, err := none.Listen(t.Context(), "http_addr", "0.0.0.0:0"); err == nil {
		_ = l.Close()
		t.Error("no door serves everybody")
	}
	l, err := none.Listen(t.Context(), "http_addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	var said logs
	open, err := door.Open(door.Options{InsecureOpenBind: true, Clock: clock.Real(), Log: said.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if l, err = open.Listen(t.Context(), "http_addr", "127.0.0.1:0"); err != nil || said.String() != "" {
		t.Fatalf("%v; it said %q", err, said.String())
	}
	_ = l.Close()
	if l, err = open.Listen(t.Context(), "http_addr", "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if !strings.Contains(said.String(), "level=WARN msg=\"INSECURE: anybody") {
		t.Errorf("it said %q", said.String())
	}
	if err := none.Check("http_addr", l); err == nil {
		t.Error("no door lets a listener of everybody be served")
	}
}

func TestWrongFilesAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	pair, other := doortest.NewPair(t), doortest.NewPair(t)
	pair.Write(t, path("crt"), path("key"))
	other.Write(t, path("crt2"), path("key2"))
	write(t, path("bad"), "secret-without-a-name-0123456789abcdef\n")
	for want, o := range map[string]door.Options{
		"only one is set": {CertFile: path("crt")},
		"no such file":    {CertFile: path("crt"), KeyFile: path("nowhere")},
		"does not match":  {CertFile: path("crt"), KeyFile: path("key2")},
		"tokens_file":     {TokensFile: path("nowhere")},
		"line 1":          {TokensFile: path("bad")},
	} {
		o.Clock, o.Log = clock.Real(), slog.New(slog.DiscardHandler)
		if _, err := door.Open(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestACertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
		first, second := doortest.NewPair(t), doortest.NewPair(t)
		first.Write(t, crt, key)
		var said logs
		d, err := door.Open(door.Options{CertFile: crt, KeyFile: key, Clock: clocktest.Bubble(), Log: said.logger()})
		if err != nil {
			t.Fatal(err)
		}
		secure := d.TLS()
		if secure.MinVersion != tls.VersionTLS12 {
			t.Errorf("the least version is %x", secure.MinVersion)
		}
		shown := func(want doortest.Pair) {
			t.Helper()
			got, err := secure.GetCertificate(nil)
			if err != nil || !got.Leaf.Equal(want.Leaf) {
				t.Errorf("another certificate is shown: %v", err)
			}
		}
		shown(first)
		second.Write(t, crt, filepath.Join(dir, "not yet"))
		shown(first) // it is not a second yet
		for range 5 {
			time.Sleep(time.Second) // of the bubble
			shown(first)            // the key is still the old one
		}
		if n := strings.Count(said.String(), "cannot be used"); n != 1 {
			t.Errorf("the log says %d times that the pair is broken:\n%s", n, said.String())
		}
		second.Write(t, crt, key)
		time.Sleep(time.Second)
		shown(second)
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		shown(second)
	})
}

// secret makes a token that looks like one.
func secret(n int) string { return fmt.Sprintf("%032d", n) }

func TestTokensLetIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens")
		write(t, path, "# people\nops:"+secret(1)+"\n\n billing:"+secret(2)+"\r\n")
		var said logs
		d, err := door.Open(door.Options{TokensFile: path, Clock: clocktest.Bubble(), Log: said.logger()})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ authorization, want string }{
			{"", "no token came"},
			{"Bearer ", "does not know the token"},
			{"Bearer " + secret(3), "does not know the token"},
			{"Bearer " + secret(1) + "x", "does not know the token"},
			{"Bearer ops:" + secret(1), "does not know the token"},
			{"Basic " + secret(1), "Bearer"},
			{secret(1), "Bearer"},
		} {
			_, err := d.Admit(c.authorization, "192.0.2.7:1")
			if !errors.Is(err, &events.Error{Code: events.Unauthenticated}) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "0000") {
				t.Errorf("%q: got %v, want %q", c.authorization, err, c.want)
			}
		}
		for authorization, want := range map[string]string{"Bearer " + secret(1): "ops", "bearer " + secret(2): "billing"} {
			if pass, err := d.Admit(authorization, ""); err != nil || pass.Name != want {
				t.Errorf("%q: got %+v, %v, want %s", authorization, pass, err, want)
			}
		}
		if got := d.Refusals(); got != (door.Refusals{Missing: 1, Wrong: 6}) {
			t.Errorf("counted %+v", got)
		}
		if n := strings.Count(said.String(), "unauthenticated"); n != 1 || !strings.Contains(said.String(), "192.0.2.7") {
			t.Errorf("refusals are logged %d times:\n%s", n, said.String())
		}
		if strings.Contains(said.String(), "0000") {
			t.Errorf("a token is in the log:\n%s", said.String())
		}
	})
}

func TestARevokedTokenEndsWhatItHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens")
		write(t, path, "a:"+secret(1)+"\nb:"+secret(2)+"\n")
		var said logs
		d, err := door.Open(door.Options{TokensFile: path, Clock: clocktest.Bubble(), Log: said.logger()})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = d.Run(t.Context()) }()
		ended := map[string]int{}
		var mu sync.Mutex
		hold := func(name string, n int) (release func()) {
			pass, err := d.Admit("Bearer "+secret(n), "")
			if err != nil {
				t.Fatal(err)
			}
			return d.Hold(pass, func() {
				mu.Lock()
				defer mu.Unlock()
				ended[name]++
			})
		}
		hold("a", 1)
		hold("b", 2)
		hold("a, released", 1)()
		late, err := d.Admit("Bearer "+secret(1), "")
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "b:"+secret(2)+"\nthis is broken\n")
		time.Sleep(3500 * time.Millisecond) // between two looks at the file
		mu.Lock()
		if len(ended) != 0 {
			t.Errorf("a broken file has ended %v", ended)
		}
		mu.Unlock()
		write(t, path, "b:"+secret(2)+"\na:"+secret(3)+"\n")
		time.Sleep(2 * time.Second)
		d.Hold(late, func() { ended["a, late"]++ })
		if want := map[string]int{"a": 1, "a, late": 1}; fmt.Sprint(ended) != fmt.Sprint(want) {
			t.Errorf("ended %v, want %v", ended, want)
		}
		if d.Refusals().Revoked != 2 {
			t.Errorf("counted %+v", d.Refusals())
		}
		if n := strings.Count(said.String(), "cannot be used"); n != 1 || strings.Contains(said.String(), "0000") {
			t.Errorf("the log says:\n%s", said.String())
		}
		if _, err := d.Admit("Bearer "+secret(3), ""); err != nil {
			t.Errorf("the new token: %v", err)
		}
	})
}
