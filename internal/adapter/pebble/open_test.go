package pebble

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestEngineFormatIsTheNewest(t *testing.T) {
	t.Parallel()
	if engineFormat != pebble.FormatNewest {
		t.Fatalf("Pebble knows format %d and stores are made with %d: decide, and count formatVersion up", pebble.FormatNewest, engineFormat)
	}
}

func wantRefusal(t *testing.T, dir string, wanted error, text string) {
	t.Helper()
	var before []string
	inUse := errors.Is(wanted, ErrInUse) // whoever has it writes and deletes, between a listing and a reading too
	if !inUse {
		before = tree(t, dir)
	}
	_, err := Open(dir, Options{Partitions: 2})
	if !errors.Is(err, wanted) || !strings.Contains(err.Error(), text) {
		t.Fatalf("Open: %v; want %v with %q", err, wanted, text)
	}
	if inUse {
		return
	}
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Fatalf("a refused Open changed the directory from %v to %v", before, after)
	}
}

// tree lists a directory with the contents of small files.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		line := path
		if d.Type().IsRegular() && d.Name() != fileLock {
			b, err := os.ReadFile(path)
			must(t, err)
			line += string(b)
		}
		all = append(all, line)
		return nil
	})
	must(t, err)
	return all
}

func TestOpenMakesAndKeepsAStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := Open(dir, Options{Partitions: 5})
	must(t, err)
	format := s.Format()
	if format.Partitions != 5 || format.Version != 1 || len(format.Cluster) != 32 || format.Created.IsZero() {
		t.Fatalf("format %+v", format)
	}
	must(t, s.Close())
	must(t, s.Close())
	s = open(t, dir, Options{})
	if again := s.Format(); again != format {
		t.Fatalf("format %+v became %+v", format, again)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) string {
		dir := t.TempDir()
		s, err := Open(dir, Options{Partitions: 2})
		must(t, err)
		must(t, s.Close())
		return dir
	}
	edit := func(t *testing.T, path, from, to string) {
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, []byte(strings.Replace(string(b), from, to, 1)), 0o600))
	}
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		open(t, dir, Options{Partitions: 2})
		pid := strconv.Itoa(os.Getpid())
		wantRefusal(t, dir, ErrInUse, "in use by process "+pid)
		if _, err := Check(dir, Judge{}); !errors.Is(err, ErrInUse) {
			t.Fatalf("Check of an open store: %v", err)
		}
	})
	t.Run("foreign", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("dear"), 0o600))
		wantRefusal(t, dir, ErrForeign, `it has "thesis.txt"`)
		if _, err := Check(dir, Judge{}); !errors.Is(err, ErrForeign) {
			t.Fatalf("Check: %v", err)
		}
	})
	t.Run("foreign with a log", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, dirLog), 0o700))
		wantRefusal(t, dir, ErrForeign, `it has "log"`)
	})
	t.Run("other product", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		edit(t, filepath.Join(dir, fileFormat), "continuo", "perpetuo")
		wantRefusal(t, dir, ErrForeign, `"perpetuo"`)
	})
	t.Run("newer", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		edit(t, filepath.Join(dir, fileFormat), `"version": 1`, `"version": 2`)
		wantRefusal(t, dir, ErrNewer, "upgrade continuo")
		if _, err := Check(dir, Judge{}); !errors.Is(err, ErrNewer) {
			t.Fatalf("Check: %v", err)
		}
	})
	t.Run("other partitions", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		_, err := Open(dir, Options{Partitions: 3})
		if !errors.Is(err, ErrPartitions) || !strings.Contains(err.Error(), "2, not 3") {
			t.Fatal(err)
		}
	})
	t.Run("damaged format", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		edit(t, filepath.Join(dir, fileFormat), "{", "")
		wantRefusal(t, dir, ErrDamaged, "continuo store check")
	})
	t.Run("other format than the log's", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		edit(t, filepath.Join(dir, fileFormat), `"cluster": "`, `"cluster": "0`)
		_, err := Open(dir, Options{})
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "differ") {
			t.Fatal(err)
		}
	})
	t.Run("no log", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		must(t, os.RemoveAll(filepath.Join(dir, dirLog)))
		_, err := Open(dir, Options{})
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "does not open") {
			t.Fatal(err)
		}
	})
	t.Run("damaged blocks", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		s, err := Open(dir, Options{})
		must(t, err)
		must(t, s.db.Flush())
		must(t, s.Close())
		tables, err := filepath.Glob(filepath.Join(dir, dirLog, "*.sst"))
		must(t, err)
		refused := 0
		for _, path := range tables {
			whole, err := os.ReadFile(path)
			must(t, err)
			for at := 0; at < len(whole); at += 11 {
				copied := filepath.Join(t.TempDir(), "copy")
				must(t, os.CopyFS(copied, os.DirFS(dir)))
				whole[at] ^= 4
				must(t, os.WriteFile(filepath.Join(copied, dirLog, filepath.Base(path)), whole, 0o600))
				whole[at] ^= 4
				s, err := Open(copied, Options{})
				if err == nil {
					must(t, s.Close())
					continue
				}
				refused++
				if text := err.Error(); !strings.Contains(text, copied) && !strings.Contains(text, "partition") {
					t.Fatalf("byte %d of %s: the error names no place: %v", at, filepath.Base(path), err)
				}
			}
		}
		if refused == 0 {
			t.Fatal("no damage was seen")
		}
	})
	t.Run("lost end", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		must(t, os.WriteFile(filepath.Join(dir, fileClean), []byte(strings.Repeat("0", 32)+"\n"), 0o600))
		_, err := Open(dir, Options{})
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "its end is lost") {
			t.Fatal(err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nowhere")} {
			if _, err := Check(dir, Judge{}); !errors.Is(err, ErrMissing) {
				t.Fatalf("Check: %v", err)
			}
			if _, err := Info(dir); !errors.Is(err, ErrMissing) {
				t.Fatalf("Info: %v", err)
			}
		}
	})
	t.Run("too many partitions", func(t *testing.T) {
		t.Parallel()
		if _, err := Open(t.TempDir(), Options{Partitions: 1 << 16}); err == nil {
			t.Fatal("65,536 partitions were made")
		}
	})
}

// TestUnfinishedStoreIsMadeAnew opens what an interrupted creation leaves at each of its steps.
func TestUnfinishedStoreIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, left := range [][]string{{fileLock}, {fileLock, fileNew + ".tmp"}, {fileLock, fileNew}, {fileLock, fileNew, dirLog}} {
		dir := t.TempDir()
		for _, name := range left {
			if name == dirLog {
				db, err := pebble.Open(filepath.Join(dir, dirLog), engineOptions(nil, quietLog{}))
				must(t, err)
				must(t, db.Close())
				continue
			}
			must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("with %v: %v", left, err)
		}
		must(t, s.Close())
	}
}

// killedStore names the directory of the store for the process that TestKillNine kills.
const killedStore = "KILLED_STORE"

// liveUntilKilled is that process.
func liveUntilKilled(dir string) {
	s, err := Open(dir, Options{Partitions: 2})
	if err != nil {
		panic(err)
	}
	o, err := s.Journal().Acquire(context.Background(), 0)
	if err != nil {
		panic(err)
	}
	records := signals(8)
	for i, r := range records {
		r.Epoch, r.Owner, r.Seq = o.Epoch(), o.ID(), events.Seq(i+1)
	}
	if err := o.Commit(context.Background(), journal.Step{Records: records}); err != nil {
		panic(err)
	}
	if _, err := os.Stdout.WriteString("!"); err != nil {
		panic(err)
	}
	<-s.gone
}

// TestKillNine opens a store whose process was killed.
func TestKillNine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), killedStore+"="+dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	line := make([]byte, 1)
	if _, err := out.Read(line); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, dir, ErrInUse, "process "+strconv.Itoa(child.Process.Pid))
	must(t, child.Process.Kill())
	_ = child.Wait() // killed, as wanted
	s := open(t, dir, Options{})
	if n := len(readAll(t, s, 0)); n != 8 {
		t.Fatalf("%d of 8 acknowledged records are there", n)
	}
	if r, err := Check(dir, Judge{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("Check: %v, %v", r, err)
	}
}
