package main

import (
	"context"
	"path/filepath"

	"github.com/continuo-dev/continuo/internal/adapter/clickhouse"
	"github.com/continuo-dev/continuo/internal/adapter/cloudobjects"
	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/config"
)

// openObjects opens the directory or the bucket of objects and blobs. release closes it, after those who use it have ended.
func openObjects(ctx context.Context, o *cluster.Options, settings config.Server) (release func(), err error) {
	if dir, is := settings.ObjectsDirectory(); is {
		if o.Objects, err = files.OpenObjects(filepath.Join(dir, "objects")); err != nil {
			return nil, err
		}
		if o.Blobs, err = files.Open(filepath.Join(dir, "blobs")); err != nil {
			return nil, err
		}
		return func() {}, nil
	}
	bucket, err := cloudobjects.Open(ctx, settings.Objects)
	if err != nil {
		return nil, err
	}
	o.Objects, o.Blobs = bucket.Objects(), bucket.Blobs()
	return func() { _ = bucket.Close() }, nil // nothing is on its way any more
}

// openModel opens the read store, if there is one. release closes it, after those who use it have ended.
func openModel(o *cluster.Options, settings config.Server) (release func(), err error) {
	if settings.ClickHouse == "" {
		return func() {}, nil
	}
	password, err := settings.ClickHousePassword()
	if err != nil {
		return nil, err
	}
	model, err := clickhouse.Open(clickhouse.Options{URL: settings.ClickHouse, Password: password})
	if err != nil {
		return nil, err
	}
	o.Model = model
	return func() { _ = model.Close() }, nil // nothing is on its way any more
}
