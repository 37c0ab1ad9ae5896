package pulsar_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/brokerlogtest"
	server "github.com/continuo-dev/continuo/internal/testserver/pulsar"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestMain(m *testing.M) {
	code := server.Main(m)
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var namespaces atomic.Int64

// fresh are the options of a log that is not there yet.
func fresh(s *server.Server) pulsar.Options {
	return pulsar.Options{
		URL: s.URL(), AdminURL: s.AdminURL(), Tenant: "tests", Namespace: fmt.Sprintf("n%d", namespaces.Add(1)), Partitions: 2,
		Patience: 2 * time.Minute, // another test may restart the broker
	}
}

func open(t testing.TB, o pulsar.Options) *pulsar.Log {
	t.Helper()
	l, err := pulsar.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// ask sends a request to the web service of the shared broker, while nobody restarts it.
func ask(t *testing.T, s *server.Server, method, path, body string) {
	t.Helper()
	restarting.Lock()
	defer restarting.Unlock()
	request, err := http.NewRequestWithContext(t.Context(), method, s.AdminURL()+"/admin/v2/"+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var text bytes.Buffer
	if _, _ = text.ReadFrom(answer.Body); answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, path, answer.Status, text.String())
	}
}

// restarting is held by who ends the shared broker.
var (
	restarting sync.Mutex
	restarts   int
)

// restart ends the shared broker, by SIGKILL and SIGTERM in turn, and starts it again.
func restart(t *testing.T, s *server.Server) {
	restarting.Lock()
	defer restarting.Unlock()
	end := s.Kill
	if restarts++; restarts%2 == 0 {
		end = s.Stop
	}
	before := time.Now()
	if err := end(); err != nil {
		t.Error(err)
	}
	gone := time.Now()
	if err := s.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	t.Logf("the broker was gone after %s and there again after another %s", gone.Sub(before).Round(time.Millisecond), time.Since(gone).Round(time.Millisecond))
}

const maxPending = 32

func TestConforms(t *testing.T) {
	t.Parallel()
	s := server.Shared(t)
	brokerlogtest.Test(t, pulsar.Features, func(t *testing.T) brokerlogtest.Fixture {
		o := fresh(s)
		o.MaxPending = maxPending
		return brokerlogtest.Fixture{
			Log: open(t, o), MaxPending: maxPending,
			Another: func(t *testing.T) brokerlog.Log { return open(t, o) },
			Trim: func(t *testing.T, topic brokerlog.Topic, p events.Partition) {
				path := fmt.Sprintf("persistent/%s/%s/%s-partition-%d", o.Tenant, o.Namespace, topic, p)
				ask(t, s, http.MethodPut, path+"/unload", "") // closes the ledger
				ask(t, s, http.MethodPost, path+"/trim", "")
			},
			Stall: func(t *testing.T) func() {
				restarting.Lock()
				if err := s.Pause(); err != nil {
					t.Error(err)
				}
				return sync.OnceFunc(func() {
					defer restarting.Unlock()
					if err := s.Resume(); err != nil {
						t.Error(err)
					}
				})
			},
			Restart: func(t *testing.T) { restart(t, s) },
		}
	})
}
