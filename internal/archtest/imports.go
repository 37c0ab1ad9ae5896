package archtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// row is one line of the import table: what the packages it matches may import.
//
// Packages of this module are written relative to its root ("pkg/events"), others by their path; a trailing "/..." means
// the package and all below it. "std" means the whole standard library, "std:fmt" one package of it.
type row struct {
	packages []string
	may      []string
	never    []string // not even through others; the standard library included
	why      string
}

// The standard library as far as a pure package may see it: values in, values out.
var pureStd = []string{
	"std:bytes", "std:cmp", "std:container/heap", "std:container/list", "std:crypto/sha256", "std:encoding/base64", "std:encoding/binary", "std:encoding/hex",
	"std:encoding/json", "std:errors", "std:fmt", "std:hash/crc32", "std:hash/fnv", "std:iter", "std:maps", "std:math", "std:math/bits", "std:slices",
	"std:sort", "std:strconv", "std:strings", "std:time", "std:unicode", "std:unicode/utf8", "internal/mutant",
}

// What must not be reachable from a pure package, however far away.
var impure = []string{"net", "net/http", "os/exec", "database/sql", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "testing"}

// The ports.
var ports = []string{
	"internal/journal", "internal/inbox", "internal/runstore", "internal/dueindex", "internal/archive", "internal/readmodel", "internal/blobstore",
	"internal/objectstore",
}

// Everything a service may use beside its own pure packages.
var shell = slices.Concat([]string{"std", "pkg/events", "internal/readmodel/row", "internal/clock", "internal/door", "internal/lifecycle", "internal/telemetry", "internal/mutant"}, ports)

// Stores and brokers: only their adapters and the composition roots link them.
var stores = []string{
	"github.com/cockroachdb/pebble/...", "modernc.org/sqlite/...", "github.com/apache/pulsar-client-go/...", "github.com/twmb/franz-go/...",
	"github.com/ClickHouse/...", "gocloud.dev/...",
}

var grpcStack = []string{
	"std", "gen/...", "google.golang.org/grpc/...", "google.golang.org/protobuf/...", "google.golang.org/genproto/...",
	"github.com/grpc-ecosystem/grpc-gateway/v2/...",
}

var grpc = []string{"google.golang.org/grpc/...", "github.com/grpc-ecosystem/..."}

// importTable says who may import whom. The first row that matches a package holds for it, and every package must have a
// row: a new kind of package is a decision. Test files are free; they are not shipped.
var importTable = []row{
	{
		packages: []string{"pkg/events"},
		may:      slices.Concat(pureStd, []string{"google.golang.org/protobuf/encoding/protowire"}),
		never:    impure,
		why:      "the language is spoken by everybody, so it drags nothing in",
	},
	{packages: []string{"pkg/events/internal/..."}, may: []string{"std", "pkg/events", "pkg/events/internal/...", "gen/continuo/events/...", "google.golang.org/protobuf/...", "golang.org/x/tools/...", "pgregory.net/rapid"}, why: "generators and test helpers of the language; shipped code does not import them"},
	{
		packages: []string{"services/projector/projection"},
		may:      slices.Concat(pureStd, []string{"pkg/events", "internal/readmodel/row"}),
		never:    impure,
		why:      "a pure package: rows and events in, rows out",
	},
	{
		packages: []string{"internal/replay"},
		may:      slices.Concat(pureStd, []string{"std:reflect", "std:runtime", "std:runtime/debug", "pkg/events"}),
		never:    impure,
		why:      "a pure package whose fibers are goroutines with hand-off; runtime.Goexit evicts them",
	},
	{
		packages: []string{
			"services/engine/machine", "services/scheduler/matcher", "services/scheduler/wheel", "services/gateway/sessions", "internal/brokerlog/fold", "internal/brokerlog/presence",
		},
		may:   slices.Concat(pureStd, []string{"pkg/events"}),
		never: impure,
		why:   "a pure package: no port, no clock, no I/O",
	},
	{
		packages: []string{"internal/readmodel/row"},
		may:      slices.Concat(pureStd, []string{"pkg/events"}),
		never:    impure,
		why:      "rows are values",
	},
	{
		packages: []string{"internal/readmodel"},
		may:      []string{"std", "pkg/events", "internal/readmodel/row"},
		never:    slices.Concat(stores, grpc),
		why:      "a port knows no other port and no maker",
	},
	{
		packages: []string{"internal/brokerlog"},
		may:      []string{"std", "pkg/events", "internal/brokerlog/fold"},
		never:    slices.Concat(stores, grpc),
		why:      "a port knows no other port and no maker; its positions are those that the fold keeps",
	},
	{
		packages: ports,
		may:      []string{"std", "pkg/events"},
		never:    slices.Concat(stores, grpc),
		why:      "a port knows no other port and no maker",
	},
	{
		packages: []string{"internal/journal/mailbox"},
		may:      []string{"std", "pkg/events", "internal/journal", "internal/mutant"},
		never:    slices.Concat(stores, grpc),
		why:      "what several makers of a port share knows that port only",
	},
	{
		packages: []string{"internal/inbox/book"},
		may:      slices.Concat(pureStd, []string{"pkg/events", "internal/inbox"}),
		never:    slices.Concat(stores, impure),
		why:      "pure: what several makers of a port share",
	},
	{
		packages: []string{"internal/adapter/brokerinbox/post"},
		may:      slices.Concat(pureStd, []string{"pkg/events", "internal/inbox", "internal/inbox/book"}),
		never:    slices.Concat(stores, impure),
		why:      "pure: messages, and what they say of sessions; its shell is the package above",
	},
	{
		packages: conformanceSuites(),
		may:      []string{"std", "pkg/events", "internal/readmodel/row", "PARENT", "pgregory.net/rapid", "github.com/google/go-cmp/..."},
		never:    slices.Concat(stores, grpc),
		why:      "a conformance suite knows its port only, so that every maker can run it",
	},
	{
		packages: []string{"services/gateway"},
		may:      slices.Concat(shell, grpcStack, []string{"services/gateway/...", "internal/wire/...", "github.com/prometheus/client_golang/..."}),
		never:    stores,
		why:      "a service takes ports; cmd and internal/embedded choose adapters. The gateway speaks gRPC and serves the metrics",
	},
	{packages: []string{"services/engine"}, may: slices.Concat(shell, []string{"services/engine/..."}), never: slices.Concat(stores, grpc), why: "services meet on the logs only"},
	{packages: []string{"services/scheduler"}, may: slices.Concat(shell, []string{"services/scheduler/..."}), never: slices.Concat(stores, grpc), why: "services meet on the logs only"},
	{packages: []string{"services/projector"}, may: slices.Concat(shell, []string{"services/projector/..."}), never: slices.Concat(stores, grpc), why: "services meet on the logs and read models only"},
	{
		packages: []string{"internal/brokerlog/brokerlogtest"},
		may:      []string{"std", "pkg/events", "internal/brokerlog", "internal/brokerlog/fold"},
		never:    slices.Concat(stores, grpc),
		why:      "a conformance suite knows its port only, so that every maker can run it",
	},
	adapterRow("memory", "internal/brokerlog", "internal/brokerlog/fold"),
	adapterRow("files", "golang.org/x/sys/..."),
	adapterRow("pebble", "github.com/cockroachdb/pebble/...", "github.com/cockroachdb/errors/...", "golang.org/x/sys/..."),
	adapterRow("segments", "github.com/cockroachdb/pebble/..."),
	adapterRow("sqlite", "modernc.org/sqlite/..."),
	adapterRow("clickhouse", "github.com/ClickHouse/clickhouse-go/v2/...", "github.com/google/uuid"),
	adapterRow("cloudobjects", "gocloud.dev/..."),
	adapterRow("brokerjournal", "internal/brokerlog", "internal/brokerlog/fold"),
	adapterRow("brokerinbox", "internal/brokerlog", "internal/brokerlog/fold", "internal/brokerlog/presence"),
	adapterRow("membership", "internal/brokerlog", "internal/brokerlog/presence"),
	adapterRow("pulsar", "internal/brokerlog", "internal/brokerlog/fold", "github.com/apache/pulsar-client-go/...",
		"github.com/prometheus/client_golang/prometheus", "golang.org/x/sync/..."),
	{
		packages: []string{"pkg/sdk/flow", "pkg/sdk/task", "pkg/sdk/payload"},
		may: []string{
			"std", "pkg/events", "internal/replay", "internal/mutant", "pkg/sdk/flow/...", "pkg/sdk/task/...", "pkg/sdk/payload/...", "google.golang.org/protobuf/...",
		},
		never: slices.Concat(stores, grpc, []string{"net", "net/http", "os/exec", "database/sql", "testing", "internal/wire", "services/..."}),
		why:   "workflow and task code links neither a server nor a network",
	},
	{
		packages: []string{"pkg/sdk/client", "pkg/sdk/worker"},
		may: slices.Concat(grpcStack, []string{
			"pkg/events", "pkg/sdk/flow", "pkg/sdk/task", "pkg/sdk/payload", "pkg/sdk/client", "internal/wire/...", "internal/replay", "internal/mutant",
			"go.opentelemetry.io/otel/...",
		}),
		never: slices.Concat(stores, []string{"services/...", "internal/adapter/..."}),
		why:   "a user's worker talks to a server and contains none",
	},
	{
		packages: []string{"pkg/sdk/flowtest"},
		may: []string{
			"std", "pkg/events", "pkg/sdk/flow", "pkg/sdk/task", "pkg/sdk/payload", "internal/replay", "services/engine/machine",
			"google.golang.org/protobuf/...",
		},
		never: slices.Concat(stores, grpc, []string{"net/http", "services/engine", "services/gateway", "internal/adapter/...", "internal/wire"}),
		why:   "a user's tests run the pure machine: no server, no store",
	},
	{packages: []string{"pkg/sdk/flowvet/..."}, may: []string{"std", "golang.org/x/tools/..."}, why: "a vet analyzer looks at source only"},
	{packages: []string{"internal/clock", "internal/lifecycle"}, may: []string{"std", "golang.org/x/sys/..."}, why: "tools of every shell stand on nothing"},
	{packages: []string{"internal/door"}, may: []string{"std", "pkg/events", "internal/clock"}, never: slices.Concat(stores, grpc), why: "the same door for every process, whatever is behind it"},
	{packages: []string{"internal/door/doortest"}, may: []string{"std"}, why: "certificates for tests"},
	{packages: []string{"internal/clock/clocktest"}, may: []string{"std", "internal/clock"}, why: "a clock for tests"},
	{
		packages: []string{"internal/telemetry/..."},
		may:      []string{"std", "pkg/events", "github.com/prometheus/...", "go.opentelemetry.io/..."},
		never:    slices.Concat(stores, []string{"services/..."}),
		why:      "names and instruments, no domain",
	},
	{packages: []string{"internal/config"}, may: []string{"std", "github.com/knadh/koanf/...", "github.com/go-viper/mapstructure/...", "github.com/spf13/pflag", "internal/door", "internal/mutant"}, why: "configuration becomes plain values at the root"},
	{
		packages: []string{"internal/wire/..."},
		may:      slices.Concat(grpcStack, []string{"pkg/events", "internal/wire/..."}),
		never:    slices.Concat(stores, []string{"services/..."}),
		why:      "translation between the wire and the language, for both ends",
	},
	{packages: []string{"internal/archtest"}, may: []string{"std", "golang.org/x/tools/..."}, why: "the rules depend on nothing they judge"},
	{packages: []string{"internal/testreport", "internal/fuzzall"}, may: []string{"std"}, why: "runs before anything else is known to work"},
	{packages: []string{"internal/embedded", "internal/cluster", "internal/compose", "internal/sim/...", "internal/testserver/...", "cmd/..."}, may: []string{"..."}, why: "composition roots"},
	{packages: []string{"internal/child"}, may: []string{"std"}, why: "runs programs, knows none"},
	{packages: []string{"internal/mutant"}, may: []string{"std"}, why: "pure packages ask it, so it drags nothing in"},
	{packages: []string{"internal/mutant/hunt"}, may: []string{"std", "internal/mutant"}, why: "runs programs and reads what they print"},
	{
		packages: []string{"internal/bench/...", "internal/chaos/...", "test/..."},
		may:      []string{"..."},
		never:    []string{"internal/embedded"},
		why:      "what drives the suite from outside does not contain it",
	},
	{packages: []string{"pkg/embedded"}, may: []string{"std", "pkg/...", "internal/embedded", "internal/config", "internal/telemetry", "go.opentelemetry.io/otel/trace"}, why: "the public front of internal/embedded"},
	{packages: []string{"gen/..."}, may: slices.Concat(grpcStack, []string{"std"}), never: stores, why: "generated"},
	{packages: []string{"examples/..."}, may: []string{"std", "pkg/...", "examples/...", "EXTERNAL"}, why: "an example can be copied into a user's module, which sees pkg only"},
}

func conformanceSuites() []string {
	var suites []string
	for _, port := range ports {
		suites = append(suites, port+"/"+path.Base(port)+"test")
	}
	return suites
}

func adapterRow(name string, technology ...string) row {
	base := []string{"std", "pkg/events", "internal/readmodel/row", "internal/journal/mailbox", "internal/inbox/book", "internal/clock", "internal/telemetry", "internal/mutant", "internal/adapter/" + name + "/..."}
	return row{
		packages: []string{"internal/adapter/" + name + "/..."},
		may:      slices.Concat(base, ports, technology),
		never:    []string{"services/...", "internal/wire"},
		why:      "an adapter knows ports and its one technology, not who uses them",
	}
}

// listed is one package as `go list -json` describes it.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Error      *struct{ Err string }
}

// listPackages lists the packages of the module at root and everything they depend on.
func listPackages(ctx context.Context, root string) ([]listed, error) {
	command := exec.CommandContext(ctx, "go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,Deps,Error", "./...")
	command.Dir = root
	output, err := command.Output()
	if err != nil {
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("go list: %w: %s", err, failed.Stderr)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list output: %w", err)
		}
		packages = append(packages, p)
	}
}

// checkImports holds packages against a table: every package of the module has a row, imports only what its row allows,
// and reaches nothing its row excludes.
func checkImports(table []row, packages []listed) []finding {
	standard := make(map[string]bool)
	for _, p := range packages {
		standard[p.ImportPath] = p.Standard
	}
	var findings []finding
	for _, p := range packages {
		name, ours := relativeToModule(p.ImportPath)
		if !ours || p.Standard {
			continue
		}
		r, ok := rowOf(table, name)
		if !ok {
			findings = append(findings, finding{name, "has no row in the import table (internal/archtest/imports.go): decide who may import it and whom it may import"})
			continue
		}
		for _, imported := range p.Imports {
			if !allowed(r, name, imported, standard[imported]) {
				findings = append(findings, finding{name, fmt.Sprintf("must not import %s: %s", imported, r.why)})
			}
		}
		for _, dependency := range p.Deps {
			if matchesAny(r.never, dependency) && !slices.Contains(p.Imports, dependency) {
				findings = append(findings, finding{name, fmt.Sprintf("must not depend on %s, even through others: %s", dependency, r.why)})
			}
			if matchesAny(r.never, dependency) && slices.Contains(p.Imports, dependency) && allowed(r, name, dependency, standard[dependency]) {
				findings = append(findings, finding{name, fmt.Sprintf("must not import %s: %s", dependency, r.why)})
			}
		}
	}
	return findings
}

func rowOf(table []row, name string) (row, bool) {
	for _, r := range table {
		if matchesAny(r.packages, modulePath+"/"+name) {
			return r, true
		}
	}
	return row{}, false
}

func allowed(r row, from, imported string, standard bool) bool {
	_, ours := relativeToModule(imported)
	for _, may := range r.may {
		switch {
		case may == "...":
			return true
		case may == "std":
			if standard {
				return true
			}
		case may == "std:"+imported:
			return true
		case may == "EXTERNAL":
			if !ours && !standard {
				return true
			}
		case may == "PARENT":
			if imported == modulePath+"/"+path.Dir(from) {
				return true
			}
		case matches(may, imported):
			return true
		}
	}
	return false
}

func matchesAny(patterns []string, importPath string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, importPath) })
}

// matches compares a pattern of the table with a full import path. A pattern whose first element is one of ours is
// relative to the module.
func matches(pattern, importPath string) bool {
	if relative, ours := relativeToModule(importPath); ours {
		importPath = relative
	}
	if prefix, all := strings.CutSuffix(pattern, "/..."); all {
		return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
	}
	return importPath == pattern
}

func relativeToModule(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, modulePath+"/")
}
