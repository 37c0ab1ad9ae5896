// Package objectstoretest checks that an adapter keeps every promise of the objectstore port.
package objectstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/objectstore"
)

// Fixture is a fresh store.
type Fixture struct {
	Store objectstore.Store
	// Reopen returns a store of the same objects as another process sees them; nil when they end with the process.
	Reopen func(t *testing.T) objectstore.Store
}

// Test runs the suite. open is called once for every test and cleans up with t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(t *testing.T, f Fixture){
		"PutGetDelete": testPutGetDelete, "List": testList, "Names": testNames, "PutIsWhole": testPutIsWhole, "Others": testOthers, "Large": testLarge,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, s objectstore.Store, name, data string) {
	t.Helper()
	got, err := s.Get(t.Context(), name)
	if err != nil || string(got) != data {
		t.Fatalf("%s is %.40q, %v; want %.40q", name, got, err, data)
	}
}

func wantNone(t *testing.T, s objectstore.Store, name string) {
	t.Helper()
	if got, err := s.Get(t.Context(), name); !errors.Is(err, objectstore.ErrNotFound) {
		t.Fatalf("%s is %.40q, %v; want ErrNotFound", name, got, err)
	}
}

func testPutGetDelete(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	wantNone(t, s, "a/b")
	check(t, s.Delete(ctx, "a/b"))
	data := []byte("one")
	check(t, s.Put(ctx, "a/b", data))
	data[0] = 'x'
	want(t, s, "a/b", "one")
	check(t, s.Put(ctx, "a/b", []byte("two")))
	want(t, s, "a/b", "two")
	check(t, s.Put(ctx, "a/empty", nil))
	want(t, s, "a/empty", "")
	check(t, s.Delete(ctx, "a/b"))
	wantNone(t, s, "a/b")
	want(t, s, "a/empty", "")
}

func testList(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	all := []string{"log/0/10", "log/0/9", "log/1/1", "log.x/1", "other"}
	for _, name := range all {
		check(t, s.Put(ctx, name, []byte(name)))
	}
	slices.Sort(all)
	for prefix, names := range map[string][]string{
		"": all, "log/": {"log/0/10", "log/0/9", "log/1/1"}, "log/0/": {"log/0/10", "log/0/9"}, "log/2/": nil, "other/": nil,
	} {
		got, err := s.List(ctx, prefix)
		if err != nil || !slices.Equal(got, names) {
			t.Errorf("List(%q) = %q, %v; want %q", prefix, got, err, names)
		}
	}
	if got, err := s.List(ctx, "log"); err == nil {
		t.Errorf("List of a prefix without a slash: %q", got)
	}
}

func testNames(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", "..", "a/../b", ".a", "a/.b", "a b", "a\x00", "é",
		strings.Repeat("n", objectstore.MaxPartBytes+1), strings.Repeat("n/", objectstore.MaxNameBytes/2) + "n",
	} {
		if err := s.Put(ctx, name, nil); err == nil {
			t.Errorf("Put(%q) succeeded", name)
		}
		if _, err := s.Get(ctx, name); err == nil || errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("Get(%q): %v", name, err)
		}
		if err := s.Delete(ctx, name); err == nil {
			t.Errorf("Delete(%q) succeeded", name)
		}
	}
	for _, name := range []string{"a", "a/b", "a.b-c_D/0.1", strings.Repeat("n", objectstore.MaxPartBytes), strings.Repeat("n/", 100) + "n"} {
		check(t, s.Put(ctx, name, []byte(name)))
		want(t, s, name, name)
	}
}

// testPutIsWhole: whoever reads while somebody writes sees one of the objects, whole.
func testPutIsWhole(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	const size, times = 100_000, 20
	put := func(ctx context.Context, n int) error { return s.Put(ctx, "x", bytes.Repeat([]byte{byte(n)}, size)) }
	check(t, put(ctx, 0))
	var writers, readers sync.WaitGroup
	over := make(chan struct{})
	for n := range 2 {
		writers.Go(func() {
			for range times {
				if err := put(ctx, n); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	readers.Go(func() {
		for {
			b, err := s.Get(ctx, "x")
			if err != nil || len(b) != size || bytes.Count(b, b[:1]) != size {
				t.Errorf("an object of %d bytes, torn or missing: %v", len(b), err)
				return
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(over)
	readers.Wait()
	if names, err := s.List(ctx, ""); err != nil || !slices.Equal(names, []string{"x"}) {
		t.Errorf("List = %q, %v", names, err)
	}
}

func testOthers(t *testing.T, f Fixture) {
	if f.Reopen == nil {
		t.Skip("not promised by this adapter: objects end with the process")
	}
	for n := range 3 {
		check(t, f.Store.Put(t.Context(), fmt.Sprintf("p/%d", n), []byte{byte(n)}))
	}
	other := f.Reopen(t)
	want(t, other, "p/1", "\x01")
	check(t, other.Delete(t.Context(), "p/1"))
	check(t, other.Put(t.Context(), "p/2", []byte("new")))
	wantNone(t, f.Store, "p/1")
	want(t, f.Store, "p/2", "new")
}

func testLarge(t *testing.T, f Fixture) {
	data := bytes.Repeat([]byte("large"), 1<<20)
	check(t, f.Store.Put(t.Context(), "large", data))
	got, err := f.Store.Get(t.Context(), "large")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back as %d, %v", len(data), len(got), err)
	}
	if err := f.Store.Put(t.Context(), "larger", make([]byte, objectstore.MaxObjectBytes+1)); err == nil {
		t.Fatal("an object above the limit was taken")
	}
	wantNone(t, f.Store, "larger")
}
