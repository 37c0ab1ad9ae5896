// Package blobstore is the port of bytes too large for a record: payloads above the inline limit, by namespace, run and
// content hash. A blob belongs to one run and is deleted with it, so that deletion never races with reuse.
package blobstore

import (
	"context"
	"errors"
)

// ErrNotFound says that there is no such blob.
var ErrNotFound = errors.New("no such blob")

// ErrDamaged says that a blob's bytes do not fit its hash. It names the blob.
var ErrDamaged = errors.New("the blob is damaged")

// Store is the port. Keys are "namespace/run/hash" with the hash of the content (SHA-256, hex); each part is path-escaped
// by the adapter as it needs. Its methods may be called from any goroutine.
type Store interface {
	// Put makes data durable under the prefix "namespace/run" and returns its key. Putting the same data again is
	// harmless.
	Put(ctx context.Context, namespace, run string, data []byte) (key string, err error)
	// Get returns the bytes of a blob and checks them against the hash in its key.
	Get(ctx context.Context, key string) ([]byte, error)
	// DeleteRun deletes all blobs of a run; none is not an error.
	DeleteRun(ctx context.Context, namespace, run string) error
}
