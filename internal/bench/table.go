package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is a heading and rows, the first column of which is a name.
type table struct {
	head []string
	rows [][]string
}

// rates has what each workload did and what that cost.
func rates(results []Result) table {
	t := table{head: []string{
		"workload", "in flight", "per second", "unit", "p50 ms", "p95 ms", "p99 ms", "server CPU s/1000", "workers", "client", "RSS MB", "syncs/s",
		"records/sync", "log B", "disk B",
	}}
	for _, r := range results {
		t.add(r.name(), number(r.Inflight, 0), number(r.PerSecond, 0), r.Unit, number(r.P50Ms, 2), number(r.P95Ms, 2), number(r.P99Ms, 2),
			number(r.ServerCPU, 3), number(r.WorkerCPU, 3), number(r.ClientCPU, 3), number(r.RSS/1e6, 0), number(r.SyncsPerSecond, 0),
			number(r.RecordsPerSync, 1), number(r.LogBytes, 0), number(r.DiskBytes, 0))
	}
	return t
}

// parts has what each process of a cluster and the servers under it have used, and what went over the broker, per unit.
func parts(results []Result) table {
	cpu := []string{"engine", "scheduler", "projector", "gateway", "all", "clickhouse", "broker"}
	topics := []string{"commands", "events", "inbox"}
	t := table{head: slices.Concat([]string{"workload"}, cpu, []string{"workers", "client"})}
	for i := range t.head[1:] {
		t.head[1+i] = "CPU s/1000: " + t.head[1+i]
	}
	for _, topic := range topics {
		t.head = append(t.head, topic+" messages", topic+" appends", topic+" bytes")
	}
	for _, r := range results {
		if r.Parts == nil {
			continue
		}
		row := []string{r.name()}
		for _, name := range cpu {
			row = append(row, number(r.Parts["cpu_seconds_per_1000_"+name], 3))
		}
		row = append(row, number(r.WorkerCPU, 3), number(r.ClientCPU, 3))
		for _, topic := range topics {
			row = append(row, number(r.Parts["messages_"+topic], 2), number(r.Parts["appends_"+topic], 2), number(r.Parts["bytes_"+topic], 0))
		}
		t.add(row...)
	}
	return t
}

// machine has the machine's own rates in the same runs.
func machine(results []Result) table {
	t := table{head: []string{"the machine during", "raw appends/s", "units ÷ appends", "sync p50 ms", "stream messages/s", "CPU of others %"}}
	for _, r := range results {
		t.add(r.name(), number(r.RawAppends, 0), number(r.OfAppends, 3), number(r.SyncP50Ms, 3), number(r.RawMessages, 0), number(r.OthersCPU, 0))
	}
	return t
}

// figures has what only some workloads have.
func figures(results []Result) table {
	t := table{head: []string{"workload", "figure", "value"}}
	for _, r := range results {
		for _, name := range slices.Sorted(maps.Keys(r.More)) {
			digits := 0
			if v := r.More[name]; v < 100 && v != float64(int64(v)) {
				digits = 3
			}
			t.add(r.name(), name, number(r.More[name], digits))
		}
	}
	return t
}

// verdicts has the floors and goals.
func verdicts(results []Result) table {
	t := table{head: []string{"workload", "figure", "measured", "floor", "met", "goal", "met"}}
	for _, v := range Judge(results) {
		t.add(v.Name, v.What, v.Measured, v.Floor, v.AtFloor, v.Goal, v.AtGoal)
	}
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// number writes a number for people; 0 means that there is none.
func number(v float64, digits int) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// text writes the table in aligned columns.
func (t table) text(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	columns := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(columns, strings.ToUpper(strings.Join(t.head, "\t")))
	for _, row := range t.rows {
		_, _ = fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush()
	_, _ = fmt.Fprintln(w)
}

// markdown writes the table for a document.
func (t table) markdown(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, row := range t.rows {
		_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	_, _ = fmt.Fprintln(w)
}

// WriteTable writes the results for people.
func WriteTable(w io.Writer, results []Result) {
	for _, t := range []table{rates(results), parts(results), machine(results), figures(results), verdicts(results)} {
		t.text(w)
	}
	_, _ = fmt.Fprintln(w, Summary(results))
}

// Summary says in one line how the results stand to the floors and goals.
func Summary(results []Result) string {
	var all, floors, goals, unknown, without int
	for _, v := range Judge(results) {
		all++
		switch {
		case v.AtFloor == "yes":
			floors++
		case v.AtFloor != "no":
			unknown++
		}
		switch v.AtGoal {
		case "yes":
			goals++
		case "-":
			without++
		}
	}
	line := fmt.Sprintf("bench: %d workloads, %d of %d figures at their floor", len(results), floors, all)
	if all > without || all == 0 {
		line += fmt.Sprintf(", %d at their goal", goals)
	}
	if unknown > 0 {
		line += fmt.Sprintf("; %d not measured as asked for", unknown)
	}
	return line
}
