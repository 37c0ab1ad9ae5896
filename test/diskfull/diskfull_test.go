// Package diskfull fills the disk under a server: by another file up to the watermark, to the last byte, and by failing
// writes. The disk is ext4 on a loop device.
package diskfull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/embedded"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
	"github.com/continuo-dev/continuo/test/loopdisk"
)

const (
	diskBytes    = 192 << 20
	reserveBytes = 32 << 20
	inFlight     = 20
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, nil)) }

// Gate is the service that the workflows call: it answers when the test lets it.
type Gate interface {
	Pass(ctx context.Context, name string) (string, error)
}

type gate struct{ open chan struct{} }

func (g gate) Pass(ctx context.Context, name string) (string, error) {
	select {
	case <-g.open:
		return "passed " + name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

var (
	through = flow.NewWorkflow[string, string]("diskfull.Through")
	churn   = flow.NewWorkflow[int, flow.None]("diskfull.Churn")
)

func runThrough(ctx flow.Context, name string) (string, error) {
	return flow.Call(ctx, Gate.Pass, name)
}

// runChurn writes as much as it can without being asked.
func runChurn(ctx flow.Context, n int) (flow.None, error) {
	for range 20 {
		if _, err := flow.Call(ctx, Gate.Pass, strings.Repeat("x", 20_000)); err != nil {
			return flow.None{}, err
		}
	}
	return churn.Continue(ctx, n+1)
}

// bench is a server on a small disk.
type bench struct {
	disk   *loopdisk.Disk
	server *child.Server
	client *client.Client
	gate   gate
	filler string
	log    string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if missing := loopdisk.Missing(); missing != "" {
		t.Skip(missing)
	}
	dir := t.TempDir()
	disk, err := loopdisk.New(dir, diskBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{disk: disk, gate: gate{make(chan struct{})}, filler: filepath.Join(disk.Path(), "filler"), log: filepath.Join(dir, "server.log")}
	b.server, err = child.StartServer(t.Context(), child.ServerOptions{
		Binary: fixture.Binary(), Dir: filepath.Join(disk.Path(), "data"), Log: b.log,
		Args: []string{"--log-level", "warn", "--disk-reserve-bytes", fmt.Sprint(reserveBytes)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.server.Kill()
		if text, _ := os.ReadFile(b.log); t.Failed() {
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-8<<10):])
		}
	})
	b.connect(t)
	return b
}

// connect makes a client and a worker.
func (b *bench) connect(t *testing.T) {
	t.Helper()
	c, err := client.Dial(b.server.GRPCAddr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(c, through.With(runThrough), churn.With(runChurn), flow.Service[Gate](b.gate),
		worker.Options{Log: slog.New(slog.DiscardHandler), DrainTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx) // what it cannot do is seen as workflows that do not end
	}()
	t.Cleanup(func() {
		cancel()
		_ = c.Close()
		<-ended
	})
	b.client = c
}

// fill takes space with another file until so much is free.
func (b *bench) fill(t *testing.T, free int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(b.disk.Path(), &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(b.filler, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	more := int64(st.Bavail)*st.Bsize - free
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, info.Size(), more), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// refusal is what REST says instead of an answer.
type refusal struct {
	Status       int
	Code         string `json:"code"`
	RetryAfterMs int64  `json:"retry_after_ms"`
}

// start starts a workflow by REST, once.
func (b *bench) start(t *testing.T, id string) refusal {
	t.Helper()
	body := fmt.Sprintf(`{"workflow_id": %q, "type": %q, "input": "x"}`, id, through.Name())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+b.server.HTTPAddr+"/v1/workflows", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	r := refusal{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheWatermarkRefusesAndLifts(t *testing.T) { //nolint:paralleltest // it measures times
	b := newBench(t)
	runs := make([]flow.Run[string], inFlight)
	for n := range runs {
		var err error
		if runs[n], err = through.Start(t.Context(), b.client, fmt.Sprint(n), flow.ID(fmt.Sprint("before-", n))); err != nil {
			t.Fatal(err)
		}
	}
	pid := b.server.PID()

	b.fill(t, reserveBytes-4<<20)
	refused := fixture.Eventually(t, time.Second, func() (bool, string) {
		r := b.start(t, "refused")
		return r.Status == http.StatusInsufficientStorage && r.Code == "disk_full" && r.RetryAfterMs > 0, fmt.Sprintf("a start gives %+v", r)
	})
	unready := fixture.Eventually(t, time.Second, func() (bool, string) {
		status, body := b.server.Ready(t.Context())
		return status == http.StatusServiceUnavailable && strings.Contains(body, "client commands are refused"), body
	})
	waiting := make(chan error, 1) // by the SDK, which tries again by itself
	go func() {
		_, err := through.Start(t.Context(), b.client, "waits", flow.ID("waits"))
		waiting <- err
	}()
	close(b.gate.open)
	for n, run := range runs {
		if result, err := run.Result(t.Context()); err != nil || result != "passed "+fmt.Sprint(n) {
			t.Fatalf("work in flight ends with %q, %v", result, err)
		}
	}
	if r := b.start(t, "still-refused"); r.Code != "disk_full" {
		t.Fatalf("after the work in flight a start gives %+v", r)
	}

	if err := os.Remove(b.filler); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	accepted := fixture.Eventually(t, 10*time.Second, func() (bool, string) {
		r := b.start(t, "accepted")
		return r.Status == http.StatusOK, fmt.Sprintf("a start gives %+v", r)
	})
	ready := fixture.Eventually(t, 10*time.Second, func() (bool, string) {
		status, body := b.server.Ready(t.Context())
		return status == http.StatusOK, body
	})
	if err := <-waiting; err != nil {
		t.Fatalf("the start that waited for space: %v", err)
	}
	if took := time.Since(back); took > 10*time.Second || b.server.PID() != pid {
		t.Fatalf("the start that waited took %s after space was back; process %d, now %d", took, pid, b.server.PID())
	}
	fmt.Printf("diskfull: refused %s and not ready %s after the disk was full to the reserve, %d in flight ended; accepted %s and ready %s after space was back, "+
		"a waiting client's start %s\n", ms(refused), ms(unready), inFlight, ms(accepted), ms(ready), ms(time.Since(back)))
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// TestAFullDiskStopsTheServer fills the disk to its last byte under work from inside, which is not refused.
func TestAFullDiskStopsTheServer(t *testing.T) { //nolint:paralleltest // it measures times
	b := newBench(t)
	close(b.gate.open)
	started := b.keepStarting(t)
	for n := range 4 {
		if _, err := churn.Start(t.Context(), b.client, n, flow.ID(fmt.Sprint("churn-", n))); err != nil {
			t.Fatal(err)
		}
	}
	fixture.Eventually(t, 30*time.Second, func() (bool, string) { return started.number() >= 50, "too few starts are acknowledged" })
	b.fill(t, reserveBytes-4<<20)
	b.fill(t, 0)
	took := b.awaitEnd(t, "no space left on device")
	started.stop()
	if err := os.Remove(b.filler); err != nil {
		t.Fatal(err)
	}
	b.nothingLost(t, started)
	fmt.Printf("diskfull: the server stopped %s after its disk was full, saying so; %d acknowledged starts, 0 lost\n", ms(took), started.number())
}

// TestAFailingDiskStopsTheServer lets every write and sync fail under load.
func TestAFailingDiskStopsTheServer(t *testing.T) { //nolint:paralleltest // it measures times
	b := newBench(t)
	close(b.gate.open)
	started := b.keepStarting(t)
	fixture.Eventually(t, 30*time.Second, func() (bool, string) { return started.number() >= 50, "too few starts are acknowledged" })
	if err := b.disk.Cut(); err != nil {
		t.Fatal(err)
	}
	took := b.awaitEnd(t, "input/output error")
	started.stop()
	if err := errors.Join(b.disk.Unmount(), b.disk.Mount()); err != nil {
		t.Fatal(err)
	}
	b.nothingLost(t, started)
	fmt.Printf("diskfull: the server stopped %s after writes began to fail, saying so; %d acknowledged starts, 0 lost\n", ms(took), started.number())
}

// awaitEnd waits until the server ends by itself, with an exit code and a message that has the reason.
func (b *bench) awaitEnd(t *testing.T, reason string) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case <-b.server.Gone():
	case <-time.After(20 * time.Second):
		t.Fatal("the server goes on for 20 s")
	}
	took := time.Since(began)
	if b.server.Err() == nil {
		t.Error("the server ended with exit code 0")
	}
	text, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	if log := string(text); !strings.Contains(log, reason) || !strings.Contains(log, "everything acknowledged is safe") || strings.Contains(log, "goroutine ") {
		t.Errorf("the server does not say clearly why it ended: %s", log)
	}
	return took
}

// acknowledged are the starts that a client was told of.
type acknowledged struct {
	mu     sync.Mutex
	runs   map[string]string
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// keepStarting starts workflows until it is stopped.
func (b *bench) keepStarting(t *testing.T) *acknowledged {
	t.Helper()
	a := &acknowledged{runs: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	a.cancel = cancel
	for k := range 8 {
		a.ended.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("start-%d-%d", k, n)
				if run, err := through.Start(ctx, b.client, id, flow.ID(id)); err == nil {
					a.mu.Lock()
					a.runs[id] = run.RunID().String()
					a.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(a.stop)
	return a
}

func (a *acknowledged) number() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.runs)
}

func (a *acknowledged) stop() {
	a.cancel()
	a.ended.Wait()
}

// nothingLost checks the store, starts the server again and finds everything that was acknowledged.
func (b *bench) nothingLost(t *testing.T, started *acknowledged) {
	t.Helper()
	report, err := embedded.Check(filepath.Join(b.disk.Path(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		if !strings.Contains(p.Where, "readmodel.db") { // a checkpoint of it may have been interrupted
			t.Errorf("after the stop: %s: %s", p.Where, p.What)
		}
	}
	if err := b.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = b.client.Close()
	b.connect(t)
	for id, run := range started.runs {
		result, err := through.Attach(b.client, id).Result(t.Context())
		if err != nil || result != "passed "+id {
			t.Errorf("%s, run %s, was acknowledged and ends with %q, %v", id, run, result, err)
		}
	}
}
