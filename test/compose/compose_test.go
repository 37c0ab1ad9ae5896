// Package compose brings deploy/compose up without containers, uses it from outside as the docs say, and brings it down.
package compose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

const script = "../../deploy/compose/run-local.sh"

// Clerk is the service that the workflow calls.
type Clerk interface {
	File(ctx context.Context, text string) (string, error)
}

type clerk struct{}

func (clerk) File(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil }

var process = flow.NewWorkflow[string, string]("compose.Order")

func runProcess(ctx flow.Context, in string) (string, error) { return flow.Call(ctx, Clerk.File, in) }

// suite is what was brought up from a compose file.
type suite struct {
	file, state string
	ports       []string // that are published
}

// local runs a verb of the script.
func (s *suite) local(ctx context.Context, verb string) (string, error) {
	command := exec.CommandContext(ctx, script, verb, "-state", s.state, "-file", s.file)
	command.Env = os.Environ()
	for i, name := range []string{"CONTINUO_HTTP_PORT_1", "CONTINUO_GRPC_PORT_1", "CONTINUO_HTTP_PORT_2", "CONTINUO_GRPC_PORT_2"} {
		_, port, _ := strings.Cut(s.ports[i], ":")
		command.Env = append(command.Env, name+"="+port)
	}
	output, err := command.CombinedOutput()
	return string(output), err
}

// shell runs a command line where the file that up writes was read.
func (s *suite) shell(ctx context.Context, line string) (string, error) {
	output, err := exec.CommandContext(ctx, "/bin/sh", "-c", ". "+filepath.Join(s.state, "env")+"; "+line).CombinedOutput()
	return string(output), err
}

// processes are the ids of those that have the state directory in their command line or environment.
func (s *suite) processes(t *testing.T) (ids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		for _, file := range []string{"cmdline", "environ"} {
			if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.Contains(string(text), s.state) {
				ids = append(ids, filepath.Base(dir))
				break
			}
		}
	}
	return ids
}

// up brings a compose file up and says what its processes are.
func up(ctx context.Context, t *testing.T, file string) *suite {
	t.Helper()
	ports, err := child.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{file: "deploy/compose/" + file, state: t.TempDir(), ports: ports}
	t.Cleanup(func() { // whatever became of the test
		if output, err := s.local(context.WithoutCancel(ctx), "down"); err != nil {
			t.Errorf("down: %v\n%s", err, output)
		}
	})
	if output, err := s.local(ctx, "up"); err != nil {
		t.Fatalf("up: %v\n%s", err, output)
	}
	return s
}

// needServers skips the test where the servers that it needs are not installed.
func needServers(t *testing.T) {
	t.Helper()
	_, err := pulsar.Command(pulsar.Options{Dir: t.TempDir()})
	testserver.Skip(t, err)
	_, err = clickhouse.Command(t.Context(), clickhouse.Options{Dir: t.TempDir()})
	testserver.Skip(t, err)
}

// use runs a workflow with a worker of the test, through the published ports, with the token and the authority of the suite.
func (s *suite) use(ctx context.Context, t *testing.T, addr, id string) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	security, err := client.TLSConfig(true, filepath.Join(s.state, "secrets", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(addr, client.Options{TLS: security, TokenFile: filepath.Join(s.state, "secrets", "workers.token")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	w, err := worker.New(c, process.With(runProcess), flow.Service[Clerk](clerk{}), worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var working sync.WaitGroup
	working.Go(func() {
		if err := w.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the worker: %v", err)
		}
	})
	defer working.Wait()
	defer cancel()
	run, err := process.Start(ctx, c, "hello", flow.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := run.Result(ctx); err != nil || got != "HELLO" {
		t.Fatalf("result %q, %v", got, err)
	}
}

// get asks a REST address as curl --cacert does, with a token or without.
func (s *suite) get(ctx context.Context, t *testing.T, path, token string) (status int, body string) {
	t.Helper()
	authority, err := os.ReadFile(filepath.Join(s.state, "secrets", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.ports[0]+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		text, err := os.ReadFile(filepath.Join(s.state, "secrets", token+".token"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+string(text))
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// says waits until a command line prints all of some words: the read model is a moment behind.
func (s *suite) says(ctx context.Context, t *testing.T, line string, words ...string) {
	t.Helper()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		output, err := s.shell(ctx, line)
		missing := ""
		for _, word := range words {
			if !strings.Contains(output, word) {
				missing = word
			}
		}
		if err == nil && missing == "" {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v, no %q in\n%s", line, err, missing, output)
		}
	}
}

// judge uses a suite as its docs say.
func (s *suite) judge(ctx context.Context, t *testing.T) {
	t.Helper()
	s.says(ctx, t, "continuo workflow list", "order-1", "compose.Order", "completed")
	s.says(ctx, t, "continuo workflow history order-1", "RunStarted", "TaskCompleted")
	s.says(ctx, t, "continuo stats", "compose.Order")
	if status, body := s.get(ctx, t, "/v1/workflows", "operator"); status != http.StatusOK || !strings.Contains(body, `"order-1"`) {
		t.Errorf("REST answers %d: %s", status, body)
	}
	if status, body := s.get(ctx, t, "/v1/workflows", ""); status != http.StatusUnauthorized {
		t.Errorf("REST without a token answers %d: %s", status, body)
	}
	if status, body := s.get(ctx, t, "/metrics", "prometheus"); status != http.StatusOK || !strings.Contains(body, "continuo_gateway_requests_total") {
		t.Errorf("metrics with the token of Prometheus: %d", status)
	}
	if output, err := s.shell(ctx, "CONTINUO_TOKEN_FILE= continuo workflow list"); err == nil {
		t.Errorf("the command line without a token got\n%s", output)
	}
}

// goesDown ends a suite and looks for what is left.
func (s *suite) goesDown(ctx context.Context, t *testing.T, want int) {
	t.Helper()
	if got := len(s.processes(t)); got != want {
		t.Errorf("%d processes before down, want %d", got, want)
	}
	if output, err := s.local(ctx, "down"); err != nil || !strings.Contains(output, fmt.Sprintf("%d processes ended", want)) || strings.Contains(output, "was killed") {
		t.Errorf("down: %v\n%s", err, output)
	}
	if left := s.processes(t); len(left) > 0 {
		t.Errorf("down has left the processes %v", left)
	}
}

func TestTheClusterComesUpAndGoesDown(t *testing.T) { //nolint:paralleltest // it tells how long it takes
	needServers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	s := up(ctx, t, "compose.yaml")
	ready := time.Since(began)
	s.use(ctx, t, s.ports[1]+","+s.ports[3], "order-1")
	s.judge(ctx, t)
	if output, err := s.local(ctx, "up"); err == nil || !strings.Contains(output, "up already") {
		t.Errorf("a second up: %v\n%s", err, output)
	}
	output, err := s.local(ctx, "status")
	if err != nil || strings.Count(output, "healthy") != 10 {
		t.Errorf("status: %v\n%s", err, output)
	}
	// One is killed: status says which, and the others go on.
	for line := range strings.Lines(output) {
		var name, word string
		var pid int
		if _, err := fmt.Sscan(line, &name, &word, &pid); err == nil && name == "gateway-1" {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	if output, err := s.local(ctx, "status"); err == nil || strings.Count(output, "ended; see") != 1 {
		t.Errorf("status after a kill: %v\n%s", err, output)
	}
	s.use(ctx, t, s.ports[1]+","+s.ports[3], "order-2")
	s.goesDown(ctx, t, 9)
	fmt.Printf("compose: %d processes of compose.yaml up in %.1f s, used over TLS with tokens, one killed, all down after %.1f s\n",
		10, ready.Seconds(), time.Since(began).Seconds())
}

func TestTheOneContainerComesUpAndGoesDown(t *testing.T) { //nolint:paralleltest // beside the other
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := up(ctx, t, "compose.embedded.yaml")
	s.use(ctx, t, s.ports[1], "order-1")
	s.judge(ctx, t)
	s.goesDown(ctx, t, 1)
}
