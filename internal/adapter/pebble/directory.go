package pebble

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Files of a data directory. Other files may be put beside them once FORMAT is there.
//
//	LOCK         locked while a process has the store; holds its pid
//	FORMAT       what the store is; made last, so that an unfinished store is known as such
//	FORMAT.new   the same while the store is being made
//	CLEAN        the mark of the last clean stop; gone while the store is open
//	SYNCED       how far the log was durable when it was acknowledged
//	log/         the Pebble store
const (
	fileLock   = "LOCK"
	fileFormat = "FORMAT"
	fileNew    = "FORMAT.new"
	fileClean  = "CLEAN"
	dirLog     = "log"
)

const (
	product       = "continuo"
	formatVersion = 1
)

// Errors of opening a data directory. They are wrapped with the directory's name and what to do. [ErrDamaged] is the fifth.
var (
	// ErrInUse says that another process has the directory.
	ErrInUse = errors.New("the data directory is in use")
	// ErrForeign says that the directory has files and is not a data directory. Nothing in it was touched.
	ErrForeign = errors.New("the directory is not a data directory of continuo")
	// ErrNewer says that a newer version made the directory.
	ErrNewer = errors.New("the data directory is of a newer version")
	// ErrMissing says that there is no data directory.
	ErrMissing = errors.New("there is no data directory")
	// ErrPartitions says that the store has another number of partitions than wanted; it is fixed when a store is made.
	ErrPartitions = errors.New("the data directory has another number of partitions")
)

// Format is what the file FORMAT says of a store.
type Format struct {
	Product    string    `json:"product"`
	Version    int       `json:"version"`
	Partitions int       `json:"partitions"`
	Cluster    string    `json:"cluster"` // names the store: 32 hex digits
	Created    time.Time `json:"created"`
}

// content tells what a directory is.
type content int

const (
	contentEmpty      content = iota // or missing
	contentUnfinished                // the store was being made
	contentStore
)

// survey looks at a directory without touching it.
func survey(dir string) (content, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return contentEmpty, nil
	case err != nil:
		return 0, fmt.Errorf("reading the data directory: %w", err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	if names[fileFormat] {
		return contentStore, nil
	}
	foreign := ""
	for _, e := range entries { // a fresh file system has lost+found
		if n := e.Name(); n != fileLock && n != fileNew && n != fileNew+".tmp" && n != "lost+found" && (n != dirLog || !names[fileNew]) {
			foreign = n
			break
		}
	}
	switch {
	case foreign != "":
		return 0, fmt.Errorf("%s: %w: it has %q and no file %s; choose an empty or new directory", dir, ErrForeign, foreign, fileFormat)
	case names[fileNew]:
		return contentUnfinished, nil
	}
	return contentEmpty, nil
}

// lockDir takes the directory's lock, which ends with the process at the latest.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, fileLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := "another process"
		if b, err := os.ReadFile(path); err == nil && len(bytes.TrimSpace(b)) > 0 {
			holder = "process " + string(bytes.TrimSpace(b))
		}
		return nil, errors.Join(fmt.Errorf("%s: %w by %s; stop it or choose another directory", dir, ErrInUse, holder), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f, nil
}

// unlockDir releases a lock. It says so before the file is closed: a child that this process is just starting shares the file
// until it runs, and would hold the lock that long.
func unlockDir(lock *os.File) error {
	return errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close())
}

func newFormat(partitions int, now time.Time) (Format, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Format{}, fmt.Errorf("making a cluster id: %w", err)
	}
	return Format{Product: product, Version: formatVersion, Partitions: partitions, Cluster: hex.EncodeToString(id[:]), Created: now.UTC()}, nil
}

func (f Format) encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// readFormat reads FORMAT and returns its bytes too, of which the log has a copy.
func readFormat(dir string) (Format, []byte, error) {
	path := filepath.Join(dir, fileFormat)
	b, err := os.ReadFile(path)
	if err != nil {
		return Format{}, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	var f Format
	if err := json.Unmarshal(b, &f); err != nil {
		return Format{}, nil, fmt.Errorf("%w: %s cannot be read: %w; run 'continuo store check'", ErrDamaged, path, err)
	}
	switch {
	case f.Product != product:
		return f, nil, fmt.Errorf("%s: %w: its file %s is of %q", dir, ErrForeign, fileFormat, f.Product)
	case f.Version > formatVersion:
		return f, nil, fmt.Errorf("%s: %w: format %d, and this build reads up to %d; upgrade continuo", dir, ErrNewer, f.Version, formatVersion)
	case f.Version < 1 || f.Partitions < 1 || f.Partitions > 1<<16-1 || f.Cluster == "":
		return f, nil, fmt.Errorf("%w: %s has values that were never written; run 'continuo store check'", ErrDamaged, path)
	}
	return f, b, nil
}

// writeFile makes a file durable under its name, whole or not at all.
func writeFile(dir, name string, data []byte) error {
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readMark returns the mark of the last clean stop; "" if the store was not stopped cleanly.
func readMark(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, fileClean))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	mark := strings.TrimSuffix(string(b), "\n")
	if err == nil && len(mark) != 32 {
		return "", fmt.Errorf("%w: %s cannot be read; run 'continuo store check'", ErrDamaged, filepath.Join(dir, fileClean))
	}
	return mark, err
}
