package pebble

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/continuo-dev/continuo/pkg/events"
)

// engineFormat is Pebble's newest format. It is named, so that a new version of Pebble does not change what older builds
// of the suite can open: a later one is a decision and a new formatVersion.
const engineFormat = pebble.FormatValueSeparation

// engineOptions are those of every open database. Smaller memtables make compactions write more, twice as much at half the size,
// and stall commits by their flushes; larger ones are memory, and take longer to read back after a kill. They count as a part of
// the cache: two of them are all there are while one is flushed, and what is left must hold the indexes of the tables and the ends
// of the families, where new keys are looked for.
func engineOptions(fs vfs.FS, log pebble.Logger) *pebble.Options {
	return &pebble.Options{
		FormatMajorVersion: engineFormat,
		FS:                 fs,
		MemTableSize:       24 << 20,
		CacheSize:          80 << 20,
		Logger:             log,
		EventListener:      &pebble.EventListener{},
	}
}

func (s *Store) openDB(create bool) (db *pebble.DB, err error) {
	o := engineOptions(aheadFS{s.options.fs}, engineLog{log: s.options.Logger, fail: s.fail})
	o.ErrorIfExists, o.ErrorIfNotExists = create, !create
	o.EventListener.DataCorruption = func(i pebble.DataCorruptionInfo) {
		s.options.Logger.Error("the store is damaged", slog.String("file", i.Path), slog.String("details", i.Details.Error()))
	}
	o.EventListener.BackgroundError = func(err error) {
		s.options.Logger.Error("background work of the store failed and is repeated", slog.String("error", err.Error()))
	}
	path := filepath.Join(s.dir, dirLog)
	if err := guarded(func() (err error) { db, err = pebble.Open(path, o); return err }); err != nil {
		return nil, openError(path, err)
	}
	return db, nil
}

// openError tells damage from what the operating system refuses.
func openError(path string, err error) error {
	var fatal *fatalError
	if pebble.IsCorruptionError(err) || errors.Is(err, pebble.ErrDBDoesNotExist) || errors.As(err, &fatal) {
		return fmt.Errorf("%w: %s does not open: %s; run 'continuo store check'", ErrDamaged, path, firstLine(err))
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// verifyIdentity checks that FORMAT and log belong together and that the log ends where the last clean stop left it.
func verifyIdentity(db *pebble.DB, dir string, format []byte) error {
	kept, err := getCopy(db, keyFormat)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, dirLog), err)
	}
	if !bytes.Equal(kept, format) {
		return fmt.Errorf("%w: %s and the copy of it in the log differ; run 'continuo store check'", ErrDamaged, filepath.Join(dir, fileFormat))
	}
	mark, err := readMark(dir)
	if err != nil || mark == "" {
		return err
	}
	kept, err = getCopy(db, keyMark)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, dirLog), err)
	}
	if string(kept) != mark {
		return fmt.Errorf("%w: the log lacks the mark of the last clean stop in %s: its end is lost; run 'continuo store check'", ErrDamaged, filepath.Join(dir, fileClean))
	}
	return nil
}

// getCopy returns a value, nil if the key is not there.
func getCopy(db pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError(key, err)
	}
	kept := append([]byte{}, value...)
	return kept, closer.Close()
}

func readError(key []byte, err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: reading %s: %s; run 'continuo store check'", ErrDamaged, describeKey(key), firstLine(err))
	}
	return fmt.Errorf("reading %s: %w", describeKey(key), err)
}

// firstLine is an error of Pebble without the lines that tell where in Pebble it was met.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// fatalError is how Pebble's Fatalf, which must not return, comes back to the caller.
type fatalError struct{ message string }

func (e *fatalError) Error() string { return e.message }

// guarded turns a Fatalf on this goroutine into an error.
func guarded(f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *fatalError:
			err = r
		default:
			panic(r)
		}
	}()
	return f()
}

// guard is guarded for writes, whose errors are final.
func (s *Store) guard(f func() error) error {
	err := guarded(f)
	if err != nil {
		s.fail(err)
	}
	return err
}

// engineLog hands Pebble's messages to slog. After Fatalf, which Pebble expects not to return, the store is unusable: on
// goroutines of the store guard recovers, on Pebble's own the process ends.
type engineLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l engineLog) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", slog.String("message", fmt.Sprintf(format, args...)))
	}
}

func (l engineLog) Errorf(format string, args ...any) {
	l.log.Debug("pebble error", slog.String("message", fmt.Sprintf(format, args...)))
}

func (l engineLog) Fatalf(format string, args ...any) {
	err := &fatalError{message: fmt.Sprintf(format, args...)}
	l.fail(err)
	panic(err)
}

func newOwner() (events.OwnerID, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("making an owner id: %w", err)
	}
	return events.OwnerID(binary.BigEndian.Uint64(b[:])>>1 | 1), nil
}

func newMark() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}
