package memory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/internal/blobstore"
)

type blobPort struct{ *Store }

// Blobs returns the blob store.
func (s *Store) Blobs() blobstore.Store { return blobPort{s} }

func (b blobPort) Put(_ context.Context, namespace, run string, data []byte) (string, error) {
	if namespace == "" || run == "" {
		return "", fmt.Errorf("a blob needs a namespace and a run; got %q and %q", namespace, run)
	}
	sum := sha256.Sum256(data)
	key := url.PathEscape(namespace) + "/" + url.PathEscape(run) + "/" + hex.EncodeToString(sum[:])
	if err := b.lock(); err != nil {
		return "", err
	}
	defer b.unlock()
	b.disk.blobs[key] = slices.Clone(data)
	return key, nil
}

func (b blobPort) Get(_ context.Context, key string) ([]byte, error) {
	if err := b.lock(); err != nil {
		return nil, err
	}
	defer b.unlock()
	data, ok := b.disk.blobs[key]
	if !ok {
		return nil, fmt.Errorf("blob %q: %w", key, blobstore.ErrNotFound)
	}
	return slices.Clone(data), nil
}

func (b blobPort) DeleteRun(_ context.Context, namespace, run string) error {
	if err := b.lock(); err != nil {
		return err
	}
	defer b.unlock()
	prefix := url.PathEscape(namespace) + "/" + url.PathEscape(run) + "/"
	for key := range b.disk.blobs {
		if strings.HasPrefix(key, prefix) {
			delete(b.disk.blobs, key)
		}
	}
	return nil
}
