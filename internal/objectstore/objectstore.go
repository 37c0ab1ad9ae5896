// Package objectstore is the port of small durable things by name that outlive any process and are shared by all of them:
// checkpoints, holds and archived parts of logs. It asks no more than what a directory and every cloud's object store give.
package objectstore

import (
	"context"
	"errors"
	"fmt"
)

// Limits of names and objects.
const (
	MaxNameBytes   = 512
	MaxPartBytes   = 128 // between two slashes
	MaxObjectBytes = 64 << 20
)

// ErrNotFound says that there is no such object.
var ErrNotFound = errors.New("no such object")

// Store is the port. A name has parts of letters, digits, '-', '_' and '.', none of them empty or beginning with '.', with
// slashes between them; [CheckName] says so. Its methods may be called from any goroutine and process.
type Store interface {
	// Put makes an object durable under a name, whole or not at all; it replaces one that is there. The data stay the
	// caller's.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object, or an error that wraps ErrNotFound. It sees every Put that has returned.
	Get(ctx context.Context, name string) ([]byte, error)
	// List returns the names that begin with a prefix, by rising name. A prefix is empty or ends with a slash.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete deletes an object; one that is not there is not an error.
	Delete(ctx context.Context, name string) error
}

// CheckName says why a string is not the name of an object. Adapters call it before they touch anything.
func CheckName(name string) error {
	if len(name) > MaxNameBytes {
		return fmt.Errorf("an object's name has %d bytes, and the limit is %d: %.60q", len(name), MaxNameBytes, name)
	}
	before, part := byte('/'), 0
	for i := range len(name) {
		c := name[i]
		if part++; c == '/' {
			part = 0
		}
		if part > MaxPartBytes {
			return fmt.Errorf("a part of an object's name is longer than %d bytes: %.60q", MaxPartBytes, name)
		}
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && before != '/', c == '/' && before != '/':
		default:
			return fmt.Errorf("an object's name cannot have %q at byte %d: %.60q", c, i, name)
		}
		before = c
	}
	if before == '/' {
		return fmt.Errorf("an object's name cannot be empty or end with a slash: %.60q", name)
	}
	return nil
}

// CheckPrefix says why a string is not a prefix to list.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if prefix[len(prefix)-1] != '/' {
		return fmt.Errorf("a prefix of objects' names ends with a slash: %.60q", prefix)
	}
	return CheckName(prefix[:len(prefix)-1])
}
