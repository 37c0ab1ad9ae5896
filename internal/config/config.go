// Package config is the configuration of the server: a YAML file, CONTINUO_… environment variables and flags, each
// overriding the one before.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// EnvPrefix is what the environment variables of settings begin with: http_addr is CONTINUO_HTTP_ADDR.
const EnvPrefix = "CONTINUO_"

// ErrInvalid is wrapped by every error about a setting's value.
var ErrInvalid = errors.New("invalid configuration")

// Server is the configuration of a server process.
type Server struct {
	// Data is the directory of the embedded store. It is made if it is not there.
	Data string `koanf:"data"`
	// HTTPAddr serves REST, health, metrics and the OpenAPI document; GRPCAddr serves gRPC. Both must be loopback.
	HTTPAddr string `koanf:"http_addr"`
	GRPCAddr string `koanf:"grpc_addr"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `koanf:"log_level"`
	LogFormat string `koanf:"log_format"`
	// RetentionHistory is how long ended runs stay, with their history and result; at least 24 h, as a repeated start must be recognized.
	RetentionHistory time.Duration `koanf:"retention_history"`
	// DiskReserveBytes is the free space below which client commands are refused.
	DiskReserveBytes int64 `koanf:"disk_reserve_bytes"`
	// MaxPayloadBytes bounds one payload; at most 3 MiB.
	MaxPayloadBytes int64 `koanf:"max_payload_bytes"`
	// DrainTimeout bounds the time from SIGTERM to the end of the process.
	DrainTimeout time.Duration `koanf:"drain_timeout"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Server {
	return Server{
		HTTPAddr:         "127.0.0.1:7480",
		GRPCAddr:         "127.0.0.1:7481",
		LogLevel:         "info",
		LogFormat:        "text",
		RetentionHistory: 30 * 24 * time.Hour,
		DiskReserveBytes: 256 << 20,
		MaxPayloadBytes:  2 << 20,
		DrainTimeout:     10 * time.Second,
	}
}

// Flags declares a flag for every setting, with the defaults.
func Flags(f *pflag.FlagSet) {
	d := Default()
	f.String("data", d.Data, "directory of the embedded store")
	f.String("http-addr", d.HTTPAddr, "loopback address for REST, health, metrics and the OpenAPI document")
	f.String("grpc-addr", d.GRPCAddr, "loopback address for gRPC")
	f.String("log-level", d.LogLevel, "debug, info, warn or error")
	f.String("log-format", d.LogFormat, "text or json")
	f.Duration("retention-history", d.RetentionHistory, "how long ended runs stay, with history and result")
	f.Int64("disk-reserve-bytes", d.DiskReserveBytes, "free space below which client commands are refused")
	f.Int64("max-payload-bytes", d.MaxPayloadBytes, "largest payload")
	f.Duration("drain-timeout", d.DrainTimeout, "longest time from SIGTERM to the end")
}

// Load reads the configuration: defaults, then the file (none if path is empty), then the environment, then the flags that
// were set. Unknown settings in the file or the environment are refused; a variable that is set to nothing counts as not set.
func Load(path string, flags *pflag.FlagSet) (Server, error) {
	k := koanf.New(".")
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Server{}, fmt.Errorf("%w: file %s: %w", ErrInvalid, path, err)
		}
	}
	environment := env.Provider(".", env.Opt{Prefix: EnvPrefix, TransformFunc: func(key, value string) (string, any) {
		name := strings.ToLower(strings.TrimPrefix(key, EnvPrefix))
		if value == "" || slices.Contains(clientSettings, name) || mutant.Built && key == mutant.Variable {
			return "", nil
		}
		return name, value
	}})
	if err := k.Load(environment, nil); err != nil {
		return Server{}, fmt.Errorf("%w: environment: %w", ErrInvalid, err)
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(own)
	set := posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		if !f.Changed || own.Lookup(f.Name) == nil {
			return "", nil
		}
		return strings.ReplaceAll(f.Name, "-", "_"), posflag.FlagVal(flags, f)
	})
	if err := k.Load(set, nil); err != nil {
		return Server{}, fmt.Errorf("%w: flags: %w", ErrInvalid, err)
	}
	c := Default()
	decode := koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.StringToTimeDurationHookFunc(),
	}}
	if err := k.UnmarshalWithConf("", &c, decode); err != nil {
		return Server{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c, c.Validate()
}

// clientSettings are CONTINUO_ variables of the command line that are not settings of a server.
var clientSettings = []string{"addr", "config", "output", "namespace"} //nolint:gochecknoglobals // a fixed table

// Validate reports the first setting with a value that cannot be, naming the setting, the limit and the way out.
func (c Server) Validate() error {
	for _, a := range []struct{ name, value string }{{"http_addr", c.HTTPAddr}, {"grpc_addr", c.GRPCAddr}} {
		if err := checkLoopback(a.name, a.value); err != nil {
			return err
		}
	}
	switch {
	case c.HTTPAddr == c.GRPCAddr && !strings.HasSuffix(c.HTTPAddr, ":0"):
		return fmt.Errorf("%w: http_addr and grpc_addr are both %s; give them two ports", ErrInvalid, c.HTTPAddr)
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return fmt.Errorf("%w: log_level is %q; use debug, info, warn or error", ErrInvalid, c.LogLevel)
	case !slices.Contains([]string{"text", "json"}, c.LogFormat):
		return fmt.Errorf("%w: log_format is %q; use text or json", ErrInvalid, c.LogFormat)
	case c.RetentionHistory < 24*time.Hour:
		return fmt.Errorf("%w: retention_history is %s; the least is 24h", ErrInvalid, c.RetentionHistory)
	case c.DiskReserveBytes < 16<<20:
		return fmt.Errorf("%w: disk_reserve_bytes is %d; the least is %d (16 MiB)", ErrInvalid, c.DiskReserveBytes, 16<<20)
	case c.MaxPayloadBytes < 1<<10 || c.MaxPayloadBytes > 3<<20:
		return fmt.Errorf("%w: max_payload_bytes is %d; it may be 1024 to %d (3 MiB)", ErrInvalid, c.MaxPayloadBytes, 3<<20)
	case c.DrainTimeout <= 0:
		return fmt.Errorf("%w: drain_timeout is %s; it must be above 0", ErrInvalid, c.DrainTimeout)
	}
	return nil
}

// checkLoopback refuses every address that others could reach: there is no authentication yet.
func checkLoopback(name, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %s is %q; use host:port, such as 127.0.0.1:7480", ErrInvalid, name, addr)
	}
	if host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%w: %s is %q, which others could reach; without authentication only loopback is served: "+
			"use 127.0.0.1, [::1] or localhost", ErrInvalid, name, addr)
	}
	return nil
}

// FileFromEnv returns the configuration file that the environment names; empty if none.
func FileFromEnv() string { return os.Getenv(EnvPrefix + "CONFIG") }
