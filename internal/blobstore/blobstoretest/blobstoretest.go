// Package blobstoretest checks that an adapter keeps every promise of the blob store port.
package blobstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/blobstore"
)

// Fixture is a fresh store.
type Fixture struct {
	Store blobstore.Store
	// Crash ends the store as kill -9 does and opens what it left; nil when nothing is left.
	Crash func(t *testing.T) blobstore.Store
	// Damage changes a byte of the blob behind the store's back; nil when that cannot be.
	Damage func(t *testing.T, key string)
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"PutAndGet", testPutAndGet},
		{"KeyIsTheContent", testKeyIsTheContent},
		{"NotFound", testNotFound},
		{"BadKeys", testBadKeys},
		{"NamesCannotEscape", testNamesCannotEscape},
		{"DeleteRun", testDeleteRun},
		{"ManyAtOnce", testManyAtOnce},
		{"DamageIsFound", testDamage},
		{"CrashKeepsBlobs", testCrash},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			if strings.HasPrefix(test.name, "Crash") && f.Crash == nil || strings.HasPrefix(test.name, "Damage") && f.Damage == nil {
				t.Skip("not promised by this adapter: blobs are in memory only")
			}
			test.run(t, f)
		})
	}
}

func put(t *testing.T, s blobstore.Store, namespace, run string, data []byte) string {
	t.Helper()
	key, err := s.Put(context.Background(), namespace, run, data)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func want(t *testing.T, s blobstore.Store, key string, data []byte) {
	t.Helper()
	got, err := s.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("blob %s has %d bytes, not the %d that were put", key, len(got), len(data))
	}
}

func wantMissing(t *testing.T, s blobstore.Store, key string) {
	t.Helper()
	if got, err := s.Get(context.Background(), key); !errors.Is(err, blobstore.ErrNotFound) {
		t.Fatalf("Get(%q) = %d bytes, %v; want ErrNotFound", key, len(got), err)
	}
}

func testPutAndGet(t *testing.T, f Fixture) {
	for _, size := range []int{0, 1, 200_000, 3 << 20} {
		data := bytes.Repeat([]byte{0xfe, 1, 2}, size/3+1)[:size]
		key := put(t, f.Store, "default", "run-1", data)
		want(t, f.Store, key, data)
		if again := put(t, f.Store, "default", "run-1", data); again != key {
			t.Fatalf("the same data has keys %s and %s", key, again)
		}
		want(t, f.Store, key, data)
	}
	data := []byte("mine")
	key := put(t, f.Store, "default", "run-1", data)
	copy(data, "xxxx")
	want(t, f.Store, key, []byte("mine"))
}

func testKeyIsTheContent(t *testing.T, f Fixture) {
	data := []byte("content")
	sum := sha256.Sum256(data)
	key := put(t, f.Store, "default", "run-1", data)
	if key != "default/run-1/"+hex.EncodeToString(sum[:]) {
		t.Fatalf("key is %q", key)
	}
	if other := put(t, f.Store, "default", "run-2", data); other == key {
		t.Fatal("blobs of two runs have one key")
	}
}

func testNotFound(t *testing.T, f Fixture) {
	key := put(t, f.Store, "default", "run-1", []byte("x"))
	wantMissing(t, f.Store, strings.Replace(key, "run-1", "run-2", 1))
	wantMissing(t, f.Store, strings.Replace(key, "default", "other", 1))
	sum := sha256.Sum256([]byte("y"))
	wantMissing(t, f.Store, "default/run-1/"+hex.EncodeToString(sum[:]))
}

func testBadKeys(t *testing.T, f Fixture) {
	key := put(t, f.Store, "default", "run-1", []byte("x"))
	hash := key[strings.LastIndex(key, "/")+1:]
	for _, bad := range []string{"", "x", "/", "//", "default/run-1", "default/run-1/", "default/run-1/zz", "default/run-1/" + hash + "/x", "../" + hash, "default/run-1/../" + hash} {
		if got, err := f.Store.Get(context.Background(), bad); err == nil {
			t.Errorf("Get(%q) returned %d bytes", bad, len(got))
		}
	}
	if _, err := f.Store.Put(context.Background(), "", "run-1", nil); err == nil {
		t.Error("Put without a namespace succeeded")
	}
	if _, err := f.Store.Put(context.Background(), "default", "", nil); err == nil {
		t.Error("Put without a run succeeded")
	}
}

func testNamesCannotEscape(t *testing.T, f Fixture) {
	names := []string{"..", ".", "a/b", "../../x", "a\\b", "ä ö", "%2e%2e", strings.Repeat("n", 255), strings.Repeat("n", 254), "a:b", "~", "-rf", "a"}
	keys := map[string]string{}
	for _, ns := range []string{"..", "a", "a/b"} {
		for _, run := range names {
			data := fmt.Appendf(nil, "%q %q", ns, run)
			key := put(t, f.Store, ns, run, data)
			if other, taken := keys[key]; taken {
				t.Fatalf("%q and %s have one key %s", data, other, key)
			}
			keys[key] = string(data)
		}
	}
	for key, data := range keys {
		want(t, f.Store, key, []byte(data))
	}
	if err := f.Store.DeleteRun(context.Background(), "a", ".."); err != nil {
		t.Fatal(err)
	}
	if err := f.Store.DeleteRun(context.Background(), "..", "unknown"); err != nil {
		t.Fatal(err)
	}
	left := 0
	for key := range keys {
		if _, err := f.Store.Get(context.Background(), key); err == nil {
			left++
		}
	}
	if left != len(keys)-1 {
		t.Fatalf("deleting one run left %d of %d blobs", left, len(keys))
	}
}

func testDeleteRun(t *testing.T, f Fixture) {
	a, b := put(t, f.Store, "default", "run-1", []byte("a")), put(t, f.Store, "default", "run-1", []byte("b"))
	near, far := put(t, f.Store, "default", "run-10", []byte("a")), put(t, f.Store, "other", "run-1", []byte("a"))
	for range 2 { // none is not an error
		if err := f.Store.DeleteRun(context.Background(), "default", "run-1"); err != nil {
			t.Fatal(err)
		}
	}
	wantMissing(t, f.Store, a)
	wantMissing(t, f.Store, b)
	want(t, f.Store, near, []byte("a"))
	want(t, f.Store, far, []byte("a"))
	if again := put(t, f.Store, "default", "run-1", []byte("a")); again != a {
		t.Fatalf("key changed from %s to %s", a, again)
	}
	want(t, f.Store, a, []byte("a"))
}

func testManyAtOnce(t *testing.T, f Fixture) {
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 10 {
				data := fmt.Appendf(nil, "blob %d", n) // the same ones from everybody
				key, err := f.Store.Put(context.Background(), "default", "run-1", data)
				if err != nil {
					t.Errorf("goroutine %d: %v", g, err)
					return
				}
				if got, err := f.Store.Get(context.Background(), key); err != nil || !bytes.Equal(got, data) {
					t.Errorf("goroutine %d: %q, %v", g, got, err)
				}
			}
		})
	}
	all.Wait()
}

func testDamage(t *testing.T, f Fixture) {
	key := put(t, f.Store, "default", "run-1", []byte("content"))
	f.Damage(t, key)
	_, err := f.Store.Get(context.Background(), key)
	if !errors.Is(err, blobstore.ErrDamaged) || !strings.Contains(err.Error(), key) {
		t.Fatalf("error is %v; want ErrDamaged with the key", err)
	}
	if put(t, f.Store, "default", "run-1", []byte("content")) != key {
		t.Fatal("the key changed")
	}
	want(t, f.Store, key, []byte("content")) // putting it again repairs it
}

func testCrash(t *testing.T, f Fixture) {
	key := put(t, f.Store, "default", "run-1", []byte("content"))
	want(t, f.Crash(t), key, []byte("content"))
}
