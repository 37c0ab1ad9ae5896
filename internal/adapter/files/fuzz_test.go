package files_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/blobstore"
)

// Whatever a run is called, its blob comes back under its key and lies inside of the store; whatever a key says, nothing
// outside is read or deleted.
func FuzzKeys(f *testing.F) {
	f.Add("default", "0190f0c4-5e6a-7c3e-9d55-0242ac120002", "default/run/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("..", ".", "../../e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("a/b", "~", "%2e%2e/..%2f/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("\x00", "\xff", "//")
	outside := f.TempDir()
	inside := filepath.Join(outside, "store")
	// The blob of no bytes, where a key that leads out of the store would find it.
	canary := filepath.Join(outside, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	if err := os.WriteFile(canary, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	store, err := files.Open(inside)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, namespace, run, key string) {
		if data, err := store.Get(t.Context(), key); err == nil && len(data) == 0 {
			t.Fatalf("key %q reads what is not in the store", key)
		}
		data := []byte(namespace + "of" + run)
		own, err := store.Put(t.Context(), namespace, run, data)
		if err != nil {
			if namespace != "" && run != "" {
				t.Fatalf("namespace %q and run %q: %v", namespace, run, err)
			}
			return
		}
		if got, err := store.Get(t.Context(), own); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("key %q: %q, %v", own, got, err)
		}
		if err := store.DeleteRun(t.Context(), namespace, run); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Get(t.Context(), own); !errors.Is(err, blobstore.ErrNotFound) {
			t.Fatalf("key %q after its run was deleted: %v", own, err)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 2 {
			t.Fatalf("outside of the store are %v, %v", entries, err)
		}
	})
}
