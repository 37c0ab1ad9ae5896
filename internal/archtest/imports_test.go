package archtest

import (
	"strings"
	"testing"
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func report(t *testing.T, findings []finding) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

// wantFindings fails unless there is one finding per wanted text, in order.
func wantFindings(t *testing.T, findings []finding, want ...string) {
	t.Helper()
	for i, f := range findings {
		if i >= len(want) {
			t.Errorf("unexpected finding: %s", f)
		} else if !strings.Contains(f.String(), want[i]) {
			t.Errorf("finding %d is %q, want %q in it", i, f, want[i])
		}
	}
	for _, missing := range want[min(len(findings), len(want)):] {
		t.Errorf("not found: %s", missing)
	}
}

func TestImportTable(t *testing.T) {
	t.Parallel()
	packages, err := listPackages(t.Context(), root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages only", len(packages))
	}
	report(t, checkImports(importTable, packages))
}

func TestImportTableFires(t *testing.T) {
	t.Parallel()
	module := func(p string) string { return modulePath + "/" + p }
	std := func(p string) listed { return listed{ImportPath: p, Standard: true} }
	ours := func(p string, imports []string, indirect ...string) listed {
		return listed{ImportPath: module(p), Imports: imports, Deps: append(indirect, imports...)}
	}
	const sqlite, protowire = "modernc.org/sqlite", "google.golang.org/protobuf/encoding/protowire"
	for _, test := range []struct {
		name     string
		packages []listed
		want     []string
	}{
		{"allowed", []listed{ours("pkg/events", []string{"fmt", protowire}), std("fmt")}, nil},
		{"events with context", []listed{ours("pkg/events", []string{"context"}), std("context")}, []string{"pkg/events: must not import context"}},
		{"machine with a clock", []listed{ours("services/engine/machine", []string{module("internal/clock")})}, []string{"must not import " + module("internal/clock")}},
		{"machine with sync", []listed{ours("services/engine/machine", []string{"sync"}), std("sync")}, []string{"must not import sync"}},
		{"machine reaches the network", []listed{ours("services/engine/machine", []string{"fmt"}, "net"), std("fmt")}, []string{"must not depend on net"}},
		{"port with a port", []listed{ours("internal/journal", []string{module("internal/archive")})}, []string{"internal/journal: must not import"}},
		{"port with a maker", []listed{ours("internal/journal", []string{module("internal/adapter/memory")})}, []string{"internal/journal: must not import"}},
		{"suite with its port", []listed{ours("internal/journal/journaltest", []string{module("internal/journal"), "pgregory.net/rapid"})}, nil},
		{"suite with another port", []listed{ours("internal/journal/journaltest", []string{module("internal/inbox")})}, []string{"journaltest: must not import"}},
		{"service with an adapter", []listed{ours("services/engine", []string{module("internal/adapter/pebble")})}, []string{"services/engine: must not import"}},
		{"service with a service", []listed{ours("services/scheduler", []string{module("services/engine/machine")})}, []string{"services/scheduler: must not import"}},
		{"gateway with grpc", []listed{ours("services/gateway", []string{"google.golang.org/grpc"})}, nil},
		{"engine with grpc", []listed{ours("services/engine", []string{"google.golang.org/grpc"})}, []string{"must not import google.golang.org/grpc"}},
		{"adapter with a service", []listed{ours("internal/adapter/memory", []string{module("services/engine")})}, []string{"internal/adapter/memory: must not import"}},
		{"adapter with another's technology", []listed{ours("internal/adapter/pebble", []string{sqlite})}, []string{"must not import " + sqlite}},
		{"flow with the network", []listed{ours("pkg/sdk/flow", []string{"net"}), std("net")}, []string{"must not import net"}},
		{"flow reaches testing", []listed{ours("pkg/sdk/flow", []string{"fmt"}, "testing"), std("fmt")}, []string{"must not depend on testing"}},
		{"flowtest reaches sqlite", []listed{ours("pkg/sdk/flowtest", []string{module("services/engine/machine")}, sqlite)}, []string{"must not depend on " + sqlite}},
		{"flowtest reaches grpc", []listed{ours("pkg/sdk/flowtest", nil, "google.golang.org/grpc/codes")}, []string{"must not depend on google.golang.org/grpc/codes"}},
		{"flowtest reaches pebble", []listed{ours("pkg/sdk/flowtest", nil, "github.com/cockroachdb/pebble/v2")}, []string{"must not depend on github.com/cockroachdb/pebble/v2"}},
		{"worker with a service", []listed{ours("pkg/sdk/worker", nil, module("services/engine"))}, []string{"must not depend on " + module("services/engine")}},
		{"service with configuration", []listed{ours("services/projector", []string{module("internal/config")})}, []string{"must not import"}},
		{"example with internals", []listed{ours("examples/hello", []string{module("internal/embedded")})}, []string{"examples/hello: must not import"}},
		{"root with anything", []listed{ours("cmd/continuo", []string{module("internal/adapter/pebble"), sqlite})}, nil},
		{"unknown package", []listed{ours("internal/util", nil)}, []string{"internal/util: has no row"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantFindings(t, checkImports(importTable, test.packages), test.want...)
		})
	}
}
