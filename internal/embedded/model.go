package embedded

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/adapter/sqlite"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/services/projector"
)

// AuditModel compares the read model in the data directory of a stopped suite with its log and histories; see
// [projector.Audit]. It opens the store as a start does, and writes nothing of its own.
func AuditModel(ctx context.Context, dir string, report func(projector.Difference)) (done projector.Audited, err error) {
	err = stopped(ctx, dir, func(store *pebble.Store, model *sqlite.Model) error {
		log := store.Journal()
		done, err = projector.Audit(ctx, projector.AuditDeps{
			Log: log, Archive: store.Archive(), Model: model, Partitions: compose.Partitions(log.Partitions()),
		}, report)
		return err
	})
	return done, err
}

// DropModel empties the read model in the data directory of a stopped suite. The next start builds it anew.
func DropModel(ctx context.Context, dir string) error {
	return stopped(ctx, dir, func(_ *pebble.Store, model *sqlite.Model) error { return model.Reset(ctx) })
}

// stopped opens the store of a stopped suite. It fails as [Check] does.
func stopped(ctx context.Context, dir string, do func(*pebble.Store, *sqlite.Model) error) (err error) {
	if err := pebble.Exists(dir); err != nil {
		return err
	}
	store, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	model, err := sqlite.Open(ctx, filepath.Join(dir, fileModel))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	return do(store, model)
}
