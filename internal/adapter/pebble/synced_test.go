package pebble

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// TestTheEndOfTheLogIsMissed cuts and flips the end of the write-ahead log of a store that was killed. Pebble takes that for
// a write torn by the crash; the store knows better.
func TestTheEndOfTheLogIsMissed(t *testing.T) {
	t.Parallel()
	source, from, wal := killed(t)
	whole, err := os.ReadFile(filepath.Join(source, wal))
	must(t, err)
	if r, err := Check(source, Judge{}); err != nil || !r.Whole() || r.CleanStop {
		t.Fatalf("the killed store: %v, %v, clean stop %v", r.Problems, err, r.CleanStop)
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(source)))
	path := filepath.Join(dir, wal)
	end := written(whole)
	if end-from < 500 {
		t.Fatalf("the last commits take %d bytes", end-from)
	}
	for at := from; at < end; at += 5 { // test/rot tries every byte
		flipped := slices.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		for what, content := range map[string][]byte{"cut": whole[:at], "flipped": flipped} {
			must(t, os.WriteFile(path, content, 0o600))
			r, err := Check(dir, Judge{})
			if err != nil || r.Whole() || !strings.Contains(r.Problems[0].What, "its end is lost") {
				t.Errorf("%s at byte %d of %d: Check finds %v, %v", what, at, len(whole), r.Problems, err)
			}
			if (at-from)%100 != 0 {
				continue
			}
			if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "was acknowledged") {
				t.Errorf("%s at byte %d of %d: Open fails with %v", what, at, len(whole), err)
			}
			must(t, os.RemoveAll(dir)) // Pebble has begun to recover
			must(t, os.CopyFS(dir, os.DirFS(source)))
		}
	}
}

// killed makes a store whose process was killed, and says where in which file its last three commits are.
func killed(t *testing.T) (dir string, from int, wal string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, Options{Partitions: 2})
	for n := range 6 {
		if n == 3 {
			wal = newestLog(t, dir)
			content, err := os.ReadFile(filepath.Join(dir, wal))
			must(t, err)
			from = written(content)
		}
		record := signals(1)[0]
		record.First = events.EventNumber(n/2 + 1)
		appendTo(t, s, events.Partition(n%2), record)
	}
	copied := t.TempDir()
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	return copied, from, wal
}

// written returns how much of a write-ahead log is not the zeros ahead of it. A record that ends with a zero is shown too short.
func written(log []byte) int { return len(bytes.TrimRight(log, "\x00")) }

func newestLog(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, dirLog, "*.log"))
	must(t, err)
	rel, err := filepath.Rel(dir, slices.Max(found))
	must(t, err)
	return rel
}

// TestAWatermarkThatCannotBeRead shows that a damaged file SYNCED is named, and that the store goes on without it.
func TestAWatermarkThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir, _, _ := killed(t)
	path := filepath.Join(dir, fileSynced)
	text, err := os.ReadFile(path)
	must(t, err)
	text[len(text)-1] ^= 1
	must(t, os.WriteFile(path, text, 0o600))
	if r, err := Check(dir, Judge{}); err != nil || r.Whole() || r.Problems[0].Where != path {
		t.Errorf("Check finds %v, %v", r.Problems, err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open fails with %v", err)
	}
	must(t, os.Remove(path))
	s := open(t, dir, Options{})
	if _, last := s.Journal().Bounds(0); last != 3 {
		t.Errorf("without the file the log ends at %d", last)
	}
}
