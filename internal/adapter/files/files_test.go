package files_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/blobstore/blobstoretest"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/objectstore/objectstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *files.Store {
	t.Helper()
	s, err := files.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	blobstoretest.Test(t, func(t *testing.T) blobstoretest.Fixture {
		dir := filepath.Join(t.TempDir(), "a", "blobs")
		return blobstoretest.Fixture{
			Store: open(t, dir),
			Crash: func(t *testing.T) blobstore.Store { return open(t, dir) },
			Damage: func(t *testing.T, key string) {
				path := filepath.Join(dir, key)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				b[0] ^= 1
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// TestNothingOutside puts blobs under names that would leave the directory.
func TestNothingOutside(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := open(t, filepath.Join(root, "blobs"))
	for _, name := range []string{"..", "../..", ".", "/", "/etc", `..\..`} {
		if _, err := s.Put(context.Background(), name, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 1 {
		t.Fatalf("outside of the directory there is %v, %v", entries, err)
	}
	names, err := os.ReadDir(filepath.Join(root, "blobs"))
	if err != nil || len(names) != 6 {
		t.Fatalf("6 namespaces made %v, %v", names, err)
	}
}

// TestFailuresAreReported puts blobs where nothing can be written, and leaves nothing half done.
func TestFailuresAreReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "taken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Open(filepath.Join(dir, "taken")); err == nil {
		t.Fatal("a file was opened as a directory")
	}
	s := open(t, dir)
	if _, err := s.Put(context.Background(), "taken", "run", []byte("x")); err == nil {
		t.Fatal("a blob was put below a file")
	}
	key, err := s.Put(context.Background(), "default", "run", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, key)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(context.Background(), "default", "run", []byte("x")); err == nil {
		t.Fatal("a blob replaced a directory")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || strings.HasSuffix(entries[0].Name(), ".tmp") {
		t.Fatalf("a failed Put leaves %v, %v", entries, err)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	objectstoretest.Test(t, func(t *testing.T) objectstoretest.Fixture {
		dir := filepath.Join(t.TempDir(), "a", "objects")
		openObjects := func(t *testing.T) objectstore.Store {
			t.Helper()
			o, err := files.OpenObjects(dir)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		return objectstoretest.Fixture{Store: openObjects(t), Reopen: openObjects}
	})
}
