package cloudobjects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/objectstore"
)

// Blobs returns the blobs below blobs/ in the bucket. They end with it.
func (b *Bucket) Blobs() *Blobs { return &Blobs{&Objects{b, "blobs/"}} }

// Blobs are blobs in a bucket. Its methods may be called from any goroutine and process.
type Blobs struct{ objects objectstore.Store }

var _ blobstore.Store = (*Blobs)(nil)

// Put writes a blob.
func (s *Blobs) Put(ctx context.Context, namespace, run string, data []byte) (string, error) {
	if namespace == "" || run == "" {
		return "", fmt.Errorf("a blob needs a namespace and a run; got %q and %q", namespace, run)
	}
	sum := sha256.Sum256(data)
	key := url.PathEscape(namespace) + "/" + url.PathEscape(run) + "/" + hex.EncodeToString(sum[:])
	name, _ := nameOf(key)
	if err := s.objects.Put(ctx, name, data); err != nil {
		return "", fmt.Errorf("putting blob %s: %w", key, err)
	}
	return key, nil
}

// Get reads a blob and checks it.
func (s *Blobs) Get(ctx context.Context, key string) ([]byte, error) {
	name, ok := nameOf(key)
	if !ok {
		return nil, fmt.Errorf("blob key %.300q is not namespace/run/hash: %w", key, blobstore.ErrNotFound)
	}
	data, err := s.objects.Get(ctx, name)
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		return nil, fmt.Errorf("blob %s: %w", key, blobstore.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("reading blob %s: %w", key, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != name[strings.LastIndexByte(name, '/')+1:] {
		return nil, fmt.Errorf("blob %s: %d bytes do not fit the hash: %w", key, len(data), blobstore.ErrDamaged)
	}
	return data, nil
}

// DeleteRun deletes the blobs of a run, one by one.
func (s *Blobs) DeleteRun(ctx context.Context, namespace, run string) error {
	if namespace == "" || run == "" {
		return fmt.Errorf("deleting blobs needs a namespace and a run; got %q and %q", namespace, run)
	}
	names, err := s.objects.List(ctx, partOf(url.PathEscape(namespace))+"/"+partOf(url.PathEscape(run))+"/")
	for _, name := range names {
		err = errors.Join(err, s.objects.Delete(ctx, name))
	}
	if err != nil {
		return fmt.Errorf("deleting the blobs of run %s in %s: %w", run, namespace, err)
	}
	return nil
}

// nameOf returns the name of the object that has the blob with a key; ok is false if none can have it.
func nameOf(key string) (name string, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return "", false
	}
	if hash, err := hex.DecodeString(parts[2]); err != nil || len(hash) != sha256.Size || strings.ToLower(parts[2]) != parts[2] {
		return "", false
	}
	return partOf(parts[0]) + "/" + partOf(parts[1]) + "/" + parts[2], true
}

// partOf makes an escaped name the part of an object's name: itself if it can be, else a hash of it, which no name looks like.
func partOf(escaped string) string {
	if escaped[0] != '_' && len(escaped) <= objectstore.MaxPartBytes && objectstore.CheckName(escaped) == nil {
		return escaped
	}
	sum := sha256.Sum256([]byte(escaped))
	return "_" + hex.EncodeToString(sum[:])
}
