package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	_ "github.com/ClickHouse/clickhouse-go/v2" // the driver
)

// readmodel runs a verb of the program on the read model and returns what it printed.
func (s *suite) readmodel(ctx context.Context, verb string) (string, error) {
	out, err := exec.CommandContext(ctx, s.binary, append([]string{"readmodel", verb, "--log-level", "error"}, s.shared...)...).CombinedOutput() //nolint:gosec // our own program
	return string(out), err
}

// audit compares the read model with the log, damages it by hand, lets that be found, and has it built anew, while everything
// serves.
func (s *suite) audit(ctx context.Context, t *testing.T, runs int64) {
	t.Helper()
	whole := fmt.Sprintf("%d runs compared, 0 differences", runs)
	out, err := s.readmodel(ctx, "audit")
	if err != nil || !strings.Contains(out, whole) {
		t.Fatalf("audit: %v, want %q:\n%s", err, whole, out)
	}
	fmt.Printf("cluster: audit: %s", out)

	db, err := sql.Open("clickhouse", s.store.URL(s.database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{
		"ALTER TABLE workflows UPDATE result = '\"damaged\"' WHERE workflow_id = 'order-1' SETTINGS mutations_sync = 2",
		"ALTER TABLE workflows DELETE WHERE workflow_id = 'order-2' SETTINGS mutations_sync = 2",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	out, err = s.readmodel(ctx, "audit")
	for _, want := range []string{`(?m)^order-1 \S+ Result: has .*, should have `, `(?m)^order-2 \S+ row: has none, should have version`, `, 2 differences`} {
		if err == nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("audit of a damaged model: %v, want %q:\n%s", err, want, out)
		}
	}
	fmt.Printf("cluster: audit of a damaged model:\n%s", out)

	out, err = s.readmodel(ctx, "rebuild")
	if err != nil || !strings.Contains(out, "The new read model is in place") {
		t.Fatalf("rebuild: %v:\n%s", err, out)
	}
	fmt.Printf("cluster: rebuild: %s", out)
	if out, err = s.readmodel(ctx, "audit"); err != nil || !strings.Contains(out, whole) {
		t.Errorf("audit of the new model: %v, want %q:\n%s", err, whole, out)
	}
}
