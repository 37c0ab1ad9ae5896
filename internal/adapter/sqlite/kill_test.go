package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// killed names the file that a process which is to be killed writes.
const killed = "CONTINUO_TEST_READ_MODEL"

// writeUntilKilled writes batches that are moved into the file one by one, and says after each what it has written.
func writeUntilKilled(path string) error {
	ctx := context.Background()
	m, err := Open(ctx, path)
	if err != nil {
		return err
	}
	at, err := m.Positions(ctx)
	if err != nil {
		return err
	}
	next := events.Seq(1)
	if len(at) > 0 {
		next = at[0].Next
	}
	for ; ; next++ {
		b := batch(300)
		for i := range b.Rows {
			b.Rows[i].RunID[0], b.Rows[i].Version = byte(next), events.EventNumber(next)
		}
		b.Positions = []readmodel.Position{{Next: next + 1}}
		m.due = 0
		if err := m.Apply(ctx, b); err != nil {
			return err
		}
		fmt.Println(next)
	}
}

// A process is killed at random moments, most of which lie in checkpoints. The model is never to be built anew, and what
// was written is there.
func TestKilledProcessesCostNoRebuild(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // moments, not secrets
	written, unfinished := 0, 0
	for n := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test
		cmd.Env = append(os.Environ(), killed+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if written, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Duration(random.IntN(40_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
		_ = cmd.Wait() // killed
		if err := Check(path); err != nil {
			t.Fatalf("after kill %d: %v", n+1, err)
		}
		s, _, err := readSums(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.moving) > 0 {
			unfinished++
		}
	}
	m := open(t, path)
	at, err := m.Positions(t.Context())
	if err != nil || len(at) != 1 || at[0].Next <= events.Seq(written) {
		t.Fatalf("positions %v (%v) after %d batches", at, err, written)
	}
	for seq := events.Seq(1); seq < at[0].Next; seq++ {
		id := batch(300).Rows[299].RunID
		id[0] = byte(seq)
		if _, err := m.Run(t.Context(), "default", "w299", id); err != nil {
			t.Errorf("batch %d: %v", seq, err)
		}
	}
	t.Logf("%d batches, %d of 12 kills in a checkpoint", written, unfinished)
}
