package rot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// Clerk is the service that the workflows call.
type Clerk interface {
	File(ctx context.Context, text string) (string, error)
}

type clerk struct{}

func (clerk) File(_ context.Context, text string) (string, error) {
	if strings.HasPrefix(text, "fails") {
		return "", errors.New("the drawer is locked")
	}
	return strings.ToUpper(text), nil
}

var (
	process  = flow.NewWorkflow[string, string]("rot.Process")
	hint     = flow.NewSignal[string]("hint")
	progress = flow.NewView[string]("progress")
)

// runProcess leaves something of everything: results, views, signals, open tasks and timers, payloads in blobs.
func runProcess(ctx flow.Context, in string) (string, error) {
	progress.Set(ctx, "begun with "+in[:min(20, len(in))])
	filed, err := flow.Call(ctx, Clerk.File, in)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(in, "sleeps") {
		if err := flow.Sleep(ctx, time.Hour); err != nil {
			return "", err
		}
	}
	given, err := hint.Next(ctx).Await(ctx)
	if err != nil {
		return "", err
	}
	return filed + given, nil
}

// load runs workflows of every kind to where they go.
func load(ctx context.Context, c *client.Client, name string) error {
	var running sync.WaitGroup
	failures := make(chan error, 1)
	for n := range 60 {
		running.Go(func() {
			id := fmt.Sprintf("%s-%d", name, n)
			if err := loadOne(ctx, c, id, n); err != nil {
				select {
				case failures <- fmt.Errorf("%s: %w", id, err):
				default:
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func loadOne(ctx context.Context, c *client.Client, id string, n int) error {
	in := "ends as " + id
	switch {
	case n%12 == 0:
		in = "sleeps as " + id
	case n%12 == 1:
		in = "fails as " + id
	case n%20 == 2:
		in = strings.Repeat("large as "+id+" ", 9_000)
	}
	run, err := process.Start(ctx, c, in, flow.ID(id))
	if err != nil || n%12 < 2 {
		return err
	}
	if err := hint.Send(ctx, c, id, " and a hint for "+id); err != nil {
		return err
	}
	_, err = run.Result(ctx)
	return err
}

// source is a stopped store that is damaged in copies.
type source struct {
	name string
	dir  string
	// wal is the write-ahead log of a killed store, and tail where its last three acknowledged records begin.
	wal  string
	tail int64
}

// makeSources makes a store that was stopped in order, and one that was killed.
func makeSources(t *testing.T) (stopped, killed source) {
	t.Helper()
	binary, err := child.Build(t.Context(), t.TempDir(), "./cmd/continuo")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	server, err := child.StartServer(t.Context(), child.ServerOptions{Binary: binary, Dir: data, Args: []string{"--log-level", "warn"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Kill()
		if text, _ := os.ReadFile(data + ".log"); t.Failed() {
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-8<<10):])
		}
	})
	withClient(t, server, func(c *client.Client) error { return load(t.Context(), c, "first") })
	if err := errors.Join(server.Stop(20*time.Second), server.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	killed = source{name: "killed", dir: filepath.Join(dir, "killed")}
	withClient(t, server, func(c *client.Client) error { return load(t.Context(), c, "second") })
	quiet, err := client.Dial(server.GRPCAddr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // without a worker each is one record
		killed.wal = newestWAL(t, data)
		if n == 0 {
			if killed.tail, err = written(filepath.Join(data, killed.wal)); err != nil {
				t.Fatal(err)
			}
		}
		if err := hint.Send(t.Context(), quiet, "second-0", fmt.Sprint("hint ", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(server.Kill(), quiet.Close(), os.CopyFS(killed.dir, os.DirFS(data))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(server.Restart(t.Context()), server.Stop(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	stopped = source{name: "stopped", dir: filepath.Join(dir, "stopped")}
	if err := os.CopyFS(stopped.dir, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	return stopped, killed
}

// withClient does something with a client and a worker.
func withClient(t *testing.T, server *child.Server, do func(c *client.Client) error) {
	t.Helper()
	c, err := client.Dial(server.GRPCAddr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(c, process.With(runProcess), flow.Service[Clerk](clerk{}), worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	err = do(c)
	cancel()
	if err := errors.Join(err, <-ended, c.Close()); err != nil {
		t.Fatal(err)
	}
}

// written returns how much of a file is not zeros at its end: a write-ahead log is filled with them ahead of what is written.
func written(path string) (int64, error) {
	b, err := os.ReadFile(path)
	return int64(len(bytes.TrimRight(b, "\x00"))), err
}

func newestWAL(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(found) == 0 {
		t.Fatalf("the store in %s has no write-ahead log: %v", dir, err)
	}
	rel, err := filepath.Rel(dir, slices.Max(found))
	if err != nil {
		t.Fatal(err)
	}
	return rel
}
