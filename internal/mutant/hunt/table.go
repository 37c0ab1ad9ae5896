package hunt

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// The lines between which a document has the table.
const (
	beginMark = "<!-- mutants:begin -->"
	endMark   = "<!-- mutants:end -->"
)

// Table writes what was found as the lines of a Markdown table, with a summary before it.
func Table(all []Found) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, by `continuo-sim mutants`:\n\n", Summary(all))
	b.WriteString("| mutant | what is broken | in | what does not hold then | found by | after |\n|---|---|---|---|---|--:|\n")
	for _, f := range all {
		by := "**nothing**"
		if f.By != "" {
			by = f.By
		}
		if f.Seed > 0 {
			by += fmt.Sprintf(" (seed %d)", f.Seed)
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s | %.1f s |\n",
			f.Mutant.Name, f.Mutant.Broken, f.Mutant.File, f.Mutant.Invariant, strings.ReplaceAll(by, "|", "/"), f.Took.Seconds())
	}
	return b.String()
}

// Summary says in one line how many were found, and by what.
func Summary(all []Found) string {
	found, simulated := 0, 0
	var longest time.Duration
	for _, f := range all {
		if f.By == "" {
			continue
		}
		found++
		longest = max(longest, f.Took)
		if f.Seed > 0 {
			simulated++
		}
	}
	return fmt.Sprintf("%d of %d mutants found, %d by simulation and %d by tests, the slowest after %.1f s",
		found, len(all), simulated, found-simulated, longest.Seconds())
}

// WriteTable puts the table into a document, between its marks.
func WriteTable(path string, all []Found) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %s and %s to put the table between", path, beginMark, endMark)
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n\n"+Table(all)+"\n"+endMark+after), 0o600)
}

// CheckTable says how the table of a document differs from the catalogue: it must name exactly the mutants there are, with
// what they break, and all of them as found but for one in 25.
func CheckTable(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), beginMark)
	table, _, _ := strings.Cut(rest, endMark)
	rows := map[string]string{}
	for line := range strings.Lines(table) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, row, _ := strings.Cut(name, "`")
			rows[name] = row
		}
	}
	const again = "run `continuo-sim mutants -write` for it"
	all, missed := mutant.Catalogue(), 0
	for _, m := range all {
		row, ok := rows[m.Name]
		switch {
		case !ok:
			return fmt.Errorf("%s does not have the mutant %s: %s", path, m.Name, again)
		case !strings.HasPrefix(row, fmt.Sprintf(" | %s | `%s` | %s |", m.Broken, m.File, m.Invariant)):
			return fmt.Errorf("%s describes the mutant %s differently: %s", path, m.Name, again)
		case strings.Contains(row, "**nothing**"):
			missed++
		}
		delete(rows, m.Name)
	}
	for name := range rows {
		return fmt.Errorf("%s has a mutant %s, which does not exist: %s", path, name, again)
	}
	if missed*25 > len(all) {
		return fmt.Errorf("%s has %d of %d mutants as not found; one in 25 may be", path, missed, len(all))
	}
	return nil
}
