package cluster

import (
	"context"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// TestBadInput: what is wrong with the surroundings of a process ends it soon with one error that names the setting and the
// way out, over the real servers. Policies of namespaces, identities, damage and lost tails are in the adapters' own tests.
func TestBadInput(t *testing.T) { //nolint:paralleltest // others kill the broker
	broker, store := pulsar.Shared(t), clickhouse.Start(t, clickhouse.Options{})
	dir := t.TempDir()
	binary, err := child.Build(t.Context(), dir, "./cmd/continuo")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	good := map[string]string{
		"--pulsar": broker.URL(), "--pulsar-admin": broker.AdminURL(), "--pulsar-namespace": "badinput",
		"--objects": filepath.Join(dir, "objects"), "--partitions": "4",
		"--http-addr": "127.0.0.1:0", "--grpc-addr": "127.0.0.1:0", "--clickhouse": store.URL(store.NewDatabase()),
	}
	first, err := child.StartServer(t.Context(), child.ServerOptions{Binary: binary, Verb: "all", Log: filepath.Join(dir, "all.log"), Args: args(good, "--http-addr", "--grpc-addr")})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		verb   string
		change map[string]string
		says   []string
	}{
		"no broker":              {"engine", map[string]string{"--pulsar": ""}, []string{"pulsar", "--pulsar"}},
		"wrong scheme":           {"engine", map[string]string{"--pulsar": "http://" + nobody}, []string{"pulsar://"}},
		"broker away":            {"engine", map[string]string{"--pulsar": "pulsar://" + nobody, "--pulsar-admin": ""}, []string{nobody}},
		"web service away":       {"engine", map[string]string{"--pulsar-admin": "http://" + nobody, "--pulsar-namespace": "new"}, []string{nobody, "pulsar_admin"}},
		"more partitions":        {"engine", map[string]string{"--partitions": "8"}, []string{"partitions", "4", "8"}},
		"another cluster's log":  {"engine", map[string]string{"--cluster": "other", "--objects": filepath.Join(dir, "others")}, []string{"cluster", "other", "default"}},
		"another cluster's data": {"engine", map[string]string{"--cluster": "other"}, []string{"cluster", "other", "default"}},
		"no objects":             {"engine", map[string]string{"--objects": ""}, []string{"objects"}},
		"objects lost":           {"engine", map[string]string{"--objects": filepath.Join(dir, "all.log")}, []string{"all.log"}},
		"no read store":          {"gateway", map[string]string{"--clickhouse": ""}, []string{"clickhouse"}},
		"no read store's URL":    {"gateway", map[string]string{"--clickhouse": "ftp://" + nobody + "/x"}, []string{"clickhouse"}},
		"a used port":            {"gateway", map[string]string{"--http-addr": strings.TrimPrefix(broker.AdminURL(), "http://")}, []string{"--http-addr"}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := maps.Clone(good)
			maps.Copy(settings, test.change)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			out, err := exec.CommandContext(ctx, binary, append([]string{test.verb}, args(settings)...)...).CombinedOutput()
			took := time.Since(began)
			text := string(out)
			if err == nil || ctx.Err() != nil {
				t.Fatalf("it did not end with an error within %v: %s", took, text)
			}
			last := lastLine(text)
			t.Logf("%v: %s", took.Round(time.Millisecond), last)
			for _, want := range test.says {
				if !strings.Contains(last, want) {
					t.Errorf("it does not say %q", want)
				}
			}
		})
	}
}

// args makes flags of settings, without some.
func args(settings map[string]string, without ...string) []string {
	var all []string
	for flag, value := range settings {
		if value != "" && !strings.Contains(strings.Join(without, " "), flag) {
			all = append(all, flag, value)
		}
	}
	return all
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
