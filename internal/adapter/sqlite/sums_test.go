package sqlite

import (
	"path/filepath"
	"testing"
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
	if _, err := m.writer.ExecContext(t.Context(), "PRAGMA busy_timeout(0)"); err != nil {
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
