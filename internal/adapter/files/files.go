// Package files makes the blob store and the object store, each in a directory of a file system.
//
//	<dir>/<namespace>/<run>/<hash>        a blob, the names path-escaped
//	<dir>/<name>@                         an object
//	….*.tmp                               being written, or left by a crash
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/mutant"
)

// Store is a blob store in a directory. Its methods may be called from any goroutine and process.
type Store struct{ dir string }

var _ blobstore.Store = (*Store)(nil)

// Open opens the directory or makes it.
func Open(dir string) (*Store, error) {
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("making the blob directory: %w", err)
	}
	return &Store{dir: dir}, nil
}

// Put makes data durable before it returns.
func (s *Store) Put(_ context.Context, namespace, run string, data []byte) (string, error) {
	if namespace == "" || run == "" {
		return "", fmt.Errorf("a blob needs a namespace and a run; got %q and %q", namespace, run)
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	key := url.PathEscape(namespace) + "/" + url.PathEscape(run) + "/" + hash
	path := s.path(url.PathEscape(namespace), url.PathEscape(run), hash)
	if err := s.put(path, data); err != nil {
		return "", fmt.Errorf("putting blob %s: %w", key, err)
	}
	return key, nil
}

func (s *Store) put(path string, data []byte) error {
	for attempt := 0; ; attempt++ {
		if err := makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		err := writeFile(path, data)
		// A run that is deleted at this moment takes the directory away; a second try makes it again.
		if !errors.Is(err, fs.ErrNotExist) || attempt == 3 {
			return err
		}
	}
}

// writeFile writes the file whole or not at all, durably. It replaces what is there, which repairs a damaged blob.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// Get reads a blob and checks it.
func (s *Store) Get(_ context.Context, key string) ([]byte, error) {
	path, ok := s.pathOf(key)
	if !ok {
		return nil, fmt.Errorf("blob key %.300q is not namespace/run/hash: %w", key, blobstore.ErrNotFound)
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("blob %s: %w", key, blobstore.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("reading blob %s: %w", key, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != filepath.Base(path) && !mutant.On(mutant.BlobHashIgnored) {
		return nil, fmt.Errorf("blob %s: %d bytes do not fit the hash: %w", key, len(data), blobstore.ErrDamaged)
	}
	return data, nil
}

// DeleteRun deletes the directory of a run.
func (s *Store) DeleteRun(_ context.Context, namespace, run string) error {
	dir := filepath.Join(s.dir, fileName(url.PathEscape(namespace)), fileName(url.PathEscape(run)))
	if namespace == "" || run == "" {
		return fmt.Errorf("deleting blobs needs a namespace and a run; got %q and %q", namespace, run)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting the blobs of run %s in %s: %w", run, namespace, err)
	}
	return nil
}

// pathOf returns where the blob with a key is; ok is false if there is none with such a key.
func (s *Store) pathOf(key string) (path string, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !isHash(parts[2]) {
		return "", false
	}
	return s.path(parts[0], parts[1], parts[2]), true
}

// path returns where a blob is. Namespace and run are escaped, as they are in keys.
func (s *Store) path(namespace, run, hash string) string {
	return filepath.Join(s.dir, fileName(namespace), fileName(run), hash)
}

// maxName is how long an escaped name may be; file systems allow 255 bytes.
const maxName = 200

// fileName makes an escaped name safe as the name of a directory: never "." or "..", never too long.
func fileName(escaped string) string {
	switch {
	case len(escaped) > maxName:
		sum := sha256.Sum256([]byte(escaped))
		return "~" + hex.EncodeToString(sum[:])
	case escaped[:1] == ".", escaped[:1] == "~":
		return "%" + hex.EncodeToString([]byte(escaped[:1])) + escaped[1:]
	}
	return escaped
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// makeDirs makes a directory and those above it durably.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr != nil || !info.IsDir() { // unless somebody else has just made it
			return err
		}
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
