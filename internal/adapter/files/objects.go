package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/internal/objectstore"
)

// objectSuffix ends the file name of an object. No name has it, so that a directory of objects can have the name of another
// object.
const objectSuffix = "@"

// Objects are objects in a directory, which all processes of a cluster see: a local one, or a network file system that
// renames atomically and syncs when it is asked to. Its methods may be called from any goroutine and process.
type Objects struct{ dir string }

var _ objectstore.Store = (*Objects)(nil)

// OpenObjects opens the directory or makes it.
func OpenObjects(dir string) (*Objects, error) {
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("making the directory of objects: %w", err)
	}
	return &Objects{dir: dir}, nil
}

func (o *Objects) path(name string) string {
	return filepath.Join(o.dir, filepath.FromSlash(name)) + objectSuffix
}

// Put writes an object durably.
func (o *Objects) Put(_ context.Context, name string, data []byte) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	if len(data) > objectstore.MaxObjectBytes {
		return fmt.Errorf("object %s has %d bytes, and the limit is %d", name, len(data), objectstore.MaxObjectBytes)
	}
	path := o.path(name)
	err := makeDirs(filepath.Dir(path))
	if err == nil {
		err = writeFile(path, data)
	}
	if err != nil {
		return fmt.Errorf("putting object %s: %w", name, err)
	}
	return nil
}

// Get reads an object.
func (o *Objects) Get(_ context.Context, name string) ([]byte, error) {
	if err := objectstore.CheckName(name); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(o.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("object %s: %w", name, objectstore.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("reading object %s: %w", name, err)
	}
	return data, nil
}

// List walks the directory of a prefix.
func (o *Objects) List(ctx context.Context, prefix string) ([]string, error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var names []string
	err := filepath.WalkDir(filepath.Join(o.dir, filepath.FromSlash(prefix)), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return ctx.Err()
		}
		file, is := strings.CutSuffix(path, objectSuffix)
		if !is {
			return nil // being written, or left by a crash
		}
		name, err := filepath.Rel(o.dir, file)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing objects %s: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Delete deletes an object. Directories stay.
func (o *Objects) Delete(_ context.Context, name string) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	path := o.path(name)
	err := os.Remove(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("deleting object %s: %w", name, err)
	}
	return nil
}
