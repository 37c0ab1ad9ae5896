package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/continuo-dev/continuo/internal/door/doortest"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"continuo":   main,
		"testworker": workerMain,
		"rest":       restMain,
	})
}

// TestScripts runs the program as its users do: as processes, on a server of their own where they need one.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Values[serverKey{}] = &server{vars: env.Vars}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":   serverCommand,
			"shutdown": shutdownCommand,
			"replay":   replayCommand,

			"eventually":  eventuallyCommand,
			"certificate": certificateCommand,
		},
	})
}

// eventuallyCommand runs a command until its standard output matches a pattern, for what a read model shows a moment later:
// eventually PATTERN PROGRAM ARG...
func eventuallyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN PROGRAM ARG...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	again, late := time.NewTicker(50*time.Millisecond), time.NewTimer(20*time.Second)
	defer again.Stop()
	defer late.Stop()
	for {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-again.C:
		case <-late.C:
			ts.Fatalf("%q does not come:\n%s", args[0], ts.ReadFile("stdout"))
		}
	}
}

// replayCommand replays a history that the program printed: replay FILE.
func replayCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: replay FILE")
	}
	flowtest.Replay(scriptTB{ts: ts}, []byte(ts.ReadFile(args[0])), bindings()...)
}

// certificateCommand makes a certificate and its key for loopback: certificate [-expired] CERT KEY.
func certificateCommand(ts *testscript.TestScript, neg bool, args []string) {
	end := time.Now().Add(time.Hour)
	if len(args) == 3 && args[0] == "-expired" {
		args, end = args[1:], time.Now().Add(-time.Hour)
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate [-expired] CERT KEY")
	}
	doortest.NewPairUntil(scriptTB{ts: ts}, end).Write(scriptTB{ts: ts}, ts.MkAbs(args[0]), ts.MkAbs(args[1]))
}

// scriptTB makes the failures of a check those of the script.
type scriptTB struct {
	testing.TB

	ts *testscript.TestScript
}

func (scriptTB) Helper()                             {}
func (t scriptTB) Errorf(format string, args ...any) { t.ts.Fatalf(format, args...) }
func (t scriptTB) Fatalf(format string, args ...any) { t.ts.Fatalf(format, args...) }
func (t scriptTB) Fatal(args ...any)                 { t.ts.Fatalf("%v", args) }

// TestExitCodes pins what scripts of users rely on.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	if got := run(t.Context(), []string{"version"}, nil, discard{}, discard{}); got != 0 {
		t.Errorf("version exits with %d", got)
	}
	if got := run(t.Context(), []string{"workflow", "list", "--addr", "127.0.0.1:1"}, nil, discard{}, discard{}); got != 1 {
		t.Errorf("a request without a server exits with %d, want 1", got)
	}
	if got := run(t.Context(), []string{"version", "--bogus"}, nil, discard{}, discard{}); got != 2 {
		t.Errorf("a wrong flag exits with %d, want 2", got)
	}
	if got := run(t.Context(), []string{"serve", "--data", os.DevNull, "--log-level", "loud"}, nil, discard{}, discard{}); got != 2 {
		t.Errorf("a wrong setting exits with %d, want 2", got)
	}
	if got := run(t.Context(), []string{"config", "check", "--log-level", "loud"}, nil, discard{}, discard{}); got != 1 {
		t.Errorf("a check that finds something exits with %d, want 1", got)
	}
}

// TestNoRoleServesEverybody shows that each of them refuses an address that others could reach, for each of its addresses.
func TestNoRoleServesEverybody(t *testing.T) {
	t.Parallel()
	over := []string{"--pulsar", "pulsar://127.0.0.1:1", "--objects", os.DevNull, "--clickhouse", "http://127.0.0.1:1/continuo"}
	for verb, args := range map[string][]string{
		"serve": {"--data", os.DevNull}, "dev": {"--data", os.DevNull}, "engine": over, "scheduler": over, "projector": over, "gateway": over, "all": over,
	} {
		for _, setting := range []string{"http-addr", "grpc-addr"} {
			var said strings.Builder
			all := slices.Concat([]string{verb}, args, []string{"--" + setting, "0.0.0.0:0"})
			if got := run(t.Context(), all, nil, discard{}, &said); got != exitUsage || !strings.Contains(said.String(), strings.ReplaceAll(setting, "-", "_")+` is "0.0.0.0:0", which others could reach`) {
				t.Errorf("%s exits with %d: %s", verb, got, said.String())
			}
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
