package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the results for people: one row each, and below what only some workloads have.
func WriteTable(w io.Writer, results []Result) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "WORKLOAD\tIN FLIGHT\tPER SECOND\tUNIT\tP50 MS\tP95 MS\tP99 MS\tSERVER CPU S/1000\tWORKERS\tCLIENT\tRSS MB\tSYNCS/S\tRECORDS/SYNC\tLOG B\tDISK B\t")
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%s\t%.2f\t%.2f\t%.2f\t%.4f\t%.4f\t%.4f\t%.0f\t%.0f\t%.1f\t%.0f\t%.0f\t\n", r.Workload, r.Inflight, r.PerSecond, r.Unit,
			r.P50Ms, r.P95Ms, r.P99Ms, r.ServerCPU, r.WorkerCPU, r.ClientCPU, r.RSS/1e6, r.SyncsPerSecond, r.RecordsPerSync, r.LogBytes, r.DiskBytes)
	}
	_ = t.Flush()
	_, _ = fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "THE MACHINE\tAPPENDS/S\tUNITS ÷ APPENDS\tSYNC P50 MS\tSTREAM MESSAGES/S\t")
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%s\t%.0f\t%.3f\t%.3f\t%.0f\t\n", r.Workload, r.RawAppends, r.OfAppends, r.SyncP50Ms, r.RawMessages)
	}
	_ = t.Flush()
	for _, r := range results {
		if len(r.More) == 0 {
			continue
		}
		var more []string
		for _, name := range slices.Sorted(maps.Keys(r.More)) {
			more = append(more, fmt.Sprintf("%s %.6g", name, r.More[name]))
		}
		_, _ = fmt.Fprintf(w, "\n%s: %s\n", r.Workload, strings.Join(more, ", "))
	}
}
