package cluster

import (
	"context"
	"errors"
	"log/slog"

	"github.com/continuo-dev/continuo/internal/adapter/brokerjournal"
	"github.com/continuo-dev/continuo/internal/adapter/segments"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/services/projector"
)

// AuditModel compares the read model of a cluster with its log and histories, beside the processes that serve; see
// [projector.Audit]. Of the options it uses Log, Objects, Model, Cluster, CacheDir and Logger. It writes nothing.
func AuditModel(ctx context.Context, o Options, report func(projector.Difference)) (done projector.Audited, err error) {
	if o.Log == nil || o.Objects == nil || o.Model == nil {
		return done, errors.New("cluster: Log, Objects and Model are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	log, err := brokerjournal.Open(ctx, brokerjournal.Options{Log: o.Log, Objects: o.Objects, Clock: clock.Real(), Logger: o.Logger, Cluster: o.Cluster})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	store, err := segments.Open(segments.Options{
		Objects: o.Objects, Clock: clock.Real(), Logger: o.Logger, Log: log, Partitions: log.Partitions(), Directory: o.CacheDir,
	})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return projector.Audit(ctx, projector.AuditDeps{
		Log: log, Archive: store.Archive(), Model: o.Model, Partitions: compose.Partitions(log.Partitions()),
	}, report)
}
