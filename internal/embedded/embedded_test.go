package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func started(t *testing.T, o Options) *Suite {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A start that fails leaves nothing behind: the same directory and addresses can be used at once.
func TestAStartThatFailsReleasesEverything(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx   context.Context
		o     Options
		spoil func(dir string) error
		want  string
	}{
		"gRPC address taken":  {o: Options{GRPCAddr: taken.Addr().String()}, want: "listen on"},
		"HTTP address taken":  {o: Options{GRPCAddr: "127.0.0.1:0", HTTPAddr: taken.Addr().String()}, want: "listen on"},
		"address not local":   {o: Options{HTTPAddr: "0.0.0.0:0"}, want: "others could reach"},
		"payload limit":       {o: Options{MaxPayloadBytes: 1 << 30}, want: "payload limit"},
		"context ended":       {ctx: ended, want: "context canceled"},
		"blobs are a file":    {spoil: func(dir string) error { return os.WriteFile(filepath.Join(dir, "blobs"), nil, 0o600) }, want: "blobs"},
		"read model is a dir": {spoil: func(dir string) error { return os.Mkdir(filepath.Join(dir, "readmodel.db"), 0o700) }, want: "readmodel.db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.o.Dir = t.TempDir()
			first, err := Start(t.Context(), Options{Dir: test.o.Dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if test.spoil != nil {
				for _, part := range []string{"blobs", "readmodel.db"} {
					if err := os.RemoveAll(filepath.Join(test.o.Dir, part)); err != nil {
						t.Fatal(err)
					}
				}
				if err := test.spoil(test.o.Dir); err != nil {
					t.Fatal(err)
				}
			}
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			if s, err := Start(ctx, test.o); err == nil {
				_ = s.Close()
				t.Fatal("it started")
			} else if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if test.spoil == nil {
				started(t, Options{Dir: test.o.Dir})
			}
		})
	}
}

func TestErrorsOfTheDirectoryPassThrough(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Options{Dir: foreign}); !errors.Is(err, pebble.ErrForeign) {
		t.Errorf("a foreign directory: %v", err)
	}
	used := t.TempDir()
	started(t, Options{Dir: used})
	if _, err := Start(t.Context(), Options{Dir: used}); !errors.Is(err, pebble.ErrInUse) {
		t.Errorf("a directory in use: %v", err)
	}
}

func TestAThrowAwayDirectoryIsDeleted(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	if s.temporary == "" {
		t.Fatal("there is no throw-away directory")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Stat(s.temporary); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.temporary, err)
	}
	if s.HTTPAddr() != "in-process" || s.GRPCAddr() != "in-process" {
		t.Errorf("addresses %s and %s", s.HTTPAddr(), s.GRPCAddr())
	}
	if _, err := s.Dial(t.Context(), ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a dial after the end: %v", err)
	}
}

func TestAStoreThatCannotBeWrittenStopsTheSuite(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	s.broke(errors.New("the disk is gone"))
	s.broke(errors.New("it is still gone"))
	<-s.Done()
	err := s.Close()
	if err == nil || !strings.Contains(err.Error(), "the disk is gone") || !strings.Contains(err.Error(), "start again") {
		t.Errorf("got %v, want what happened and what to do", err)
	}
	if again := s.Close(); again == nil || again.Error() != err.Error() {
		t.Errorf("Close again: %v", again)
	}
}

// Every metric that is served is in the reference, and the reference names no other.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	s := started(t, Options{HTTPAddr: "127.0.0.1:0"})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTPAddr()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(continuo_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
	}
	served := 0
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (continuo_[a-z_]+) `).FindAllStringSubmatch(string(body), -1) {
		served++
		if !documented[m[1]] {
			t.Errorf("%s is not in docs/reference/metrics.md", m[1])
		}
	}
	if served < 20 {
		t.Errorf("only %d metrics are served", served)
	}
}
