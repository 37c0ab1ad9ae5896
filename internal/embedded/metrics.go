package embedded

import (
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/compose"
)

// watchStore adds the metrics of the embedded store.
func watchStore(m *compose.Metrics, store *pebble.Store) {
	m.Counter("continuo_store_syncs_total", "Batches written and synced.", func() float64 { return float64(store.Stats().Syncs) })
	m.Counter("continuo_store_commits_total", "Steps made durable; divided by syncs it is the size of a group.",
		func() float64 { return float64(store.Stats().Commits) })
	m.Counter("continuo_store_records_total", "Records of the event log written.", func() float64 { return float64(store.Stats().Records) })
	m.Counter("continuo_store_bytes_total", "Bytes of synced batches.", func() float64 { return float64(store.Stats().Bytes) })
	m.Counter("continuo_store_sync_seconds_total", "Time spent writing and syncing batches.", func() float64 { return store.Stats().SyncSeconds })
	m.Gauge("continuo_store_disk_free_bytes", "Free space where the data directory is.", func() float64 { return float64(store.DiskState().FreeBytes) })
	m.Gauge("continuo_store_disk_full", "1 while client commands are refused because the disk is near full.", func() float64 {
		if store.DiskState().Full {
			return 1
		}
		return 0
	})
}
