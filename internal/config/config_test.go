package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/config"
)

func load(t *testing.T, file string, args ...string) (config.Server, error) {
	t.Helper()
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "continuo.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.Flags(flags)
	flags.Bool("temp", false, "a flag that is no setting")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, flags)
}

func TestLaterSourcesOverride(t *testing.T) {
	t.Setenv("CONTINUO_LOG_LEVEL", "warn")
	t.Setenv("CONTINUO_RETENTION_HISTORY", "48h")
	t.Setenv("CONTINUO_HTTP_ADDR", "")       // set to nothing
	t.Setenv("CONTINUO_ADDR", "127.0.0.1:9") // the command line's, not a server setting
	t.Setenv("CONTINUO_VERSION", "1.2.3")    // deploy/compose's
	t.Setenv("CONTINUO_REST", "https://127.0.0.1:7480")
	got, err := load(t, "log_level: debug\nhttp_addr: 127.0.0.1:1\ngrpc_addr: 127.0.0.1:2\n", "--grpc-addr", "127.0.0.1:3", "--temp")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.LogLevel, want.RetentionHistory, want.HTTPAddr, want.GRPCAddr = "warn", 48*time.Hour, "127.0.0.1:1", "127.0.0.1:3"
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAnUnknownVariableIsNamed(t *testing.T) {
	t.Setenv("CONTINUO_NONSENSE", "x")
	if _, err := load(t, ""); err == nil || !strings.Contains(err.Error(), `CONTINUO_NONSENSE: there is no setting "nonsense"`) {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file string
		args []string
		want string
	}{
		{args: []string{"--http-addr", "0.0.0.0:7480"}, want: "http_addr"},
		{args: []string{"--grpc-addr", "10.0.0.1:7481"}, want: "grpc_addr"},
		{args: []string{"--grpc-addr", "[::]:7481"}, want: "grpc_addr"},
		{args: []string{"--grpc-addr", "example.com:7481"}, want: "grpc_addr"},
		{args: []string{"--grpc-addr", "127.0.0.1:7480"}, want: "two ports"},
		{args: []string{"--grpc-addr", "7481"}, want: "host:port"},
		{args: []string{"--log-level", "loud"}, want: "log_level"},
		{args: []string{"--log-format", "xml"}, want: "log_format"},
		{args: []string{"--retention-history", "1s"}, want: "retention_history"},
		{args: []string{"--disk-reserve-bytes", "1"}, want: "disk_reserve_bytes"},
		{args: []string{"--max-payload-bytes", "1"}, want: "max_payload_bytes"},
		{args: []string{"--drain-timeout", "0s"}, want: "drain_timeout"},
		{file: "http_adr: 127.0.0.1:1\n", want: `continuo.yaml: there is no setting "http_adr"`},
		{file: "drain_timeout: 10\n", want: "10 has no unit; write 10s"},
		{file: "retention_history: 1e9\n", want: "no unit"},
		{file: "drain_timeout: soon\n", want: "drain_timeout"},
		{file: ": [", want: "continuo.yaml"},
	} {
		_, err := load(t, c.file, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %v: got %v, want an error about %q", c.file, c.args, err, c.want)
		}
	}
}

func TestBadClusterSettingsAreNamed(t *testing.T) {
	t.Parallel()
	good := config.Default()
	good.Pulsar, good.Objects, good.ClickHouse = "pulsar://a:6650,b:6650", "/objects", "http://u@c:8123/continuo"
	if err := good.ValidateCluster(true); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*config.Server){
		"--pulsar":          func(c *config.Server) { c.Pulsar = "" },
		"pulsar is not":     func(c *config.Server) { c.Pulsar = "http://a:6650" },
		"pulsar_admin":      func(c *config.Server) { c.PulsarAdmin = "a:8080" },
		"--objects":         func(c *config.Server) { c.Objects = "" },
		"a bucket is s3://": func(c *config.Server) { c.Objects = "s3:/bucket" },
		"objects is not":    func(c *config.Server) { c.Objects = "ftp://host/dir" },
		"--clickhouse":      func(c *config.Server) { c.ClickHouse = "" },
		"clickhouse is":     func(c *config.Server) { c.ClickHouse = "http:///x?password=secret" },
		"partitions":        func(c *config.Server) { c.Partitions = 5000 },
		"pulsar_cert_file":  func(c *config.Server) { c.PulsarCertFile = "x" },
	} {
		c := good
		change(&c)
		if err := c.ValidateCluster(true); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	for objects, dir := range map[string]string{"/a": "/a", "file:///a": "/a", "s3://bucket/prefix?region=x": "", "gs://b": "", "azblob://c": ""} {
		c := good
		c.Objects = objects
		if err := c.ValidateCluster(true); err != nil {
			t.Errorf("objects in %s: %v", objects, err)
		}
		if got, is := c.ObjectsDirectory(); is != (dir != "") || is && got != dir {
			t.Errorf("%s is a directory: %v, %s", objects, is, got)
		}
	}
	good.ClickHouse = ""
	if err := good.ValidateCluster(false); err != nil {
		t.Errorf("without a read model: %v", err)
	}
}

func TestClickHousePassword(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (config.Server{ClickHousePasswordFile: path}).ClickHousePassword(); err != nil || got != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := (config.Server{ClickHousePasswordFile: path + "x"}).ClickHousePassword(); err == nil {
		t.Error("a file that is not there")
	}
}
