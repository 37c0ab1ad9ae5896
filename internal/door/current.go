package door

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
)

// rereadEvery is how often files are looked at, at most.
const rereadEvery = time.Second

// maxFileBytes bounds a file that is read: a tokens file of the largest kind has half of it.
const maxFileBytes = 4 << 20

// current is a value read from files, as they are now or as they last made sense.
type current[T any] struct {
	setting string
	paths   []string
	parse   func(files ...[]byte) (T, error)
	clock   clock.Clock
	log     *slog.Logger

	mu     sync.Mutex
	value  T
	seen   [sha256.Size]byte // of what was looked at last, good or not
	looked time.Duration
}

// open reads the files for the first time.
func open[T any](o Options, setting string, parse func(files ...[]byte) (T, error), paths ...string) (*current[T], error) {
	c := &current[T]{setting: setting, paths: paths, parse: parse, clock: o.Clock, log: o.Log, looked: o.Clock.Boot()}
	files, sum, err := readAll(paths)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	if c.value, err = parse(files...); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", setting, strings.Join(paths, ", "), err)
	}
	c.seen = sum
	return c, nil
}

// get returns the value, and whether this call has found a new one. It reads the files at most once a second.
func (c *current[T]) get() (value T, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Boot()
	if now-c.looked < rereadEvery {
		return c.value, false
	}
	c.looked = now
	// All of it, not its time and size: a file may be replaced by one with the same.
	files, sum, err := readAll(c.paths)
	if sum == c.seen {
		return c.value, false
	}
	c.seen = sum
	if err == nil {
		value, err = c.parse(files...)
	}
	if err != nil {
		c.log.Error("files have changed and cannot be used; what was read before holds", slog.String("setting", c.setting), slog.String("error", err.Error()))
		return c.value, false
	}
	c.value = value
	c.log.Info("files were read again", slog.String("setting", c.setting))
	return value, true
}

// readAll reads files, and sums them up; of an error the text.
func readAll(paths []string) (files [][]byte, sum [sha256.Size]byte, err error) {
	all := sha256.New()
	for _, path := range paths {
		content, err := readFile(path)
		if err != nil {
			return nil, sha256.Sum256([]byte(err.Error())), err
		}
		one := sha256.Sum256(content)
		_, _ = all.Write(one[:]) // never fails, see package hash
		files = append(files, content)
	}
	return files, [sha256.Size]byte(all.Sum(nil)), nil
}

// readFile reads a file that must not be large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFileBytes)
	}
	return content, nil
}

// ReadPair makes a certificate of the PEM texts of a certificate, with its chain, and of its key.
func ReadPair(files ...[]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, err
	}
	return &pair, nil
}
