package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

func runID(n int) events.RunID {
	return events.MakeRunID(1_700_000_000_000, [10]byte{7: byte(n >> 16), 8: byte(n >> 8), 9: byte(n)})
}

// filled makes a store with something of everything and returns its directory.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir, Options{Partitions: 3, TailBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	next := map[int]events.EventNumber{}
	for step := range 6 {
		for p := range events.Partition(2) {
			var records []*events.Record
			for n := range 8 {
				run := n % 5
				r := &events.Record{Header: events.Header{
					Time: events.Time(step + 1), Schema: 1, Namespace: "default", WorkflowID: "w", RunID: runID(run), First: next[run] + 1,
				}}
				switch {
				case n == 7:
					r.Answers = []events.Answer{{Code: events.Stale, N: uint64(step)}}
				case p == 0:
					r.RunID = runID(100 + run)
					fallthrough
				default:
					r.First = events.EventNumber(step*10 + n + 1)
					r.Events = []events.Event{events.SignalReceived{Name: "s", Input: events.Payload{Data: bytes.Repeat([]byte{byte(n)}, 30*n)}}}
				}
				records = append(records, r)
			}
			appendTo(t, s, p, records...)
			must(t, s.RunStore().Write(ctx, p, runstore.Changes{
				PutRuns:        []runstore.RunRow{{RunID: runID(step), Row: fmt.Appendf(nil, "row %d", step)}},
				PutNewest:      []runstore.NewestRow{{Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("w", step)), Newest: runstore.Newest{RunID: runID(step), Status: events.StatusRunning}}},
				PutAnswers:     []runstore.AnswerRow{{RunID: runID(step), Request: "r", KeptAnswer: runstore.KeptAnswer{Answer: events.Answer{Code: events.OK}, At: 5}}},
				PutEnded:       []runstore.Ended{{RunID: runID(step), WorkflowID: "w", Namespace: "default", Forget: events.Time(step)}},
				PutQuarantined: []runstore.QuarantinedRun{{RunID: runID(step), Reason: "r"}},
				Checkpoint:     &runstore.Checkpoint{Next: events.Seq(step * 8), State: []byte("state")},
			}))
			must(t, s.DueIndex().Save(ctx, p, events.Seq(step*8), []dueindex.Item{
				{Key: dueindex.Key{Kind: dueindex.KindTask, RunID: runID(step)}, Due: events.Time(step), Body: []byte("body")},
			}, nil))
		}
	}
	must(t, s.Journal().Hold("reader", []journal.Position{{Partition: 0, Next: 25}}))
	must(t, s.Journal().Trim(0, 20))
	must(t, s.Archive().Forget(ctx, 0, runID(101)))
	must(t, s.Journal().Trim(1, 49))
	must(t, s.Archive().Forget(ctx, 1, runID(2)))
	must(t, s.Close())
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents reads everything through the ports. An error of a read is part of the text.
func contents(s *Store) string {
	ctx := context.Background()
	var b strings.Builder
	add := func(what string, v any, err error) {
		if err != nil {
			fmt.Fprintf(&b, "%s: %s\n", what, errorText(err))
			return
		}
		fmt.Fprintf(&b, "%s: %v\n", what, v)
	}
	for p := range events.Partition(s.format.Partitions) {
		first, last := s.Journal().Bounds(p)
		fmt.Fprintf(&b, "bounds %d %d %d\n", p, first, last)
		r, err := s.Journal().Follow(ctx, []journal.Position{{Partition: p, Next: first}})
		if err != nil {
			add("follow", nil, err)
			continue
		}
		for {
			records, err := r.TryNext(5)
			if err != nil || records == nil {
				add("read", "end", err)
				break
			}
			for _, record := range records {
				add("record", fmt.Sprintf("%x", events.AppendRecord(nil, record)), nil)
			}
		}
		r.Close()
		for _, n := range []int{0, 1, 2, 3, 4, 100, 101, 102, 103, 104} {
			records, _, err := s.Archive().History(ctx, p, runID(n), 1, 0, 1<<20)
			if !errors.Is(err, archive.ErrNotFound) {
				add(fmt.Sprint("history ", n), len(records), err)
			}
			for _, record := range records {
				add("of history", fmt.Sprintf("%x", events.AppendRecord(nil, record)), nil)
			}
		}
		for n := range 6 {
			row, err := s.RunStore().Run(ctx, p, runID(n))
			add("run", row, err)
			newest, ok, err := s.RunStore().Newest(ctx, p, "default", events.WorkflowID(fmt.Sprint("w", n)))
			add(fmt.Sprint("newest ", ok), newest, err)
			answer, ok, err := s.RunStore().Answer(ctx, p, runID(n), "r")
			add(fmt.Sprint("answer ", ok), answer, err)
		}
		ended, err := s.RunStore().Ended(ctx, p, 1<<40, 100)
		add("ended", ended, err)
		quarantined, err := s.RunStore().Quarantined(ctx, p, 100)
		add("quarantined", quarantined, err)
		checkpoint, err := s.RunStore().Checkpoint(ctx, p)
		add("checkpoint", checkpoint, err)
		due, err := s.DueIndex().Due(ctx, p, dueindex.KindTask, dueindex.Item{}, 1<<40, 100)
		add("due", due, err)
	}
	holds, err := s.Journal().Holds("reader")
	add("holds", holds, err)
	return b.String()
}

func errorText(err error) string { return "error " + err.Error() }

func decodeRow(row []byte) error {
	if !bytes.HasPrefix(row, []byte("row ")) {
		return errors.New("not a row")
	}
	return nil
}

func TestCheckOfAWholeStore(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	r, err := Check(dir, Judge{Row: decodeRow})
	must(t, err)
	if !r.Whole() || !r.CleanStop {
		t.Fatalf("clean stop %v, problems %v", r.CleanStop, r.Problems)
	}
	p := r.Partitions[0]
	if p.First != 20 || p.Last != 48 || p.Records != 29 || p.Epoch != 6 || p.Runs != 6 {
		t.Errorf("partition 0: %+v", p)
	}
	if p := r.Partitions[1]; p.First != 49 || p.Last != 48 || p.Records != 0 || p.Kept == 0 {
		t.Errorf("partition 1: %+v", p)
	}
	info, err := Info(dir)
	must(t, err)
	if !info.Whole() || info.DiskBytes == 0 || len(info.Families) != len(families) {
		t.Fatalf("info: %+v", info)
	}
	for i, f := range info.Families {
		if f != r.Families[i] {
			t.Errorf("Info counts %+v and Check %+v", f, r.Families[i])
		}
		if f.Rows == 0 {
			t.Errorf("the store to be checked has no %s", f.Name)
		}
	}
	again, err := Check(dir, Judge{Row: decodeRow})
	must(t, err)
	if !again.CleanStop {
		t.Error("Check changed the store")
	}
}

// TestCheckNamesWhatIsWrong damages rows behind the store's back.
func TestCheckNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	source := filled(t)
	record := func(db *pebble.DB, p events.Partition, seq events.Seq) *events.Record {
		value, err := getCopy(db, seqKey(famEvent, p, seq))
		must(t, err)
		r, err := readRecord(p, seq, value)
		must(t, err)
		return r
	}
	for name, c := range map[string]struct {
		damage func(db *pebble.DB) error
		want   string
	}{
		"missing record":      {func(db *pebble.DB) error { return db.Delete(seqKey(famEvent, 0, 30), nil) }, "records 30 to 30 are missing"},
		"missing kept record": {func(db *pebble.DB) error { return db.Delete(seqKey(famEvent, 0, 1), nil) }, "record 1 of run"},
		"missing index": {func(db *pebble.DB) error {
			r := record(db, 0, 30)
			return db.Delete(historyKey(0, r.RunID, r.First), nil)
		}, "record 30 is missing in the history of run"},
		"index points elsewhere": {func(db *pebble.DB) error {
			r := record(db, 0, 30)
			return db.Set(historyKey(0, r.RunID, r.First), appendPlace(nil, 31, 1), nil)
		}, "the index names record 31"},
		"record under another seq": {func(db *pebble.DB) error {
			value, err := getCopy(db, seqKey(famEvent, 0, 30))
			return errors.Join(err, db.Set(seqKey(famEvent, 0, 31), value, nil))
		}, "record 31: the frame holds another record"},
		"flipped frame": {func(db *pebble.DB) error {
			value, err := getCopy(db, seqKey(famEvent, 0, 30))
			value[len(value)/2] ^= 4
			return errors.Join(err, db.Set(seqKey(famEvent, 0, 30), value, nil))
		}, "record 30: "},
		"epoch too low": {func(db *pebble.DB) error { return db.Set(prefix(famPartition, 0), appendSeq(nil, 3), nil) }, "the last owner's is 3"},
		"row of a run":  {func(db *pebble.DB) error { return db.Set(runKey(famRun, 1, runID(3)), []byte("?"), nil) }, "not a row"},
		"answer":        {func(db *pebble.DB) error { return db.Set(answerKey(1, runID(3), "r"), []byte("?"), nil) }, "the value is not an answer"},
		"checkpoint":    {func(db *pebble.DB) error { return db.Set(prefix(famCheckpoint, 1), appendSeq(nil, 500), nil) }, "the log ends at 48"},
		"due without run": {func(db *pebble.DB) error {
			return db.Delete(byRunKey(0, dueindex.Key{Kind: dueindex.KindTask, RunID: runID(3)}), nil)
		}, "is not listed by its run"},
		"unknown key":     {func(db *pebble.DB) error { return db.Set([]byte("Zzz"), nil, nil) }, "no version wrote such a key"},
		"other partition": {func(db *pebble.DB) error { return db.Set(runKey(famRun, 77, runID(1)), nil, nil) }, "there is no such partition"},
		"other store":     {func(db *pebble.DB) error { return db.Set(keyFormat, []byte("{}"), nil) }, "differ"},
		"lost end":        {func(db *pebble.DB) error { return db.Set(keyMark, []byte("an older mark"), nil) }, "its end is lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(source)))
			db, err := pebble.Open(filepath.Join(dir, dirLog), engineOptions(nil, quietLog{}))
			must(t, err)
			must(t, c.damage(db))
			must(t, db.Close())
			r, err := Check(dir, Judge{Row: decodeRow})
			must(t, err)
			found := fmt.Sprint(r.Problems)
			if r.Whole() || !strings.Contains(found, c.want) {
				t.Fatalf("problems %s; want one with %q", found, c.want)
			}
		})
	}
}

// TestPowerCutUnderLoad takes copies of the disk, without what is not synced or with some of it, while partitions commit,
// trim and write rows. In each copy everything acknowledged before is there and the store is whole.
func TestPowerCutUnderLoad(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	dir := t.TempDir()
	s := open(t, dir, Options{Partitions: 3, fs: mem})
	var load sync.WaitGroup
	var acknowledged [3]atomic.Uint64
	steps := make(chan struct{}, 30)
	for p := range acknowledged {
		o, err := s.Journal().Acquire(context.Background(), events.Partition(p))
		must(t, err)
		load.Go(func() {
			for range steps {
				last, err := s.loadStep(o, events.Partition(p), events.Seq(acknowledged[p].Load()))
				if err != nil {
					t.Error(err)
					return
				}
				acknowledged[p].Store(uint64(last))
			}
		})
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for cut := range 20 {
		for range cap(steps) { // the last of them are under way when the disk is copied
			steps <- struct{}{}
		}
		var before [3]uint64
		for p := range before {
			before[p] = acknowledged[p].Load()
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * (cut % 5), RNG: rng})
		db, err := pebble.Open(filepath.Join(dir, dirLog), engineOptions(clone, quietLog{}))
		must(t, err)
		c := newChecker(&Report{Dir: dir, Format: s.Format()}, db)
		c.check(Judge{Row: decodeRow, Record: func(*events.Record, bool) {}})
		if !c.Whole() {
			t.Errorf("cut %d: %v", cut, c.Problems)
		}
		for p, wanted := range before {
			if last := c.Partitions[p].Last; uint64(last) < wanted {
				t.Errorf("cut %d: partition %d ends at %d; %d were acknowledged", cut, p, last, wanted)
			}
		}
		must(t, db.Close())
	}
	close(steps)
	load.Wait()
}

// loadStep commits some records after last, writes rows about them, and forgets what is old.
func (s *Store) loadStep(o journal.Owner, p events.Partition, last events.Seq) (events.Seq, error) {
	records := signals(3)
	for i, r := range records {
		r.Partition, r.Epoch, r.Owner, r.Seq = p, o.Epoch(), o.ID(), last+events.Seq(i)+1
		r.RunID, r.First = runID(int(last)), events.EventNumber(i+1)
	}
	records[2].Events, records[2].Answers = nil, []events.Answer{{Code: events.OK}}
	if err := o.Commit(context.Background(), journal.Step{Records: records}); err != nil {
		return 0, err
	}
	ctx := context.Background()
	err := s.RunStore().Write(ctx, p, runstore.Changes{
		PutRuns: []runstore.RunRow{{RunID: runID(int(last)), Row: []byte("row ")}}, Checkpoint: &runstore.Checkpoint{Next: last + 4},
	})
	item := dueindex.Item{Key: dueindex.Key{Kind: dueindex.KindTask, RunID: runID(int(last))}, Due: events.Time(last)}
	old := dueindex.Key{Kind: dueindex.KindTask, RunID: runID(int(last) - 30)}
	err = errors.Join(err, s.DueIndex().Save(ctx, p, last+4, []dueindex.Item{item}, []dueindex.Key{old}))
	if last > 30 {
		err = errors.Join(err, s.Journal().Trim(p, last-20), s.Archive().Forget(ctx, p, runID(int(last)-15)), s.Archive().Forget(ctx, p, runID(int(last)-30)))
	}
	return last + 3, err
}

// TestFlippedBits damages the files of a stopped store at random. Whatever Check passes reads as before, and whatever it
// does not pass is at least never read wrongly.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	source := filled(t)
	s, err := Open(source, Options{})
	must(t, err)
	want := contents(s)
	must(t, s.Close())

	files := storeFiles(t, source)
	rng := rand.New(rand.NewPCG(7, 7))
	detected, harmless := 0, 0
	for n := range damages {
		dir := filepath.Join(t.TempDir(), "copy")
		must(t, os.CopyFS(dir, os.DirFS(source)))
		what := damageFile(t, rng, filepath.Join(dir, files[n%len(files)]), n%10 == 9)
		if spoiled(t, dir, what, want, n%4 == 0) {
			detected++
		} else {
			harmless++
		}
		must(t, os.RemoveAll(dir))
	}
	t.Logf("%d of %d detected, %d harmless", detected, damages, harmless)
	if detected < damages/4 {
		t.Errorf("only %d of %d damages were detected", detected, damages)
	}
}

// storeFiles lists the files that may rot: all but the lock.
func storeFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != fileLock {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				rel, err := filepath.Rel(dir, path)
				must(t, err)
				files = append(files, rel)
			}
		}
		return err
	}))
	return files
}

func damageFile(t *testing.T, rng *rand.Rand, path string, truncate bool) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	at := rng.IntN(max(1, written(b)))
	if truncate {
		must(t, os.WriteFile(path, b[:at], 0o600))
		return fmt.Sprintf("%s cut to %d of %d", filepath.Base(path), at, len(b))
	}
	bit := rng.IntN(8)
	b[at] ^= 1 << bit
	must(t, os.WriteFile(path, b, 0o600))
	return fmt.Sprintf("%s: bit %d of byte %d of %d", filepath.Base(path), bit, at, len(b))
}

// spoiled reports whether Check found the damage. Everything that can be read must be as before either way; where it was
// found, that is tried if also says so.
func spoiled(t *testing.T, dir, what, want string, also bool) bool {
	t.Helper()
	r, err := Check(dir, Judge{Row: decodeRow})
	found := err != nil || !r.Whole()
	if found && !also {
		return true
	}
	mem := vfs.NewMem() // spares the syncs of so many openings
	if _, err := vfs.Clone(vfs.Default, mem, filepath.Join(dir, dirLog), filepath.Join(dir, dirLog)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{fs: mem})
	if err != nil {
		if !found {
			t.Errorf("%s: Check finds nothing and Open fails: %v", what, err)
		}
		return true
	}
	got := contents(s)
	if err := s.Close(); err != nil && !found {
		t.Errorf("%s: Check finds nothing and Close fails: %v", what, err)
	}
	if got == want {
		return found
	}
	if !found {
		t.Errorf("%s: Check finds nothing and the store reads otherwise", what)
	}
	for line := range strings.Lines(got) {
		if !strings.Contains(line, ": error ") && !strings.Contains(want, line) {
			t.Errorf("%s: wrong read: %s", what, line)
		}
	}
	return true
}
