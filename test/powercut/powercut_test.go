// Package powercut cuts the power of a disk under a loaded server, again and again, and holds what is left against what
// clients were told.
//
// The disk is ext4 on a loop device. A cut (EXT4_IOC_SHUTDOWN without a flush of the file system's journal) loses what was
// not synced, which each cut proves by a file of its own. What a disk does that lies about syncs is not shown here.
package powercut

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/loopdisk"
)

var (
	cuts = flag.Int("cuts", 50, "how often the power is cut")
	seed = flag.Uint64("seed", 1, "of the moments at which it is cut")
)

const (
	diskBytes = 256 << 20
	inFlight  = 64 // workflows
	perStore  = 50 // cuts of one store: reading all of it after each cut takes longer as it grows
)

func TestNothingAcknowledgedIsLost(t *testing.T) { //nolint:paralleltest // it measures times
	needDisk(t)
	binary := build(t)
	total := outcome{}
	began := time.Now()
	for left := *cuts; left > 0; left -= perStore {
		b := newBench(t, binary, *seed+uint64(left))
		done := b.rounds(t, min(left, perStore))
		b.calm(t)
		total.add(done)
		total.acknowledged += b.ledger.acknowledged()
		if len(done.lost) > 0 {
			t.Fatalf("seed %d: %s", *seed, strings.Join(done.lost, "\n"))
		}
	}
	took := time.Since(began)
	fmt.Printf("powercut: %d cuts, %d acknowledged commands, 0 lost; unsynced data gone %d of %d times; %.2f s a cut, restart to ready p50 %s max %s (seed %d)\n",
		total.cuts, total.acknowledged, total.unsyncedGone, total.cuts, took.Seconds()/float64(total.cuts),
		quantile(total.restarts, 0.5).Round(time.Millisecond), quantile(total.restarts, 1).Round(time.Millisecond), *seed)
}

// TestAServerThatDoesNotSyncIsCaught shows that the cuts and the ledger find what they are for: the same server with the
// planted defect that its log is not synced.
func TestAServerThatDoesNotSyncIsCaught(t *testing.T) { //nolint:paralleltest // it measures times
	needDisk(t)
	b := newBench(t, build(t, "-tags", "mutants"), *seed, mutant.Variable+"=sync-skipped")
	for n := range 20 {
		if done := b.rounds(t, 1); len(done.lost) > 0 {
			fmt.Printf("powercut: a server that does not sync is caught by cut %d: %s\n", n+1, done.lost[0])
			return
		}
	}
	t.Fatal("20 cuts did not show that a server without syncs loses what it has acknowledged")
}

func needDisk(t *testing.T) {
	t.Helper()
	if missing := loopdisk.Missing(); missing != "" {
		t.Skip(missing)
	}
}

func build(t *testing.T, flags ...string) string {
	t.Helper()
	binary, err := child.Build(t.Context(), t.TempDir(), "./cmd/continuo", flags...)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// bench is a server on a disk that can be cut, under load.
type bench struct {
	disk   *loopdisk.Disk
	server *child.Server
	line   *line
	ledger *ledger
	random *rand.Rand
	before *contents // of the store at the last cut
	cut    int

	enough chan struct{} // closed when no more workflows are to be started
	failed chan error
	ended  chan struct{} // closed when the load has ended
}

// outcome is what cuts have shown.
type outcome struct {
	cuts, unsyncedGone, acknowledged int
	restarts                         []time.Duration
	lost                             []string
}

func (o *outcome) add(more outcome) {
	o.cuts += more.cuts
	o.unsyncedGone += more.unsyncedGone
	o.restarts = append(o.restarts, more.restarts...)
}

func newBench(t *testing.T, binary string, seed uint64, env ...string) *bench {
	t.Helper()
	dir := t.TempDir()
	disk, err := loopdisk.New(dir, diskBytes)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		disk: disk, line: newLine(), ledger: newLedger(), random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // moments, not secrets
		enough: make(chan struct{}), failed: make(chan error, 1), ended: make(chan struct{}),
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	log := filepath.Join(dir, "server.log")
	b.server, err = child.StartServer(t.Context(), child.ServerOptions{
		Binary: binary, Dir: filepath.Join(disk.Path(), "data"), Log: log, Args: []string{"--log-level", "warn", "--disk-reserve-bytes", "16777216"}, Env: env,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.server.Kill()
		if text, _ := os.ReadFile(log); t.Failed() {
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-8<<10):])
		}
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(b.ended)
		b.drive(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		b.line.set(nil)
		<-b.ended
	})
	b.connect(t)
	return b
}

// connect gives the load a client, and the server a worker, which ends with its client.
func (b *bench) connect(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Dial(b.server.GRPCAddr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	quiet := worker.Options{Log: slog.New(slog.DiscardHandler), DrainTimeout: time.Millisecond}
	w, err := worker.New(c, collect.With(runCollect), flow.Service[Notary](notary{}), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Run(context.WithoutCancel(t.Context())) }() // what it cannot do is seen as workflows that do not end
	b.line.set(c)
	return c
}

// drive keeps workflows in flight until enough is closed, and returns when all have ended.
func (b *bench) drive(ctx context.Context) {
	names := make(chan int, inFlight)
	done := make(chan struct{})
	for range inFlight {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range names {
				if err := b.ledger.drive(ctx, b.line, fmt.Sprint("flow-", n), n%50 == 7); err != nil && ctx.Err() == nil {
					select {
					case b.failed <- err:
					default:
					}
				}
			}
		}()
	}
feeding:
	for n := 0; ; n++ {
		select {
		case names <- n:
		case <-b.enough:
			break feeding
		case <-ctx.Done():
			break feeding
		}
	}
	close(names)
	for range inFlight {
		<-done
	}
}

// rounds cuts the power so often, and stops at the first loss.
func (b *bench) rounds(t *testing.T, number int) (o outcome) {
	t.Helper()
	for range number {
		b.cut++
		gone := b.cutPower(t)
		o.cuts++
		if gone {
			o.unsyncedGone++
		}
		found, problems, err := read(filepath.Join(b.disk.Path(), "data"))
		if err != nil {
			t.Fatalf("cut %d: %v", b.cut, err)
		}
		o.lost = append(b.ledger.missing(found), found.reused(b.before)...)
		for _, p := range problems {
			o.lost = append(o.lost, "not whole: "+p.Where+": "+p.What)
		}
		b.before = found
		if len(o.lost) > 0 {
			return o
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := b.server.Restart(ctx); err != nil {
			t.Fatalf("cut %d: %v", b.cut, err)
		}
		o.restarts = append(o.restarts, time.Since(began))
		if err := b.ledger.repeat(ctx, b.connect(t), 20); err != nil {
			t.Errorf("cut %d: %v", b.cut, err)
		}
		cancel()
	}
	return o
}

// cutPower cuts the power at a random moment, of which some lie in a start of the server, and mounts what is left. It
// reports whether data that was not synced is gone.
func (b *bench) cutPower(t *testing.T) (gone bool) {
	t.Helper()
	if b.random.IntN(8) == 0 {
		if err := errors.Join(b.server.Kill(), b.server.Spawn()); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, time.Duration(b.random.IntN(300))*time.Millisecond, b.failed)
	control, err := newControl(b.disk.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.disk.Cut(); err != nil {
		t.Fatal(err)
	}
	control.close()
	err = b.server.Kill()
	b.line.set(nil)
	if err := errors.Join(err, b.disk.Unmount(), b.disk.Mount()); err != nil {
		t.Fatal(err)
	}
	gone, err = control.gone()
	if err != nil {
		t.Fatal(err)
	}
	return gone
}

func wait(t *testing.T, d time.Duration, failed <-chan error) {
	t.Helper()
	select {
	case <-time.After(d):
	case err := <-failed:
		t.Fatal(err)
	}
}

// calm lets everything end, stops the server in order and looks at its store once more.
func (b *bench) calm(t *testing.T) {
	t.Helper()
	close(b.enough)
	select {
	case <-b.ended:
	case err := <-b.failed:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("workflows do not end after the last cut")
	}
	wait(t, 0, b.failed)
	if err := b.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	found, problems, err := read(filepath.Join(b.disk.Path(), "data"))
	if err != nil || len(problems) > 0 {
		t.Fatalf("after the last stop: %v, %v", problems, err)
	}
	if lost := append(b.ledger.missing(found), found.reused(b.before)...); len(lost) > 0 {
		t.Fatalf("after the last stop: %s", strings.Join(lost, "\n"))
	}
}
