package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A checkpoint that somebody else keeps from its end has moved pages whose sums nobody wrote down. Later ones must not
// take the model for damaged because of them.
func TestACheckpointThatDidNotEndLeavesNoWrongSums(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	b := batch(300)
	if err := m.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	foreign, err := connect(path, 1, "query_only(1)", "wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := foreign.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM runs").Scan(&n); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	err = m.checkpoint(t.Context())
	m.mu.Unlock()
	if err == nil {
		t.Fatal("a checkpoint ended while somebody read")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := foreign.Close(); err != nil {
		t.Fatal(err)
	}
	b.Rows = b.Rows[:1] // few pages: the write-ahead log begins again and forgets the others
	b.Rows[0].Version++
	if err := m.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Errorf("a whole model is reported: %v", err)
	}
}

// crashes are the files of a model as a crash during a checkpoint may leave them.
type crashes struct {
	t             *testing.T
	sums, wal     []byte
	before, after []byte // the file itself
	moved         []int  // pages
}

// duringCheckpoint makes a model of several checkpoints and stops the last in the middle.
func duringCheckpoint(t *testing.T) (c crashes, want events.EventNumber) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	read := func(suffix string) []byte {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	apply := func(b readmodel.Batch) {
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	first := batch(400)
	first.Begun = 400
	apply(first)
	m.mu.Lock()
	err := m.checkpoint(t.Context())
	m.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	b := batch(600) // pages are changed and added
	b.Rows = append(b.Rows[:40], b.Rows[400:]...)
	for i := range b.Rows {
		b.Rows[i].Version = 9
	}
	apply(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if some, err := m.note(); err != nil || !some {
		t.Fatalf("nothing is to be moved (%v)", err)
	}
	c = crashes{t: t, sums: read(sumsSuffix), wal: read("-wal"), before: read("")}
	for n := range m.sums.moving {
		c.moved = append(c.moved, n)
	}
	slices.Sort(c.moved)
	if err := m.moveLog(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.after = read("")
	if len(c.moved) < 10 || len(c.after) == len(c.before) || len(read("-wal")) > 0 || !bytes.Equal(c.sums, read(sumsSuffix)) {
		t.Fatalf("%d pages are moved, %d bytes become %d: no checkpoint to look into", len(c.moved), len(c.before), len(c.after))
	}
	return c, 9
}

// at returns the file after so many pages have been moved; the next one is torn.
func (c crashes) at(moved int) []byte {
	db := bytes.Clone(c.before)
	for i, n := range c.moved[:min(moved+1, len(c.moved))] {
		size := pageBytes
		if i == moved {
			size = 1000
		}
		if end := n*pageBytes + size; end > len(db) {
			db = append(db, make([]byte, end-len(db))...)
		}
		copy(db[n*pageBytes:n*pageBytes+size], c.after[n*pageBytes:])
	}
	return db
}

// leave writes the files of a crash.
func (c crashes) leave(db, wal []byte) (path string) {
	c.t.Helper()
	path = filepath.Join(c.t.TempDir(), "model.db")
	for suffix, b := range map[string][]byte{"": db, "-wal": wal, sumsSuffix: c.sums} {
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return path
}

// whole opens what a crash has left and wants everything to be there, also after it was closed in order.
func (c crashes) whole(what, path string, want events.EventNumber) {
	c.t.Helper()
	if err := Check(path); err != nil {
		c.t.Errorf("%s: %v", what, err)
	}
	m, err := Open(c.t.Context(), path)
	if err != nil {
		c.t.Fatal(err)
	}
	for id, version := range map[events.WorkflowID]events.EventNumber{"w0": want, "w39": want, "w40": 3, "w399": 3, "w400": want, "w599": want} {
		if got, err := m.Run(c.t.Context(), "default", id, events.RunID{}); err != nil || got.Version != version {
			c.t.Errorf("%s: %s has version %d (%v)", what, id, got.Version, err)
		}
	}
	list, err := m.List(c.t.Context(), readmodel.Filter{Namespace: "default"}, readmodel.Page{Limit: 1000})
	if err := errors.Join(err, m.Close(), Check(path)); err != nil || len(list.Runs) != 600 {
		c.t.Fatalf("%s: %d runs (%v)", what, len(list.Runs), err)
	}
}

// A crash at any moment of a checkpoint loses nothing, and the model is not taken for damaged.
func TestACrashInACheckpointCostsNoRebuild(t *testing.T) {
	t.Parallel()
	c, want := duringCheckpoint(t)
	for moved := 0; moved <= len(c.moved); moved += 1 + moved/4 {
		c.whole(fmt.Sprintf("%d of %d pages moved", moved, len(c.moved)), c.leave(c.at(moved), c.wal), want)
	}
	c.whole("all moved, the log is still there", c.leave(c.after, c.wal), want)
	c.whole("all moved, the log is gone", c.leave(c.after, nil), want)
}

// Rot during a checkpoint is noticed, or strikes what is read from the log.
func TestRotInACheckpointIsNoticed(t *testing.T) {
	t.Parallel()
	c, want := duringCheckpoint(t)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 4
		return b
	}
	noticed := func(what, path string) {
		t.Helper()
		if err := Check(path); !errors.Is(err, readmodel.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		m := open(t, path)
		if _, err := m.Positions(t.Context()); !errors.Is(err, readmodel.ErrDamaged) {
			t.Errorf("%s: a model that is opened says %v", what, err)
		}
	}
	half := c.at(len(c.moved) / 2)
	for n := range len(c.before) / pageBytes {
		what := fmt.Sprintf("page %d flipped", n)
		if !slices.Contains(c.moved, n) {
			noticed(what, c.leave(flip(half, n*pageBytes+77), c.wal))
		}
		noticed(what+", all moved", c.leave(flip(c.after, n*pageBytes+77), nil))
	}
	c.whole("a flipped page that the log has", c.leave(flip(half, c.moved[3]*pageBytes+77), c.wal), want)
	for at := 0; at < len(c.wal); at += len(c.wal)/40 + 1 {
		noticed(fmt.Sprintf("byte %d of the log flipped", at), c.leave(half, flip(c.wal, at)))
	}
	noticed("the log is cut", c.leave(half, c.wal[:len(c.wal)-1]))
	noticed("the log is gone", c.leave(half, nil))
	noticed("nothing was moved and the log is gone", c.leave(c.before, nil))
}

// What rots in the log of a running model is moved by SQLite as it is. The next start notices.
func TestRotInTheLogOfARunningModelIsNoticed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	if err := m.Apply(t.Context(), batch(300)); err != nil {
		t.Fatal(err)
	}
	edit(t, path+"-wal", func(b []byte) []byte { b[bytes.LastIndex(b, []byte(`"xxxxx`))+50] ^= 1; return b })
	if err := errors.Join(m.Apply(t.Context(), batch(1)), m.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); !errors.Is(err, readmodel.ErrDamaged) {
		t.Errorf("it is called whole: %v", err)
	}
}

// The sums are those of the file, whatever is written, deleted, undone and moved.
func TestSumsAreThoseOfTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.db")
	m := open(t, path)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not secret
	for n := range 16 {
		b := batch(random.IntN(200) + 1)
		for i := range b.Rows {
			r := &b.Rows[i]
			r.Version, r.Status = events.EventNumber(n+4), events.Status(random.IntN(3)+1)
			r.RunID[0] = byte(random.IntN(4))
			if random.IntN(3) == 0 {
				r.Views = []row.View{{Name: "v", Version: r.Version, Value: events.Payload{Data: make([]byte, random.IntN(20_000))}}}
			}
			if random.IntN(4) == 0 {
				b.Deletes = append(b.Deletes, events.RunID{0: byte(random.IntN(4)), 14: r.RunID[14], 15: byte(random.IntN(256))})
			}
		}
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if random.IntN(3) == 0 { // a transaction that is undone leaves frames behind the end of the log
			m.undo(t, b)
		}
		if random.IntN(4) > 0 {
			continue
		}
		m.mu.Lock()
		if err := m.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.mu.Unlock()
		if err := Check(path); err != nil {
			t.Fatalf("after %d batches: %v", n+1, err)
		}
	}
}

// undo writes a batch and rolls it back when some of it is in the log.
func (m *Model) undo(t *testing.T, b readmodel.Batch) {
	t.Helper()
	tx, err := m.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), "PRAGMA cache_spill = 1; PRAGMA cache_size = 10")
	for i := range b.Rows {
		b.Rows[i].Version += 1000
	}
	if err := errors.Join(err, m.write(t.Context(), tx, b), tx.Rollback()); err != nil {
		t.Fatal(err)
	}
}
