package segments

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// put writes a number into some rows, with a checkpoint at it.
func put(t testing.TB, s *Store, n, from, to int) {
	t.Helper()
	c := runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: events.Seq(n)}}
	for i := from; i < to; i++ {
		c.PutRuns = append(c.PutRuns, runstore.RunRow{RunID: benchID(i), Row: fmt.Appendf(nil, "%d %d %0200d", i, n, 0)})
	}
	check(t, s.RunStore().Write(t.Context(), 0, c))
}

// want reads rows that put has written.
func want(t testing.TB, s *Store, n, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		row, err := s.RunStore().Run(t.Context(), 0, benchID(i))
		check(t, err)
		if !bytes.HasPrefix(row, fmt.Appendf(nil, "%d %d ", i, n)) {
			t.Fatalf("row %d is %.20q, want that of write %d", i, row, n)
		}
	}
}

func quiet(o *Options) { o.quiet, o.SegmentBytes = true, 4_000 }

// TestMergingKeepsAll writes and deletes rows until layers have been merged many times over, and opens what is left.
func TestMergingKeepsAll(t *testing.T) {
	t.Parallel()
	objects := &memory.Objects{}
	s := openStore(t, objects, nil, quiet)
	const writes, each = 60, 20
	for n := 1; n <= writes; n++ {
		put(t, s, 2*n, n*each, (n+1)*each)
		var c runstore.Changes
		for i := n * each; i < n*each+each/2; i++ { // half of them are deleted later
			if n > 1 {
				c.DeleteRuns = append(c.DeleteRuns, benchID(i-each))
			}
		}
		c.Checkpoint = &runstore.Checkpoint{Next: events.Seq(2*n + 1)}
		check(t, s.RunStore().Write(t.Context(), 0, c))
		check(t, s.owned[0].tidy(t.Context()))
	}
	put(t, s, 1_000, 0, 1)
	v := s.owned[0].version
	if len(v.rows) > 15 {
		t.Errorf("there are %d layers", len(v.rows))
	}
	s = openStore(t, objects, nil, quiet)
	for n := 1; n < writes; n++ {
		for i := n * each; i < n*each+each/2; i++ {
			if row, err := s.RunStore().Run(t.Context(), 0, benchID(i)); err != nil || row != nil {
				t.Fatalf("deleted row %d: %q, %v", i, row, err)
			}
		}
		want(t, s, 2*n, n*each+each/2, (n+1)*each)
	}
}

// TestDeletedIsGone: when everything is merged, what was deleted takes no room.
func TestDeletedIsGone(t *testing.T) {
	t.Parallel()
	s := openStore(t, &memory.Objects{}, nil, quiet)
	put(t, s, 1, 0, 100)
	for n := 2; n <= 5; n++ {
		c := runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: events.Seq(n)}}
		for i := range 100 {
			if i%4 == n-2 {
				c.DeleteRuns = append(c.DeleteRuns, benchID(i))
			}
		}
		check(t, s.RunStore().Write(t.Context(), 0, c))
	}
	o := s.owned[0]
	_, err := o.mergeThose(t.Context(), &merging{writer: o.writer, inputs: o.version.rows, last: true})
	check(t, err)
	if len(o.version.rows) != 0 {
		t.Errorf("%d layers are left of rows that are all deleted", len(o.version.rows))
	}
}

// TestCacheIsBounded: neither files nor memory exceed their bounds, and everything is read all the same.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	const bound = 20_000
	for _, dir := range []string{"", t.TempDir()} {
		s := openStore(t, &memory.Objects{}, nil, func(o *Options) {
			quiet(o)
			o.Directory, o.DirectoryBytes, o.MemoryBytes = dir, bound, bound
		})
		for n := 1; n <= 20; n++ {
			put(t, s, n, n*50, n*50+50)
		}
		for range 2 {
			for n := 1; n <= 20; n++ {
				want(t, s, n, n*50, n*50+50)
			}
		}
		if s.cache.bytes > bound || s.cache.bytes < bound/2 {
			t.Errorf("the cache has %d bytes; the bound is %d", s.cache.bytes, bound)
		}
		if size, files := sizeOf(t, dir); dir != "" && (size != s.cache.bytes || files != len(s.cache.byKey)) {
			t.Errorf("the directory has %d bytes in %d files, and the cache thinks %d in %d", size, files, s.cache.bytes, len(s.cache.byKey))
		}
	}
}

func sizeOf(t *testing.T, dir string) (size int64, files int) {
	t.Helper()
	if dir == "" {
		return 0, 0
	}
	check(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		files++
		size += info.Size()
		return err
	}))
	return size, files
}

// TestDamagedCache: what is wrong in the local directory is fetched again, whether it was open or not.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	objects, dir := &memory.Objects{}, t.TempDir()
	inDir := func(o *Options) { quiet(o); o.Directory, o.SegmentBytes = dir, 50_000 }
	s := openStore(t, objects, nil, inDir)
	put(t, s, 1, 0, 1_000)
	paths, err := filepath.Glob(filepath.Join(dir, "*"+cacheSuffix))
	check(t, err)
	if len(paths) < 3 {
		t.Fatalf("files: %v", paths)
	}
	spoil := func() {
		for i, path := range paths {
			data, err := os.ReadFile(path)
			check(t, err)
			switch i % 3 {
			case 0:
				for k := range len(data) / 2 {
					data[k] ^= 0x55
				}
			case 1:
				data = data[:len(data)/3]
			case 2:
				data = nil
			}
			check(t, os.WriteFile(path, data, 0o600))
		}
	}
	spoil()
	check(t, os.WriteFile(filepath.Join(dir, "unfinished"+cacheSuffix+".tmp"), []byte("x"), 0o600))
	next := openStore(t, objects, nil, inDir)
	want(t, next, 1, 0, 20) // which are in all of them
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("unfinished files are left: %v", left)
	}
	spoil() // under the open files
	failures := 0
	for i := range 1_000 {
		_, err := next.RunStore().Run(t.Context(), 0, benchID(i))
		if err == nil {
			continue
		}
		if failures++; errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), "fetches it again") {
			t.Fatalf("a damaged copy: %v", err)
		}
	}
	if failures == 0 || failures > len(paths) {
		t.Errorf("%d readings failed; %d files are damaged", failures, len(paths))
	}
	want(t, next, 1, 0, 1_000)
}

// TestDamagedObject: a segment that is not what was written is noticed and named, and nothing is read from it.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	objects := &memory.Objects{}
	s := openStore(t, objects, nil, quiet)
	put(t, s, 1, 0, 10)
	names, err := objects.List(t.Context(), segmentPrefix(0))
	check(t, err)
	data, err := objects.Get(t.Context(), names[0])
	check(t, err)
	data[len(data)/2] ^= 1
	for _, spoiled := range [][]byte{data, data[:len(data)-1], nil} {
		check(t, objects.Put(t.Context(), names[0], spoiled))
		s = openStore(t, objects, nil, quiet)
		if _, err := s.RunStore().Run(t.Context(), 0, benchID(1)); !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), names[0]) {
			t.Errorf("a damaged segment: %v", err)
		}
	}
	check(t, objects.Delete(t.Context(), names[0]))
	if _, err := openStore(t, objects, nil, quiet).RunStore().Run(t.Context(), 0, benchID(1)); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a missing segment: %v", err)
	}
}

// TestDamagedManifest: the manifest before a damaged one is used, as a whole; its segments are there.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	objects := &memory.Objects{}
	s := openStore(t, objects, nil, quiet)
	for n := 1; n <= 9; n++ {
		put(t, s, n, 0, 100)
		check(t, s.owned[0].tidy(t.Context()))
	}
	names, err := objects.List(t.Context(), manifestPrefix(0))
	check(t, err)
	whole, err := objects.Get(t.Context(), names[1])
	check(t, err)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	for _, spoiled := range [][]byte{damaged, whole[:len(whole)-1], whole[:3], nil} {
		check(t, objects.Put(t.Context(), names[1], spoiled))
		s := openStore(t, objects, nil, quiet)
		if c, err := s.RunStore().Checkpoint(t.Context(), 0); err != nil || c.Next != 8 {
			t.Fatalf("the checkpoint is at %d, %v; want 8", c.Next, err)
		}
		want(t, s, 8, 0, 100)
	}
	// Who goes on from there replaces the damaged one.
	s = openStore(t, objects, nil, quiet)
	for n := 10; n <= 12; n++ {
		put(t, s, n, 0, 100)
		check(t, s.owned[0].tidy(t.Context()))
	}
	want(t, openStore(t, objects, nil, quiet), 12, 0, 100)
	names, err = objects.List(t.Context(), manifestPrefix(0))
	check(t, err)
	if len(names) != keptManifests {
		t.Errorf("manifests: %v", names)
	}
	for _, name := range names {
		check(t, objects.Put(t.Context(), name, damaged))
	}
	if _, err := openStore(t, objects, nil, quiet).RunStore().Checkpoint(t.Context(), 0); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("no manifest can be read: %v", err)
	}
}

// TestNewerManifest: what a newer build wrote is not taken for damage.
func TestNewerManifest(t *testing.T) {
	t.Parallel()
	objects := &memory.Objects{}
	put(t, openStore(t, objects, nil, quiet), 1, 0, 1)
	newer := append([]byte(manifestMagic), manifestVersion+1)
	check(t, objects.Put(t.Context(), manifestName(0, &version{next: 2}, "0123456789abcdef"), append(newer, make([]byte, 40)...)))
	_, err := openStore(t, objects, nil, quiet).RunStore().Checkpoint(t.Context(), 0)
	if !errors.Is(err, errNewer) || errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a newer manifest: %v", err)
	}
	check(t, objects.Put(t.Context(), manifestPrefix(0)+"x", nil))
	if _, err = openStore(t, objects, nil, quiet).RunStore().Checkpoint(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "not of this store") {
		t.Errorf("a foreign object: %v", err)
	}
}

// TestFormerOwner: who was owner once, and reads what its successor has deleted, learns that it is not, and shows people what
// the successor has.
func TestFormerOwner(t *testing.T) {
	t.Parallel()
	objects := &memory.Objects{}
	former := openStore(t, objects, nil, func(o *Options) { quiet(o); o.MemoryBytes = 1 })
	put(t, former, 1, 0, 100)
	owner := openStore(t, objects, nil, quiet)
	_, err := owner.RunStore().Checkpoint(t.Context(), 0)
	check(t, err)
	for n := 2; n <= 9; n++ {
		put(t, owner, n, 0, 100)
		check(t, owner.owned[0].tidy(t.Context()))
	}
	quarantined := runstore.QuarantinedRun{RunID: benchID(1), WorkflowID: "w", Namespace: "default", Reason: "it does not fit", Since: 5}
	check(t, owner.RunStore().Write(t.Context(), 0, runstore.Changes{
		PutQuarantined: []runstore.QuarantinedRun{quarantined}, Checkpoint: &runstore.Checkpoint{Next: 10},
	}))
	if _, err := former.RunStore().Run(t.Context(), 0, benchID(1)); !errors.Is(err, journal.ErrLost) || errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a former owner reads: %v", err)
	}
	for _, s := range []*Store{former, owner, openStore(t, objects, nil, quiet)} {
		got, err := s.RunStore().Quarantined(t.Context(), 0, 10)
		if err != nil || !slices.Equal(got, []runstore.QuarantinedRun{quarantined}) {
			t.Errorf("quarantined: %v, %v", got, err)
		}
	}
	c, err := former.RunStore().Checkpoint(t.Context(), 0) // and recovers
	check(t, err)
	if c.Next != 10 {
		t.Errorf("the checkpoint is at %d", c.Next)
	}
	want(t, former, 9, 0, 100)
}

// TestCheckpointsRise: a checkpoint that does not is refused, because the log knows no such thing.
func TestCheckpointsRise(t *testing.T) {
	t.Parallel()
	s := openStore(t, &memory.Objects{}, nil, quiet)
	put(t, s, 5, 0, 1)
	for _, next := range []events.Seq{4, 5} {
		if err := s.RunStore().Write(t.Context(), 0, runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: next}}); err == nil {
			t.Errorf("a checkpoint at %d after one at 5 was taken", next)
		}
	}
	put(t, s, 6, 1, 2)
	want(t, s, 5, 0, 1)
}

// TestFailureAtEachOperation fails each operation of two writes in turn, done or not, with and without the end of the process.
// What is opened then is one of the writes, whole; a process that lives refuses everything until it has read the checkpoint.
func TestFailureAtEachOperation(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct{ done, dies bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		for n, more := 1, true; more; n++ {
			objects := &faulty{Store: &memory.Objects{}}
			s := openStore(t, objects, nil, quiet)
			put(t, s, 1, 0, 40)
			put(t, s, 2, 0, 40)
			objects.plan(n, mode.done, mode.dies)
			last := 2
			for k := 3; k <= 6; k++ {
				c := runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: events.Seq(k)}}
				for i := range 40 {
					c.PutRuns = append(c.PutRuns, runstore.RunRow{RunID: benchID(i), Row: fmt.Appendf(nil, "%d %d %0200d", i, k, 0)})
				}
				if err := s.RunStore().Write(t.Context(), 0, c); err != nil {
					if !errors.Is(err, errPlanned) {
						t.Fatal(err)
					}
					if _, err := s.RunStore().Run(t.Context(), 0, benchID(0)); err == nil {
						t.Fatalf("operation %d: after a failed write rows are read", n)
					}
					break
				}
				last = k
				if err := s.owned[0].tidy(t.Context()); err != nil && !errors.Is(err, errPlanned) {
					t.Fatal(err)
				}
			}
			if objects.planned() {
				more = false
			}
			objects.plan(0, false, false)
			if !objects.isDead() {
				if _, err := s.RunStore().Checkpoint(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			} else {
				s = openStore(t, objects.Store, nil, quiet)
			}
			c, err := s.RunStore().Checkpoint(t.Context(), 0)
			check(t, err)
			if got := int(c.Next); got != last && got != last+1 {
				t.Fatalf("operation %d, %+v: write %d returned, and %d is found", n, mode, last, got)
			}
			want(t, s, int(c.Next), 0, 40)
			for k := 10; k <= 14; k++ {
				put(t, s, k, 0, 40)
				check(t, s.owned[0].tidy(t.Context()))
			}
			want(t, openStore(t, objects.Store, nil, quiet), 14, 0, 40)
		}
	}
}

// FuzzManifest reads anything with a right checksum. What is read is written and read as the same.
func FuzzManifest(f *testing.F) {
	whole := version{next: 7, state: []byte("state"), rows: []layer{{{name: segmentPrefix(0) + "a-1", size: 5, sum: 9, first: "a", last: "b"}}}, histories: []layer{{}}}
	b := whole.encode(0)
	f.Add(b[:len(b)-4])
	f.Add([]byte(manifestMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeManifest(0, binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
		if err != nil {
			return
		}
		if again, err := decodeManifest(0, v.encode(0)); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%+v is written and read as %+v, %v", v, again, err)
		}
	})
}
