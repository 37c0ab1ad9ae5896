package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/continuo-dev/continuo/pkg/events"
)

// maxProblems is how many problems a report describes.
const maxProblems = 100

// Report is what [Check] and [Info] find in a stopped store.
type Report struct {
	Dir    string
	Format Format
	// CleanStop says that the store was stopped in good order, so that the end of the log is known to be there. Otherwise
	// it is known up to what the file SYNCED says.
	CleanStop bool
	// Problems are what is wrong, up to 100 of ProblemCount; none means whole. Info fills them only with what kept it from
	// reading.
	Problems     []Problem
	ProblemCount int
	Partitions   []PartitionReport
	Families     []FamilyReport
	// DiskBytes is the size of all files of the store, with what is not compacted yet.
	DiskBytes int64
}

// Problem is one thing that is wrong.
type Problem struct {
	Where string // a file, or a key with its partition
	What  string
}

// PartitionReport is the log of one partition.
type PartitionReport struct {
	Partition events.Partition
	Epoch     uint64
	First     events.Seq
	Last      events.Seq
	Records   int64 // from First on
	Kept      int64 // below First, for histories
	Runs      int64 // rows
	Bytes     int64 // of keys and values of all families
}

// FamilyReport is what one kind of rows uses. Bytes are keys and values before compression.
type FamilyReport struct {
	Name  string
	Rows  int64
	Bytes int64
}

// Whole reports whether nothing is wrong.
func (r *Report) Whole() bool { return r.ProblemCount == 0 }

// Add adds what somebody else has found in the data directory.
func (r *Report) Add(where, what string) { r.problem(where, "%s", what) }

func (r *Report) problem(where, format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{Where: where, What: fmt.Sprintf(format, args...)})
	}
}

// Judge looks at what [Check] reads and the store itself does not understand. Nil functions look at nothing.
type Judge struct {
	// Row says what is wrong with the row of a run.
	Row func(row []byte) error
	// Record is shown every record that can be read, by partition and position. Kept says that a history has it; other
	// records go with the next trim.
	Record func(r *events.Record, kept bool)
}

// Check reads everything in a stopped store and says whether it is whole: the files, the checksum of every record, that
// the log has no gap and does not end before what was acknowledged, that log and history index agree, and that every row
// can be decoded. Nothing is written. An error means that there was nothing to check: it wraps [ErrMissing],
// [ErrForeign], [ErrNewer], [ErrInUse] or what the operating system says.
func Check(dir string, judge Judge) (Report, error) {
	if judge.Row == nil {
		judge.Row = func([]byte) error { return nil }
	}
	if judge.Record == nil {
		judge.Record = func(*events.Record, bool) {}
	}
	return inspect(dir, func(c *checker) { c.check(judge) })
}

// Info reads a stopped store and says what uses its space. It fails as [Check] does.
func Info(dir string) (Report, error) {
	return inspect(dir, func(c *checker) { c.measure() })
}

// checker walks over an open store.
type checker struct {
	*Report
	db    *pebble.DB
	parts map[events.Partition]*PartitionReport
}

// Exists returns nil when there is a store in the directory, stopped or not. An error wraps [ErrMissing] or [ErrForeign], or is what
// the operating system says.
func Exists(dir string) error {
	kind, err := survey(dir)
	switch {
	case err != nil:
		return err
	case kind == contentEmpty:
		return fmt.Errorf("%s: %w", dir, ErrMissing)
	case kind == contentUnfinished:
		return fmt.Errorf("%s: %w: its making was interrupted; the next start makes it anew", dir, ErrMissing)
	}
	return nil
}

func inspect(dir string, walk func(*checker)) (Report, error) {
	r := Report{Dir: dir}
	if err := Exists(dir); err != nil {
		return r, err
	}
	unlock, err := lockStopped(dir)
	if err != nil {
		return r, err
	}
	defer unlock()
	format, text, err := readFormat(dir)
	switch {
	case errors.Is(err, ErrDamaged):
		r.problem(filepath.Join(dir, fileFormat), "%v", err)
		return r, nil
	case err != nil:
		return r, err
	}
	r.Format = format
	r.DiskBytes = diskBytes(dir)
	inspectLog(&r, text, walk)
	return r, nil
}

// inspectLog opens the log and walks over it. Whatever goes wrong is a problem of the store; damage that Pebble meets with
// a panic is one too.
func inspectLog(r *Report, format []byte, walk func(*checker)) {
	path := filepath.Join(r.Dir, dirLog)
	defer func() {
		if v := recover(); v != nil {
			r.problem(path, "reading it fails: %v", v)
		}
	}()
	o := engineOptions(vfs.Default, quietLog{})
	o.ReadOnly, o.ErrorIfNotExists, o.DisableTableStats = true, true, true
	o.EventListener.DataCorruption = func(pebble.DataCorruptionInfo) {} // the read that met it tells
	db, err := pebble.Open(path, o)
	if err != nil {
		r.problem(path, "it does not open: %s", firstLine(err))
		return
	}
	defer func() {
		if err := db.Close(); err != nil {
			r.problem(path, "closing it fails: %v", err)
		}
	}()
	mark, err := readMark(r.Dir)
	r.CleanStop = err == nil && mark != ""
	if err := verifyIdentity(db, r.Dir, format); err != nil {
		r.problem(r.Dir, "%v", err)
	}
	c := newChecker(r, db)
	c.ending()
	walk(c)
}

// ending compares the ends of the logs with what was acknowledged.
func (c *checker) ending() {
	marks, err := readSynced(c.Dir, c.Format.Partitions)
	if err != nil {
		c.problem(filepath.Join(c.Dir, fileSynced), "%s", reason(err))
	}
	for n, mark := range marks {
		found := reached{c.Partitions[n].Last, c.Partitions[n].Epoch}
		if found.seq < mark.seq || found.epoch < mark.epoch {
			c.problem(filepath.Join(c.Dir, dirLog), "%s", endLost(events.Partition(n), found, mark))
		}
	}
}

// newChecker reads where the logs of the partitions begin and end.
func newChecker(r *Report, db *pebble.DB) *checker {
	c := &checker{Report: r, db: db, parts: map[events.Partition]*PartitionReport{}}
	r.Partitions = make([]PartitionReport, r.Format.Partitions)
	for n := range r.Partitions {
		p := &r.Partitions[n]
		p.Partition = events.Partition(n)
		c.parts[p.Partition] = p
		var err error
		if p.First, p.Last, err = readBounds(db, p.Partition); err != nil {
			r.problem(filepath.Join(r.Dir, dirLog), "%v", err)
		}
		key := prefix(famPartition, p.Partition)
		if epoch, err := getCopy(db, key); err != nil {
			r.problem(describeKey(key), "%v", err)
		} else if len(epoch) == 8 {
			p.Epoch = binary.BigEndian.Uint64(epoch)
		}
	}
	return c
}

// lockStopped makes sure that no process has the store and keeps it so.
func lockStopped(dir string) (unlock func(), err error) {
	f, err := os.Open(filepath.Join(dir, fileLock))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w; stop the server first", dir, ErrInUse), f.Close())
	}
	return func() { _ = unlockDir(f) }, nil // only a lock was held
}

func diskBytes(dir string) (size int64) {
	_ = filepath.WalkDir(filepath.Join(dir, dirLog), func(_ string, d fs.DirEntry, err error) error { // unreadable files are problems of the check
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}

// rows calls row for every row of a family. A part that cannot be read is a problem and ends the family.
func (c *checker) rows(family byte, row func(p *PartitionReport, key, value []byte)) {
	var last []byte
	lower := []byte{family}
	err := scan(c.db, lower, after(lower), func(key, value []byte) (bool, error) {
		last = append(last[:0], key...)
		if family == famMeta {
			row(nil, key, value)
			return true, nil
		}
		if len(key) < 3 {
			c.problem(describeKey(key), "the key is cut")
			return true, nil
		}
		p := c.parts[events.Partition(binary.BigEndian.Uint16(key[1:]))]
		if p == nil {
			c.problem(describeKey(key), "there is no such partition; the store has %d", c.Format.Partitions)
			return true, nil
		}
		row(p, key, value)
		return true, nil
	})
	if err != nil {
		where := "the beginning of " + describeKey(lower)
		if last != nil {
			where = "after " + describeKey(last)
		}
		c.problem(where, "%v", err)
	}
}

// measure counts rows and bytes of all families.
func (c *checker) measure() {
	for _, f := range families {
		c.family(f.letter, f.name, func(*PartitionReport, []byte, []byte) {})
	}
}

// family walks over a family and counts it.
func (c *checker) family(letter byte, name string, row func(p *PartitionReport, key, value []byte)) {
	report := FamilyReport{Name: name}
	c.rows(letter, func(p *PartitionReport, key, value []byte) {
		size := int64(len(key) + len(value))
		report.Rows++
		report.Bytes += size
		if p != nil {
			p.Bytes += size
		}
		switch letter {
		case famEvent:
			if seq, _ := seqOf(key); seq >= p.First {
				p.Records++
			} else {
				p.Kept++
			}
		case famRun:
			p.Runs++
		}
		row(p, key, value)
	})
	c.Families = append(c.Families, report)
}

// quietLog drops Pebble's messages; after Fatalf, which must not return, inspectLog goes on.
type quietLog struct{}

func (quietLog) Infof(string, ...any)  {}
func (quietLog) Errorf(string, ...any) {}
func (quietLog) Fatalf(format string, args ...any) {
	panic(&fatalError{message: fmt.Sprintf(format, args...)})
}
