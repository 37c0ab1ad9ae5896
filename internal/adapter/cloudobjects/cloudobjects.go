// Package cloudobjects keeps objects and blobs in a bucket of a cloud: S3 and what speaks its protocol, Google Cloud Storage, Azure
// Blob Storage. What the objects must outlive is the bucket's to keep; all of these show a write to every later read.
package cloudobjects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"

	"github.com/continuo-dev/continuo/internal/objectstore"
)

// Bounds of one request, repetitions by the cloud's library included. A list is one request per thousand names.
const (
	requestTime = time.Minute
	listTime    = 10 * time.Minute
)

// Schemes are those of URLs of buckets.
func Schemes() []string { return []string{"s3", "gs", "azblob"} }

// Bucket is a bucket, or the part of one below a prefix.
type Bucket struct {
	bucket *blob.Bucket
	name   string // for errors
}

// Open opens a bucket by its URL, such as s3://bucket/prefix?region=eu-central-1, and looks whether it can be reached. Who this process
// is comes from where the cloud's library looks for it, such as AWS_ variables and the machine's role; parameters of the
// URL are those of gocloud.dev/blob, such as endpoint and use_path_style.
func Open(ctx context.Context, address string) (*Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || !slices.Contains(Schemes(), u.Scheme) {
		return nil, fmt.Errorf("a bucket's URL is such as s3://bucket/prefix?region=eu-central-1, gs://bucket/prefix or azblob://container/prefix, without a password")
	}
	name := u.Scheme + "://" + u.Host + u.Path
	prefix := strings.Trim(u.Path, "/")
	if err := objectstore.CheckPrefix(prefix + "/"); err != nil && prefix != "" {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	u.Path = ""
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	there, err := bucket.IsAccessible(ctx)
	if err == nil && !there {
		err = errors.New("there is no such bucket: make it, or correct the name")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bucket %s cannot be reached: %w", name, err), bucket.Close())
	}
	return of(bucket, name, prefix), nil
}

// of makes the part of a bucket below a prefix.
func of(bucket *blob.Bucket, name, prefix string) *Bucket {
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return &Bucket{bucket: bucket, name: name}
}

// Close lets go of the connections.
func (b *Bucket) Close() error { return b.bucket.Close() }

// Objects returns the objects below objects/ in the bucket. They end with it.
func (b *Bucket) Objects() *Objects { return &Objects{b, "objects/"} }

// Objects are objects in a bucket. Its methods may be called from any goroutine and process.
type Objects struct {
	*Bucket

	root string
}

var _ objectstore.Store = (*Objects)(nil)

// Put writes an object; a bucket shows it whole or not at all.
func (o *Objects) Put(ctx context.Context, name string, data []byte) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	if len(data) > objectstore.MaxObjectBytes {
		return fmt.Errorf("object %s has %d bytes, and the limit is %d", name, len(data), objectstore.MaxObjectBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if err := o.bucket.WriteAll(ctx, o.root+name, data, &blob.WriterOptions{ContentType: "application/octet-stream"}); err != nil {
		return fmt.Errorf("putting object %s into %s: %w", name, o.name, err)
	}
	return nil
}

// Get reads an object.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	if err := objectstore.CheckName(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	data, err := o.bucket.ReadAll(ctx, o.root+name)
	switch {
	case gcerrors.Code(err) == gcerrors.NotFound:
		return nil, fmt.Errorf("object %s in %s: %w", name, o.name, objectstore.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("reading object %s from %s: %w", name, o.name, err)
	}
	return data, nil
}

// List lists the names below a prefix.
func (o *Objects) List(ctx context.Context, prefix string) ([]string, error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var names []string
	for all := o.bucket.List(&blob.ListOptions{Prefix: o.root + prefix}); ; {
		found, err := all.Next(ctx)
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing objects %s in %s: %w", prefix, o.name, err)
		}
		names = append(names, strings.TrimPrefix(found.Key, o.root))
	}
}

// Delete deletes an object.
func (o *Objects) Delete(ctx context.Context, name string) error {
	if err := objectstore.CheckName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if err := o.bucket.Delete(ctx, o.root+name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("deleting object %s from %s: %w", name, o.name, err)
	}
	return nil
}
