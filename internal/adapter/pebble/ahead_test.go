package pebble

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/continuo-dev/continuo/pkg/events"
)

// TestLogsGrowAhead shows that the write-ahead log of a store is filled with zeros beyond its end, and that commits overwrite
// them without making it larger.
func TestLogsGrowAhead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{Partitions: 1})
	path := filepath.Join(dir, newestLog(t, dir))
	sizes := map[int]bool{}
	for n := range 20 {
		record := signals(1)[0]
		record.First = events.EventNumber(n + 1)
		appendTo(t, s, 0, record)
		content, err := os.ReadFile(path)
		must(t, err)
		sizes[len(content)] = true
		if ahead := len(content) - written(content); ahead < aheadBytes/2 {
			t.Fatalf("after %d commits %d bytes are ahead", n+1, ahead)
		}
	}
	if len(sizes) != 1 {
		t.Errorf("20 small commits gave the log %d sizes", len(sizes))
	}
}

// TestAheadFile writes logs of all sizes: what was written is there, and zeros after it.
func TestAheadFile(t *testing.T) {
	t.Parallel()
	fs := aheadFS{vfs.NewMem()}
	write := func(f vfs.File, name string, sizes ...int) {
		var want []byte
		for n, size := range sizes {
			part := bytes.Repeat([]byte{byte(n + 1)}, size)
			want = append(want, part...)
			if _, err := f.Write(part); err != nil {
				t.Fatal(err)
			}
			must(t, f.Sync())
			got := readFile(t, fs, name)
			if !bytes.HasPrefix(got, want) {
				t.Fatalf("%s: write %d is not there", name, n)
			}
			if len(got)%blockBytes != 0 {
				t.Errorf("%s: %d bytes after %d were written", name, len(got), len(want))
			}
		}
		must(t, f.Close())
	}
	f, err := fs.Create("a.log", walCategory)
	must(t, err)
	write(f, "a.log", 1, aheadBytes-1, blockBytes, 3*aheadBytes, 7)
	before := len(readFile(t, fs, "a.log"))
	f, err = fs.ReuseForWrite("a.log", "b.log", walCategory)
	must(t, err)
	write(f, "b.log", 5, before-6)
	if after := len(readFile(t, fs, "b.log")); after != before {
		t.Errorf("a log that is used again grew from %d to %d bytes, and had room", before, after)
	}
	f, err = fs.ReuseForWrite("b.log", "c.log", walCategory)
	must(t, err)
	write(f, "c.log", before+1)

	f, err = fs.Create("table", "pebble-compaction")
	must(t, err)
	_, err = f.Write([]byte("abc"))
	must(t, errors.Join(err, f.Close()))
	if got := readFile(t, fs, "table"); string(got) != "abc" {
		t.Errorf("a file that is no log has %d bytes", len(got))
	}
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil && len(content) > 0 {
		t.Fatal(err)
	}
	must(t, f.Close())
	return content
}

// TestNoRoomAhead fills the disk up to the last commit: zeros that do not fit fail nothing, and are not tried for ever.
func TestNoRoomAhead(t *testing.T) {
	t.Parallel()
	var tried atomic.Int32
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, ".log") {
			tried.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}))
	dir := t.TempDir()
	s, err := Open(dir, Options{Partitions: 1, fs: fs})
	must(t, err)
	before := tried.Load() // one for each log
	for n := range 5 {
		record := signals(1)[0]
		record.First = events.EventNumber(n + 1)
		appendTo(t, s, 0, record)
	}
	if after := tried.Load(); after > before+1 {
		t.Errorf("zeros were tried %d times for one log", after-before)
	}
	must(t, s.Close())
	s = open(t, dir, Options{fs: mem})
	if _, last := s.Journal().Bounds(0); last != 5 {
		t.Errorf("%d of 5 records are there", last)
	}
}

// TestRotOfZerosIsHarmless damages what is ahead of the log: that was never written, so nothing is lost.
func TestRotOfZerosIsHarmless(t *testing.T) {
	t.Parallel()
	dir, _, wal := killed(t)
	path := filepath.Join(dir, wal)
	whole, err := os.ReadFile(path)
	must(t, err)
	end := written(whole)
	for _, at := range []int{end + 1, end + 6, end + 20, len(whole) - 1} {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 9 // as the kind of a chunk it is one that Pebble knows
		for what, content := range map[string][]byte{"cut": whole[:at], "flipped": flipped} {
			must(t, os.WriteFile(path, content, 0o600))
			if r, err := Check(dir, Judge{}); err != nil || !r.Whole() {
				t.Errorf("%s at byte %d, %d after the end: Check finds %v, %v", what, at, at-end, r.Problems, err)
			}
		}
	}
}

// TestClosedLogsEndBeforeZeros lets Pebble replay several logs after a crash: all but the newest were closed, and have to
// end in order.
func TestClosedLogsEndBeforeZeros(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	flushing := make(chan struct{})
	slow := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			<-flushing // so that no log is obsolete
		}
		return nil
	}))
	o := engineOptions(aheadFS{slow}, quietLog{})
	o.MemTableSize, o.MemTableStopWritesThreshold = 256<<10, 50
	db, err := pebble.Open("db", o)
	must(t, err)
	value := bytes.Repeat([]byte("v"), 4<<10)
	for n := range byte(200) {
		must(t, db.Set([]byte{n}, value, pebble.Sync))
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	close(flushing)
	must(t, db.Close())

	logs := 0
	names, err := clone.List("db")
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			logs++
		}
	}
	if logs < 3 {
		t.Fatalf("the crash left %d logs", logs)
	}
	db, err = pebble.Open("db", engineOptions(aheadFS{clone}, quietLog{}))
	must(t, err)
	for n := range byte(200) {
		if got, err := getCopy(db, []byte{n}); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("value %d of %d logs has %d bytes, %v", n, logs, len(got), err)
		}
	}
	must(t, db.Close())
}
