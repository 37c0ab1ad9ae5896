package embedded

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/adapter/sqlite"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
)

// Names in a data directory, beside those of package pebble.
const (
	dirBlobs  = "blobs"
	fileModel = "readmodel.db"
)

// Check reads everything in the data directory of a stopped suite and says what is wrong with it: the store (see
// [pebble.Check]), the blobs that its histories name, and the pages of the read model. Nothing is written. It fails as
// pebble.Check does.
func Check(dir string) (pebble.Report, error) {
	wanted := map[string]string{}
	purged := map[events.RunID]bool{}
	keys := map[events.RunID][]string{}
	report, err := pebble.Check(dir, pebble.Judge{Row: engine.CheckRow, Record: func(r *events.Record, kept bool) {
		for _, e := range r.Events {
			if _, ends := e.(events.RunPurged); ends {
				purged[r.RunID] = true
			}
			if key := events.PayloadOf(e).Blob; kept && key != "" {
				wanted[key] = fmt.Sprintf("record %d of partition %d, run %s", r.Seq, r.Partition, r.RunID)
				keys[r.RunID] = append(keys[r.RunID], key)
			}
		}
	}})
	if err != nil {
		return report, err
	}
	for run := range purged { // its blobs are deleted before its history
		for _, key := range keys[run] {
			delete(wanted, key)
		}
	}
	if err := files.Check(filepath.Join(dir, dirBlobs), wanted, report.Add); err != nil {
		report.Add(filepath.Join(dir, dirBlobs), err.Error())
	}
	model := filepath.Join(dir, fileModel)
	switch err := sqlite.Check(model); {
	case errors.Is(err, readmodel.ErrDamaged):
		report.Add(model, err.Error()+"; the next start builds it anew")
	case err != nil:
		report.Add(model, err.Error())
	}
	return report, nil
}
