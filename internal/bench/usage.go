package bench

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
)

// usage is what had been used at one moment.
type usage struct {
	at                     time.Time
	server, worker, client time.Duration // of processor
	rss                    int64
	heap                   float64 // of the server, in use
	syncs, records, bytes  float64
	disk                   int64
	busy, all              float64                  // clock ticks of the machine's processors
	parts                  map[string]time.Duration // of processor, by process of a suite
	topics                 map[brokerlog.Topic]appended
	deliveries             float64 // of a suite's scheduler
}

// usage reads what has been used until now. What is not known is 0.
func (l *lab) usage(ctx context.Context) (usage, error) {
	u := usage{at: now()}
	u.busy, u.all = ticks()
	var rusage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &rusage); err != nil {
		return u, fmt.Errorf("processor time of the client: %w", err)
	}
	u.client = time.Duration(rusage.Utime.Nano() + rusage.Stime.Nano())
	for _, w := range l.workers {
		used, err := w.CPU()
		if err != nil {
			return u, err
		}
		u.worker += used
	}
	if l.server != nil {
		var err error
		if u.server, err = l.server.CPU(); err != nil {
			return u, err
		}
		if u.rss, err = l.server.RSS(); err != nil {
			return u, err
		}
		u.disk = size(filepath.Join(l.dir, "data"))
	}
	if l.usageOfStore != nil {
		return l.inside(u), nil
	}
	if l.suite != nil {
		metrics, err := l.metrics(ctx)
		if err != nil {
			return u, err
		}
		u.deliveries = metrics["continuo_scheduler_deliveries_total"]
		return l.suite.usage(ctx, u)
	}
	metrics, err := l.metrics(ctx)
	if err != nil {
		return u, err
	}
	u.heap = metrics["go_memstats_heap_alloc_bytes"]
	u.syncs, u.records, u.bytes = metrics["continuo_store_syncs_total"], metrics["continuo_store_records_total"], metrics["continuo_store_bytes_total"]
	if l.server == nil {
		u.server = time.Duration(metrics["process_cpu_seconds_total"] * float64(time.Second))
		u.rss = int64(metrics["process_resident_memory_bytes"])
	}
	return u, nil
}

// inside completes what was used where the engine is in this process: all of it counts as the server's.
func (l *lab) inside(u usage) usage {
	stats := l.usageOfStore()
	u.server, u.client = u.client, 0
	u.syncs, u.records, u.bytes = float64(stats.Syncs), float64(stats.Records), float64(stats.Bytes)
	u.disk = size(filepath.Join(l.dir, "data"))
	return u
}

// metrics reads those metrics of the server that have no labels; of a suite the sums over its processes.
func (l *lab) metrics(ctx context.Context) (map[string]float64, error) {
	addr := l.options.HTTPAddr
	switch {
	case l.suite != nil:
		sums := map[string]float64{}
		for _, m := range l.suite.members {
			found, err := metricsOf(ctx, m.HTTPAddr)
			if err != nil {
				return nil, err
			}
			for name, value := range found {
				sums[name] += value
			}
		}
		return sums, nil
	case l.server != nil:
		addr = l.server.HTTPAddr
	case addr == "":
		return nil, nil
	}
	return metricsOf(ctx, addr)
}

func metricsOf(ctx context.Context, addr string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("metrics of the server: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("metrics of the server: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	found := map[string]float64{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil {
			found[name] = value
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("metrics of the server: %w", err)
	}
	return found, nil
}

// clockTicks is how many a second has, on every Linux that Go supports.
const clockTicks = 100

// ticks returns how long the machine's processors have been busy and how long there were any, in clock ticks; zeros if that
// is not known.
func ticks() (busy, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 8 { // the name of the line; time of guests is in that of users
			continue
		}
		all += n
		if i != 4 && i != 5 { // idle, and waiting for a disk
			busy += n
		}
	}
	return busy, all
}

// size is how much the files of a directory take on the disk, in bytes. Files that go away meanwhile do not count.
func size(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				total += stat.Blocks * 512
			}
		}
		return nil
	})
	return total
}

// account writes what was used between two moments into the result, and how many units were done.
func (r *Result) account(before, after usage, units int) {
	seconds := after.at.Sub(before.at).Seconds()
	n := float64(max(units, 1))
	r.Seconds, r.Units, r.PerSecond = seconds, float64(units), float64(units)/seconds
	per1000 := func(d time.Duration) float64 { return d.Seconds() * 1000 / n }
	r.ServerCPU, r.WorkerCPU, r.ClientCPU = per1000(after.server-before.server), per1000(after.worker-before.worker), per1000(after.client-before.client)
	r.RSS = float64(after.rss)
	r.accountParts(before, after, n)
	if all := after.all - before.all; all > 0 {
		ours := (after.ours() - before.ours()).Seconds() * clockTicks
		r.OthersCPU = max(0, 100*(after.busy-before.busy-ours)/all)
	}
	syncs := after.syncs - before.syncs
	r.SyncsPerSecond = syncs / seconds
	if syncs > 0 {
		r.RecordsPerSync = (after.records - before.records) / syncs
	}
	r.LogBytes, r.DiskBytes = (after.bytes-before.bytes)/n, float64(after.disk-before.disk)/n
}

// ours is the processor time of everything that is measured, the broker and the read store included.
func (u *usage) ours() time.Duration {
	sum := u.server + u.worker + u.client
	for _, s := range []string{"broker", "clickhouse"} {
		sum += u.parts[s]
	}
	return sum
}
