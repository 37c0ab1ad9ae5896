package cloudobjects

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob/memblob"

	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/internal/blobstore/blobstoretest"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/internal/objectstore/objectstoretest"
)

// opener opens the same bucket as often as it is called.
type opener func(t *testing.T) *Bucket

func inMemory(*testing.T) opener {
	bucket := memblob.OpenBucket(nil)
	return func(*testing.T) *Bucket { return of(bucket, "mem", "a/prefix") }
}

// onS3 is a server that speaks the protocol of S3, over HTTP.
func onS3(t *testing.T) opener {
	address := s3(t)
	return func(t *testing.T) *Bucket {
		t.Helper()
		b, err := Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
}

func s3(t *testing.T) (address string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("continuo"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return fmt.Sprintf("s3://continuo/some/prefix?region=nowhere-1&use_path_style=true&endpoint=%s", server.URL)
}

func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

var buckets = map[string]func(*testing.T) opener{"memory": inMemory, "s3": onS3}

func TestObjects(t *testing.T) {
	t.Parallel()
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objectstoretest.Test(t, func(t *testing.T) objectstoretest.Fixture {
				open := bucket(t)
				return objectstoretest.Fixture{
					Store: open(t).Objects(), Reopen: func(t *testing.T) objectstore.Store { return open(t).Objects() },
				}
			})
		})
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobstoretest.Test(t, func(t *testing.T) blobstoretest.Fixture {
				open := bucket(t)
				return blobstoretest.Fixture{
					Store: open(t).Blobs(), Crash: func(t *testing.T) blobstore.Store { return open(t).Blobs() },
					Damage: func(t *testing.T, key string) {
						object, _ := nameOf(key)
						if err := open(t).Blobs().objects.Put(t.Context(), object, []byte("damaged")); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

// Objects and blobs share a bucket and do not see each other; nor do two prefixes.
func TestPartsOfABucketAreApart(t *testing.T) {
	t.Parallel()
	bucket := memblob.OpenBucket(nil)
	one, two := of(bucket, "one", "one"), of(bucket, "two", "two")
	if err := one.Objects().Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Blobs().Put(t.Context(), "default", "run", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := one.Objects().List(t.Context(), ""); err != nil || fmt.Sprint(names) != "[a]" {
		t.Errorf("listed %v, %v", names, err)
	}
	if names, err := two.Objects().List(t.Context(), ""); err != nil || len(names) != 0 {
		t.Errorf("the other prefix has %v, %v", names, err)
	}
	keys := 0
	for all := of(bucket, "all", "one").bucket.List(nil); ; keys++ {
		if _, err := all.Next(t.Context()); err != nil {
			break
		}
	}
	if keys != 2 {
		t.Errorf("%d keys in the bucket", keys)
	}
}

func TestWrongBucketsAreNamed(t *testing.T) {
	t.Parallel()
	there := s3(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx           context.Context
		address, want string
	}{
		{t.Context(), "s3:///prefix", "a bucket's URL is such as"},
		{t.Context(), "ftp://bucket", "a bucket's URL is such as"},
		{t.Context(), "s3://me:secret@bucket", "a bucket's URL is such as"},
		{t.Context(), filepath.Join(t.TempDir(), "dir"), "a bucket's URL is such as"},
		{t.Context(), "s3://continuo/pre%20fix", "bucket s3://continuo/pre fix"},
		{t.Context(), "s3://continuo?region=x&bogus=1", "bogus"},
		{t.Context(), strings.Replace(there, "s3://continuo", "s3://elsewhere", 1), "s3://elsewhere/some/prefix cannot be reached: there is no such bucket"},
		{cancelled, there, "s3://continuo/some/prefix cannot be reached"},
	} {
		b, err := Open(c.ctx, c.address)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", c.address, err, c.want)
		}
		if b != nil {
			_ = b.Close()
		}
	}
}
