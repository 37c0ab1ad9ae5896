package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// forgotten reports whether nothing is left of a run.
func (d *driver) forgotten(n int, blob string) bool {
	ctx := context.Background()
	row, err := d.store.RunStore().Run(ctx, 0, runID(n))
	d.must(err)
	_, newest, err := d.store.RunStore().Newest(ctx, 0, "default", start(n).WorkflowID)
	d.must(err)
	ended, err := d.store.RunStore().Ended(ctx, 0, d.now.Add(100*365*24*time.Hour), 10)
	d.must(err)
	_, _, err = d.store.Archive().History(ctx, 0, runID(n), 1, 0, 1<<20)
	_, blobErr := d.store.Blobs().Get(ctx, blob)
	return row == nil && !newest && len(ended) == 0 && errors.Is(err, archive.ErrNotFound) && errors.Is(blobErr, blobstore.ErrNotFound)
}

func endedDriver(t *testing.T) (*driver, string) {
	d := newDriver(t)
	blob, err := d.store.Blobs().Put(t.Context(), "default", runID(1).String(), []byte("a large payload"))
	d.must(err)
	d.do(start(1), requested(signal(1, "go"), "r"))
	d.do(to(1, events.TerminateWorkflow{}))
	return d, blob
}

func TestEndedRunIsForgottenAfterItsRetention(t *testing.T) {
	t.Parallel()
	d, blob := endedDriver(t)
	d.advance(DefaultRetention - time.Minute)
	d.do()
	d.do()
	equal(t, "a repeated start before", codes(d.do(start(1))), "ok+")
	d.advance(2 * time.Minute)
	records, err := d.turn()
	d.must(err)
	equal(t, "events", kinds(records...), "RunPurged")
	if !d.forgotten(1, blob) {
		t.Error("something is left of the run")
	}
	records, err = d.turn()
	d.must(err)
	equal(t, "later", len(records), 0)
	d.advance(time.Hour)
	d.do()
	d.crash(0)
	if !d.forgotten(1, blob) {
		t.Error("something of the run came back")
	}
	equal(t, "the id is free", codes(d.do(start(1))), "ok")
}

func TestPurgeIsFinishedAfterACrash(t *testing.T) {
	t.Parallel()
	d, blob := endedDriver(t)
	d.advance(time.Minute)
	d.do()
	d.do()
	d.advance(DefaultRetention)
	d.do()
	d.crash(0) // the record is durable, the deletions are not
	for range 3 {
		d.advance(2 * time.Minute)
		d.do()
	}
	if !d.forgotten(1, blob) {
		t.Error("something is left of the run")
	}
}

// failing is a blob store whose deletions fail while broken is set.
type failing struct {
	blobstore.Store
	broken *bool
}

func (f failing) DeleteRun(ctx context.Context, ns, run string) error {
	if *f.broken {
		return errors.New("the blob store is down")
	}
	return f.Store.DeleteRun(ctx, ns, run)
}

func TestPurgeWaitsForTheBlobStore(t *testing.T) {
	t.Parallel()
	d, blob := endedDriver(t)
	down := true
	d.core.deps.Blobs = failing{d.store.Blobs(), &down}
	d.advance(time.Minute)
	d.do()
	d.advance(DefaultRetention)
	for range 3 {
		d.do()
		d.advance(2 * time.Minute)
	}
	if d.forgotten(1, blob) {
		t.Error("the rows are gone before the blobs")
	}
	down = false
	records, err := d.turn()
	d.must(err)
	if len(records) != 0 || !d.forgotten(1, blob) {
		t.Errorf("something is left of the run; records %v", records)
	}
}

func TestRetentionHasAMinimum(t *testing.T) {
	t.Parallel()
	o, err := Options{Retention: time.Minute}.withDefaults()
	if err != nil || o.Retention != MinRetention {
		t.Errorf("retention %v, %v", o.Retention, err)
	}
	if _, err := (Options{Retention: -1}).withDefaults(); err == nil {
		t.Error("a negative retention is taken")
	}
}
